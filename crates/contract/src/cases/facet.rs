//! Facets: how many entries there are by status, domain, failure type and dependency.

use std::collections::BTreeMap;

use baldur_core::{
    Count, FacetScope, Facets, FailedOp, Filter, Status,
    command::Action,
    query::{FACET_OVERFLOW, FacetCell, MAX_FACET_KEYS},
};

use crate::{
    build::{Captures, parsed},
    case::{CaseResult, Failure, Topic, cases, ensure_eq},
    drive::{failed, permanent, reject, resolve, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "facet",
    None,
    [
        an_empty_store_has_empty_facets,
        facets_agree_with_the_entries_in_every_scope,
        each_dimension_is_limited_by_the_others,
        an_unknown_scope_has_no_entries,
        zeros_are_absent,
        facets_follow_every_move,
        merged_and_repeated_captures_count_once,
    ]
);

pub(crate) use overflow::CASES as OVERFLOW_CASES;

mod overflow {
    use super::{Topic, cases, combinations_beyond_the_cap_are_counted_together};

    cases!("facet", Some(Topic::FacetOverflow), [combinations_beyond_the_cap_are_counted_together]);
}

/// Reference 45.
async fn an_empty_store_has_empty_facets(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    ensure_eq!(store.reader.facets(FacetScope::default()).await?, Facets::default());
    Ok(())
}

async fn all_entries(store: &StoreUnderTest) -> Result<Vec<FailedOp>, Failure> {
    let ids = store.walk_ids(&Filter::default()).await?;
    let mut all = Vec::new();
    for chunk in ids.chunks(500) {
        all.extend(store.reader.find(chunk.to_vec()).await?.into_iter().flatten());
    }
    Ok(all)
}

/// The facets that follow from the entries themselves.
fn facets_of(scope: &FacetScope, entries: &[FailedOp]) -> Facets {
    let cells = entries.iter().map(|op| FacetCell {
        status: op.state.status,
        domain: op.domain.to_string(),
        failure_type: op.failure_type.to_string(),
        dependency: op.dependency.to_string(),
        count: 1,
    });
    Facets::from_cells(scope, cells)
}

async fn a_mixture(store: &StoreUnderTest, captures: &Captures) -> CaseResult {
    for n in 0..48_usize {
        let op = captures
            .an_op()
            .domain(["a", "b", "c"][n % 3])
            .failure_type(["TIMEOUT", "timeout", "%", "_"][n % 4])
            .dependency(["x", "X"][n % 2]);
        let id = store.keep_new(op.build()).await?;
        match n % 7 {
            0 | 1 => {}
            2 => store.claim_one(id).await.map(|_| ())?,
            3 => store.replay(id, succeeded()).await.map(|_| ())?,
            4 => store.replay(id, permanent()).await.map(|_| ())?,
            5 => store.act(id, reject()).await.map(|_| ())?,
            _ => store.act(id, Action::Review).await.map(|_| ())?,
        }
    }
    Ok(())
}

fn scopes() -> Vec<FacetScope> {
    let mut scopes = Vec::new();
    for statuses in [vec![], vec![Status::Pending], vec![Status::Pending, Status::Resolved]] {
        for domain in [None, Some("a"), Some("unknown")] {
            for failure_type in [None, Some("timeout"), Some("%")] {
                for dependency in [None, Some("X")] {
                    scopes.push(FacetScope {
                        statuses: statuses.clone(),
                        domain: domain.map(parsed),
                        failure_type: failure_type.map(parsed),
                        dependency: dependency.map(parsed),
                    });
                }
            }
        }
    }
    scopes
}

/// Reference 47 and 65.
async fn facets_agree_with_the_entries_in_every_scope(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    a_mixture(&store, &captures).await?;
    let entries = all_entries(&store).await?;
    ensure_eq!(entries.len(), 48);
    for scope in scopes() {
        let facets = store.reader.facets(scope.clone()).await?;
        ensure_eq!(facets, facets_of(&scope, &entries), "{scope:?}");
        let counted = store.reader.count(Filter::from(scope.clone()), 0).await?;
        let in_scope = entries.iter().filter(|op| Filter::from(scope.clone()).matches(op)).count();
        ensure_eq!(counted, Count::Exactly(in_scope as u64), "{scope:?}");
    }
    Ok(())
}

/// Reference 44.
async fn each_dimension_is_limited_by_the_others(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for (domain, resolved) in [("a", true), ("a", false), ("a", false), ("b", true), ("c", false)] {
        let id = store.keep_new(captures.an_op().domain(domain).build()).await?;
        if resolved {
            store.act(id, resolve()).await?;
        }
    }
    let scope = FacetScope {
        statuses: vec![Status::Resolved],
        domain: Some(parsed("a")),
        ..FacetScope::default()
    };
    let facets = store.reader.facets(scope).await?;
    ensure_eq!(facets.by_status, BTreeMap::from([(Status::Pending, 2), (Status::Resolved, 1)]));
    let by_domain = BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 1)]);
    ensure_eq!(facets.by_domain, by_domain);
    ensure_eq!(facets.by_failure_type, BTreeMap::from([("TIMEOUT".to_owned(), 1)]));
    ensure_eq!(facets.by_dependency, BTreeMap::from([("payment-gateway".to_owned(), 1)]));
    Ok(())
}

/// Reference 45.
async fn an_unknown_scope_has_no_entries(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_new(captures.an_op().build()).await?;
    let scope = FacetScope { domain: Some(parsed("unknown")), ..FacetScope::default() };
    let facets = store.reader.facets(scope).await?;
    ensure_eq!(facets.by_status, BTreeMap::new());
    ensure_eq!(facets.by_domain, BTreeMap::from([("payment".to_owned(), 1)]));
    Ok(())
}

/// Reference 43.
async fn zeros_are_absent(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    store.act(id, Action::Review).await?;
    store.act(id, resolve()).await?;
    let facets = store.reader.facets(FacetScope::default()).await?;
    ensure_eq!(facets.by_status, BTreeMap::from([(Status::Resolved, 1)]));
    let pending = FacetScope { statuses: vec![Status::Pending], ..FacetScope::default() };
    ensure_eq!(store.reader.facets(pending).await?.by_domain, BTreeMap::new());
    Ok(())
}

async fn facets_follow_every_move(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(2).build()).await?;
    let shown = || async {
        let facets = store.reader.facets(FacetScope::default()).await?;
        Ok::<_, Failure>(facets.by_status.into_iter().collect::<Vec<_>>())
    };
    ensure_eq!(shown().await?, [(Status::Pending, 1)]);
    let claimed = store.claim_one(id).await?;
    ensure_eq!(shown().await?, [(Status::Replaying, 1)]);
    store.settle(&claimed, failed()).await?;
    ensure_eq!(shown().await?, [(Status::Pending, 1)]);
    store.claim_one(id).await?;
    store.clock.advance(crate::drive::LEASE);
    store.lapse(1).await?;
    ensure_eq!(shown().await?, [(Status::RequiresReview, 1)]);
    let redriven = store.claim_forced(id).await?;
    ensure_eq!(shown().await?, [(Status::Replaying, 1)]);
    store.settle(&redriven, succeeded()).await?;
    ensure_eq!(shown().await?, [(Status::Resolved, 1)]);
    // Neither refusals nor repeats are moves.
    store.settle(&redriven, succeeded()).await?;
    store.try_settle(&claimed, failed()).await?.err();
    ensure_eq!(shown().await?, [(Status::Resolved, 1)]);
    Ok(())
}

async fn merged_and_repeated_captures_count_once(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let first = captures.an_op().dedup_key("d").build();
    let merged = captures.an_op().dedup_key("d").domain("other").build();
    store.keep_all(vec![first.clone(), merged.clone(), first, merged]).await?;
    let facets = store.reader.facets(FacetScope::default()).await?;
    ensure_eq!(facets.by_domain, BTreeMap::from([("payment".to_owned(), 1)]));
    Ok(())
}

/// An entry stays in its bucket for life, names stay exact in lists, and counts by name stay exact too, only that
/// they must look.
async fn combinations_beyond_the_cap_are_counted_together(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let name = |n: usize| format!("failure {n}");
    for start in (0..MAX_FACET_KEYS).step_by(1_000) {
        let batch = (start..start + 1_000)
            .map(|n| captures.an_op().failure_type(&name(n)).build())
            .collect();
        store.keep_all(batch).await?;
    }
    let mut beyond = Vec::new();
    for n in [MAX_FACET_KEYS, MAX_FACET_KEYS, MAX_FACET_KEYS + 1] {
        beyond.push(store.keep_new(captures.an_op().failure_type(&name(n)).build()).await?);
    }
    store.act(beyond[0], resolve()).await?;
    // A known combination keeps its own cell.
    store.keep_new(captures.an_op().failure_type(&name(7)).build()).await?;
    let facets = store.reader.facets(FacetScope::default()).await?;
    ensure_eq!(facets.by_failure_type.len(), MAX_FACET_KEYS + 1);
    ensure_eq!(facets.by_failure_type.get(FACET_OVERFLOW), Some(&3));
    ensure_eq!(facets.by_domain.get(FACET_OVERFLOW), Some(&3));
    ensure_eq!(facets.by_failure_type.get(&name(7)), Some(&2));
    ensure_eq!(facets.by_status.get(&Status::Resolved), Some(&1));
    let all = u64::try_from(MAX_FACET_KEYS).unwrap_or(u64::MAX) + 4;
    ensure_eq!(store.reader.count(Filter::default(), 1).await?, Count::Exactly(all));
    for (n, expected) in [(MAX_FACET_KEYS, 2), (MAX_FACET_KEYS + 1, 1), (7, 2), (8, 1)] {
        let filter = Filter { failure_type: Some(parsed(&name(n))), ..Filter::default() };
        ensure_eq!(store.walk_ids(&filter).await?.len() as u64, expected);
        ensure_eq!(store.reader.count(filter, 100).await?, Count::Exactly(expected), "{n}");
    }
    store.ensure_sound().await
}
