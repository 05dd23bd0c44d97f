//! Counting.

use std::time::Duration;

use baldur_core::{Count, FacetScope, Filter, Status, command::Action};

use crate::{
    build::parsed,
    case::{CaseResult, cases, ensure_eq},
    drive::resolve,
    harness::Lab,
};

cases!(
    "read_count",
    None,
    [
        an_empty_store_counts_zero,
        counted_dimensions_are_exact_beyond_the_cap,
        other_conditions_stop_at_the_cap,
        a_count_is_the_length_of_the_walk,
        a_count_follows_every_move,
    ]
);

async fn an_empty_store_counts_zero(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let labelled = Filter { labels: vec![(parsed("a"), parsed("b"))], ..Filter::default() };
    for filter in [Filter::default(), labelled] {
        for cap in [0, 1, u64::MAX] {
            ensure_eq!(store.reader.count(filter.clone(), cap).await?, Count::Exactly(0));
        }
    }
    Ok(())
}

async fn counted_dimensions_are_exact_beyond_the_cap(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_all(captures.ops(25)).await?;
    store.keep_new(captures.an_op().domain("other").build()).await?;
    let scope = |domain: &str| FacetScope {
        statuses: vec![Status::Pending, Status::Pending],
        domain: Some(parsed(domain)),
        failure_type: Some(parsed("TIMEOUT")),
        dependency: Some(parsed("payment-gateway")),
    };
    let expected = [
        (Filter::default(), 26),
        (Filter::from(scope("payment")), 25),
        (Filter::from(scope("other")), 1),
        (Filter::from(scope("unknown")), 0),
        (Filter { statuses: vec![Status::Resolved], ..Filter::default() }, 0),
        (Filter { failure_type: Some(parsed("timeout")), ..Filter::default() }, 0),
    ];
    for (filter, count) in expected {
        ensure_eq!(store.reader.count(filter, 3).await?, Count::Exactly(count));
    }
    Ok(())
}

async fn other_conditions_stop_at_the_cap(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for _ in 0..10 {
        store.keep_new(captures.an_op().label("tenant", "acme").build()).await?;
        store.keep_new(captures.an_op().label("tenant", "ACME").build()).await?;
    }
    let filter = Filter { labels: vec![(parsed("tenant"), parsed("acme"))], ..Filter::default() };
    for (cap, expected) in [
        (0, Count::AtLeast(0)),
        (1, Count::AtLeast(1)),
        (9, Count::AtLeast(9)),
        (10, Count::Exactly(10)),
        (11, Count::Exactly(10)),
        (u64::MAX, Count::Exactly(10)),
    ] {
        ensure_eq!(store.reader.count(filter.clone(), cap).await?, expected, "cap {cap}");
    }
    Ok(())
}

/// Reference 38.
async fn a_count_is_the_length_of_the_walk(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for n in 0..30_usize {
        store.clock.advance(Duration::from_secs(1));
        let op = captures
            .an_op()
            .domain(["a", "b"][n % 2])
            .failure_type(["x", "y", "z"][n % 3])
            .user_id(["u", "v"][n % 5 % 2]);
        let id = store.keep_new(op.build()).await?;
        if n % 4 == 0 {
            store.act(id, resolve()).await?;
        }
    }
    for statuses in [vec![], vec![Status::Pending], vec![Status::Resolved, Status::Pending]] {
        for domain in [None, Some("a"), Some("c")] {
            for failure_type in [None, Some("x"), Some("X")] {
                for user_id in [None, Some("u")] {
                    let filter = Filter {
                        statuses: statuses.clone(),
                        domain: domain.map(parsed),
                        failure_type: failure_type.map(parsed),
                        user_id: user_id.map(parsed),
                        ..Filter::default()
                    };
                    let walked = store.walk_ids(&filter).await?.len() as u64;
                    let counted = store.reader.count(filter.clone(), 1_000).await?;
                    ensure_eq!(counted, Count::Exactly(walked), "{filter:?}");
                }
            }
        }
    }
    Ok(())
}

async fn a_count_follows_every_move(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let mut statuses = vec![Status::Pending];
    for action in [Action::Review, Action::Escalate, resolve(), Action::Reopen, Action::Expire] {
        statuses.push(store.act(id, action).await?.status);
        for status in Status::ALL {
            let filter = Filter { statuses: vec![status], ..Filter::default() };
            let expected = u64::from(statuses.last() == Some(&status));
            ensure_eq!(store.reader.count(filter, 10).await?, Count::Exactly(expected), "{status}");
        }
    }
    Ok(())
}
