//! Finding and listing.

use std::{collections::BTreeSet, time::Duration};

use baldur_core::{
    Clock, Cursor, EntryId, EntrySummary, Filter, ListOrder, ListQuery, PageSize, Status,
    command::{Action, Capture},
    port::ReadError,
};

use crate::{
    build::{Captures, parsed},
    case::{CaseResult, Failure, cases, ensure, ensure_eq, ensure_matches},
    drive::{failed, permanent, resolve},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "read_list",
    None,
    [
        entries_are_found_in_the_order_of_the_ids,
        an_empty_store_lists_nothing,
        a_list_without_filters_shows_every_status_newest_first,
        both_directions_show_the_same_entries,
        entries_captured_at_once_are_listed_by_id,
        a_summary_shows_the_entry_as_it_is,
        each_condition_holds_exactly,
        conditions_are_combined,
        a_filter_looks_at_the_whole_store,
        a_page_that_exactly_fills_the_limit_has_no_next,
        every_page_size_walks_the_same_list,
        a_cursor_survives_its_text_form_and_its_entry_moving,
        a_cursor_of_the_other_direction_is_refused,
        a_cursor_beyond_the_end_lists_nothing,
        a_status_change_does_not_change_the_position,
        times_of_capture_are_a_half_open_range,
        an_upside_down_range_lists_nothing,
    ]
);

async fn entries_are_found_in_the_order_of_the_ids(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let batch = captures.ops(4);
    let [a, b, c, d] = [0, 1, 2, 3].map(|n: usize| batch[n].op.id);
    store.keep_all(batch).await?;
    let unknown = captures.an_op().build().op.id;
    let found = store.reader.find(vec![d, unknown, a, c, d, b]).await?;
    let found: Vec<Option<EntryId>> = found.into_iter().map(|op| op.map(|op| op.id)).collect();
    ensure_eq!(found, [Some(d), None, Some(a), Some(c), Some(d), Some(b)]);
    Ok(())
}

async fn an_empty_store_lists_nothing(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let page = store.reader.list(ListQuery::default()).await?;
    ensure_eq!((page.items.len(), page.next), (0, None));
    Ok(())
}

/// Entries a second apart, a few in each status; oldest first.
async fn some_of_each(
    store: &StoreUnderTest,
    captures: &Captures,
) -> Result<Vec<EntryId>, Failure> {
    let mut ids = Vec::new();
    for n in 0..24_u32 {
        store.clock.advance(Duration::from_secs(1));
        let op = captures
            .an_op()
            .domain(["payment", "payment.card", "stock"][n as usize % 3])
            .failure_type(["TIMEOUT", "timeout"][n as usize % 2])
            .dependency(["gateway", "Gateway", "gateway_", "%"][n as usize % 4]);
        let id = store.keep_new(op.build()).await?;
        match n % 6 {
            0 => {}
            1 => {
                store.claim_one(id).await?;
            }
            2 => {
                store.act(id, Action::Review).await?;
            }
            3 => {
                store.replay(id, permanent()).await?;
            }
            4 => {
                store.act(id, resolve()).await?;
            }
            _ => {
                store.act(id, Action::Expire).await?;
            }
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Reference 35.
async fn a_list_without_filters_shows_every_status_newest_first(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut expected = some_of_each(&store, &captures).await?;
    expected.reverse();
    ensure_eq!(store.walk_ids(&Filter::default()).await?, expected);
    Ok(())
}

async fn both_directions_show_the_same_entries(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    some_of_each(&store, &captures).await?;
    let mut newest_first = store.walk(&Filter::default(), ListOrder::NewestFirst, 5).await?;
    let oldest_first = store.walk(&Filter::default(), ListOrder::OldestFirst, 7).await?;
    newest_first.reverse();
    ensure_eq!(newest_first, oldest_first);
    Ok(())
}

async fn entries_captured_at_once_are_listed_by_id(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let batch = captures.ops(25);
    let mut expected: Vec<EntryId> = batch.iter().map(|capture| capture.op.id).collect();
    expected.sort_unstable();
    store.keep_all(batch).await?;
    let listed = store.walk(&Filter::default(), ListOrder::OldestFirst, 4).await?;
    ensure_eq!(listed.iter().map(|item| item.id).collect::<Vec<_>>(), expected);
    Ok(())
}

async fn a_summary_shows_the_entry_as_it_is(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let long = "é".repeat(EntrySummary::ERROR_PREVIEW + 50);
    let full = super::capture::full(&captures);
    let id = store.keep_new(full).await?;
    store.keep_new(captures.an_op().with(|c| c.op.error_message = long).build()).await?;
    store.replay(id, failed()).await?;
    for item in store.walk(&Filter::default(), ListOrder::NewestFirst, 10).await? {
        ensure_eq!(item, EntrySummary::of(&store.op(item.id).await?));
    }
    Ok(())
}

/// Captures that agree in nothing, except that neighbours are hard to tell apart.
fn lookalikes(captures: &Captures) -> Vec<Capture> {
    let texts = crate::cases::hostile::TEXTS;
    let domains = ["a", "b", "a.b", "a_b", "axb"];
    let at = captures.an_op().build().op.created_at;
    texts
        .iter()
        .enumerate()
        .map(|(n, text)| {
            captures
                .an_op()
                .created_at(at.saturating_add(Duration::from_micros(n as u64)))
                .domain(domains[n % domains.len()])
                .failure_type(text)
                .dependency(text)
                .origin_service(text)
                .entity_type(text)
                .entity_id(text)
                .user_id(text)
                .fingerprint(text)
                .idempotency_key(["a", "A", "a%", "a_", "*"][n % 5])
                .dedup_key(text)
                .order_key(text)
                .label("tenant", text)
                .build()
        })
        .collect()
}

/// The conditions of one capture, one filter each.
fn conditions(capture: &Capture) -> Vec<Filter> {
    let op = &capture.op;
    let none = Filter::default;
    let label = |(name, value): (&baldur_core::name::LabelName, &baldur_core::name::LabelValue)| {
        Filter { labels: vec![(name.clone(), value.clone())], ..none() }
    };
    vec![
        Filter { domain: Some(op.domain.clone()), ..none() },
        Filter { failure_type: Some(op.failure_type.clone()), ..none() },
        Filter { dependency: Some(op.dependency.clone()), ..none() },
        Filter { origin_service: Some(op.origin_service.clone()), ..none() },
        Filter { entity_type: op.entity_type.clone(), ..none() },
        Filter { entity_id: op.entity_id.clone(), ..none() },
        Filter { user_id: op.user_id.clone(), ..none() },
        Filter { idempotency_key: Some(op.idempotency_key.clone()), ..none() },
        Filter { dedup_key: op.dedup_key.clone(), ..none() },
        Filter { order_key: op.order_key.clone(), ..none() },
        Filter { fingerprint: Some(op.fingerprint.text.clone()), ..none() },
        op.labels.iter().next().map_or_else(none, label),
        Filter { created_from: Some(op.created_at), ..none() },
        Filter { created_until: Some(op.created_at), ..none() },
    ]
}

/// What must match, by the filter's own word.
async fn expected(store: &StoreUnderTest, filter: &Filter) -> Result<Vec<EntryId>, Failure> {
    let mut ids = Vec::new();
    for id in store.walk_ids(&Filter::default()).await? {
        if filter.matches(&store.op(id).await?) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Reference 36.
async fn each_condition_holds_exactly(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let batch = lookalikes(&captures);
    store.keep_all(batch.clone()).await?;
    let all: Vec<_> = {
        let mut all = Vec::new();
        for id in store.walk_ids(&Filter::default()).await? {
            all.push(store.op(id).await?);
        }
        all
    };
    ensure_eq!(all.len(), batch.len());
    for capture in &batch {
        for filter in conditions(capture) {
            let expected: Vec<EntryId> =
                all.iter().filter(|op| filter.matches(op)).map(|op| op.id).collect();
            ensure_eq!(store.walk_ids(&filter).await?, expected, "{filter:?}");
        }
    }
    let nobody = Filter { user_id: Some(parsed("nobody")), ..Filter::default() };
    ensure!(store.walk_ids(&nobody).await?.is_empty(), "an unknown user has entries");
    Ok(())
}

/// Reference 36.
async fn conditions_are_combined(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    some_of_each(&store, &captures).await?;
    let statuses: [Vec<Status>; 4] = [
        vec![],
        vec![Status::Pending],
        vec![Status::Pending, Status::Resolved, Status::Pending],
        vec![Status::Archived],
    ];
    for statuses in statuses {
        for domain in [None, Some("payment"), Some("stock"), Some("unknown")] {
            for dependency in [None, Some("gateway_"), Some("Gateway")] {
                let filter = Filter {
                    statuses: statuses.clone(),
                    domain: domain.map(parsed),
                    dependency: dependency.map(parsed),
                    ..Filter::default()
                };
                let expected = expected(&store, &filter).await?;
                ensure_eq!(store.walk_ids(&filter).await?, expected, "{filter:?}");
            }
        }
    }
    Ok(())
}

/// Reference 39: the matching entries lie far apart, behind everything else.
async fn a_filter_looks_at_the_whole_store(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut rare = Vec::new();
    for _ in 0..3 {
        store.clock.advance(Duration::from_secs(1));
        let op = captures.an_op().domain("rare").label("tenant", "acme");
        rare.push(store.keep_new(op.build()).await?);
        store.clock.advance(Duration::from_secs(1));
        store.keep_all(captures.ops(400)).await?;
    }
    let acme = vec![(parsed("tenant"), parsed("acme"))];
    let filters = [
        Filter { domain: Some(parsed("rare")), ..Filter::default() },
        Filter { labels: acme.clone(), ..Filter::default() },
        Filter { labels: acme, statuses: vec![Status::Pending], ..Filter::default() },
    ];
    for filter in filters {
        let listed = store.walk(&filter, ListOrder::OldestFirst, 1).await?;
        ensure_eq!(listed.iter().map(|item| item.id).collect::<Vec<_>>(), rare, "{filter:?}");
        let limit = PageSize::new(3)?;
        let page = store.reader.list(ListQuery { filter, limit, ..ListQuery::default() }).await?;
        ensure_eq!((page.items.len(), page.next), (3, None), "one page holds all of them");
    }
    Ok(())
}

/// Reference 37.
async fn a_page_that_exactly_fills_the_limit_has_no_next(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_all(captures.ops(10)).await?;
    for (limit, more) in [(9, true), (10, false), (11, false)] {
        let limit = PageSize::new(limit)?;
        let page = store.reader.list(ListQuery { limit, ..ListQuery::default() }).await?;
        ensure_eq!(page.next.is_some(), more, "limit {}", limit.get());
        ensure_eq!(page.items.len(), limit.get().min(10));
    }
    Ok(())
}

/// Reference 37.
async fn every_page_size_walks_the_same_list(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    some_of_each(&store, &captures).await?;
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        let whole = store.walk(&Filter::default(), order, 1_000).await?;
        for page in [1, 2, 3, 5, 8, 12, 23, 24, 25] {
            ensure_eq!(
                store.walk(&Filter::default(), order, page).await?,
                whole,
                "pages of {page}"
            );
        }
    }
    Ok(())
}

async fn a_cursor_survives_its_text_form_and_its_entry_moving(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = some_of_each(&store, &captures).await?;
    let filter = Filter { statuses: vec![Status::Pending], ..Filter::default() };
    let query = |after| -> Result<ListQuery, Failure> {
        let limit = PageSize::new(1)?;
        Ok(ListQuery { filter: filter.clone(), order: ListOrder::OldestFirst, limit, after })
    };
    let first = store.reader.list(query(None)?).await?;
    ensure_eq!(first.items.iter().map(|item| item.id).collect::<Vec<_>>(), ids[..1]);
    let cursor: Option<Cursor> = first.next.map(|next| next.to_string().parse()).transpose()?;
    ensure_eq!(cursor, first.next);
    // The entry that the cursor points at is not in the list any more.
    store.act(ids[0], resolve()).await?;
    let second = store.reader.list(query(cursor)?).await?;
    ensure_eq!(second.items.iter().map(|item| item.id).collect::<Vec<_>>(), ids[6..7]);
    Ok(())
}

async fn a_cursor_of_the_other_direction_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let op = store.op(store.keep_new(captures.an_op().build()).await?).await?;
    for (order, other) in [
        (ListOrder::NewestFirst, ListOrder::OldestFirst),
        (ListOrder::OldestFirst, ListOrder::NewestFirst),
    ] {
        let after = Some(Cursor::at(other, op.position()));
        let answer = store.reader.list(ListQuery { order, after, ..ListQuery::default() }).await;
        ensure_matches!(answer, Err(ReadError::Invalid(_)));
    }
    Ok(())
}

/// Reference 37.
async fn a_cursor_beyond_the_end_lists_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let position = store.op(id).await?.position();
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        let after = Some(Cursor::at(order, position));
        let page = store.reader.list(ListQuery { order, after, ..ListQuery::default() }).await?;
        ensure_eq!((page.items.len(), page.next), (0, None));
    }
    Ok(())
}

/// Reference 40.
async fn a_status_change_does_not_change_the_position(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut expected = Vec::new();
    for capture in captures.ops(5) {
        store.clock.advance(Duration::from_secs(1));
        let mut capture = capture;
        capture.op.created_at = store.clock.now();
        expected.insert(0, store.keep_new(capture).await?);
    }
    for id in [expected[2], expected[4]] {
        store.clock.advance(Duration::from_secs(1));
        store.act(id, resolve()).await?;
        ensure_eq!(store.walk_ids(&Filter::default()).await?, expected);
    }
    Ok(())
}

/// Reference 42: but the end is excluded, so that neighbouring windows don't share an entry.
async fn times_of_capture_are_a_half_open_range(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let start = store.clock.now();
    let at = |micros| start.saturating_add(Duration::from_micros(micros));
    let mut ids = Vec::new();
    for micros in 0..5 {
        ids.push(store.keep_new(captures.an_op().created_at(at(micros)).build()).await?);
    }
    let filter =
        Filter { created_from: Some(at(1)), created_until: Some(at(3)), ..Filter::default() };
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        let listed = store.walk(&filter, order, 1).await?;
        let listed: BTreeSet<EntryId> = listed.into_iter().map(|item| item.id).collect();
        ensure_eq!(listed, ids[1..3].iter().copied().collect::<BTreeSet<_>>());
    }
    Ok(())
}

async fn an_upside_down_range_lists_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let now = store.clock.now();
    let position = store.op(store.keep_new(captures.an_op().build()).await?).await?.position();
    let earlier = now.saturating_sub(Duration::from_secs(1));
    for until in [now, earlier] {
        let filter =
            Filter { created_from: Some(now), created_until: Some(until), ..Filter::default() };
        for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
            for after in [None, Some(Cursor::at(order, position))] {
                let query =
                    ListQuery { filter: filter.clone(), order, after, ..ListQuery::default() };
                let page = store.reader.list(query).await?;
                ensure_eq!((page.items.len(), page.next), (0, None));
            }
        }
        ensure_eq!(store.reader.count(filter, 10).await?, baldur_core::Count::Exactly(0));
    }
    Ok(())
}
