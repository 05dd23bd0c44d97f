//! The plans of lists and counts.

use baldur_core::{
    Cursor, EntryId, FacetScope, Filter, ListOrder, Status, Timestamp,
    name::{
        DedupKey, Domain, FailureType, IdempotencyKey, LabelName, LabelValue, OrderKey,
        ServiceName, ShortText,
    },
};

use super::{
    facets::ranges_sql,
    plan::{Ask, Path, SqlText, path_of},
    position::{Lower, Stretch},
};
use crate::plans::{fresh, offences};

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("in range")
}

fn short(text: &str) -> ShortText {
    ShortText::parse(text).expect("a short text")
}

/// A filter for each path.
fn filters() -> Vec<(Path, Filter)> {
    let label = || {
        let name = LabelName::parse("tenant").expect("a label name");
        (name, LabelValue::parse("acme").expect("a label value"))
    };
    let any = Filter::default;
    let service = |name: &str| Some(ServiceName::parse(name).expect("a service name"));
    let domain = Some(Domain::parse("payment").expect("a domain"));
    let kind = Some(FailureType::parse("TIMEOUT").expect("a failure type"));
    let key = Some(IdempotencyKey::parse("k").expect("a key"));
    vec![
        (Path::IdempotencyKey, Filter { idempotency_key: key, ..any() }),
        (Path::DedupKey, Filter { dedup_key: DedupKey::parse("k").ok(), ..any() }),
        (Path::OrderKey, Filter { order_key: OrderKey::parse("k").ok(), ..any() }),
        (
            Path::EntityId,
            Filter { entity_id: Some(short("1")), entity_type: Some(short("order")), ..any() },
        ),
        (
            Path::UserId,
            Filter { user_id: Some(short("u")), statuses: Status::LIVE.to_vec(), ..any() },
        ),
        (Path::Label, Filter { labels: vec![label(), label()], domain: domain.clone(), ..any() }),
        (Path::Fingerprint, Filter { fingerprint: Some(short("v1:00")), ..any() }),
        (Path::EntityType, Filter { entity_type: Some(short("order")), ..any() }),
        (Path::OriginService, Filter { origin_service: service("checkout"), ..any() }),
        (Path::FacetRanges, Filter { domain, failure_type: kind, ..any() }),
        (Path::FacetRanges, Filter { dependency: service("gateway"), ..any() }),
        (Path::Status, Filter { statuses: vec![Status::Pending], ..any() }),
        (Path::Statuses, Filter { statuses: Status::LIVE.to_vec(), ..any() }),
        (Path::Position, any()),
    ]
}

fn stretches() -> [Stretch; 3] {
    let position = (at(5), EntryId::from_bytes([1; 16]));
    [
        Stretch::default(),
        Stretch { lower: Some(Lower::From(position)), upper: Some(position) },
        Stretch { lower: Some(Lower::After(position)), upper: Some(position) },
    ]
}

async fn plan(sql: &SqlText) -> Vec<String> {
    let rows = sql.explain().fetch_all(&mut fresh().await).await.expect("it can be prepared");
    rows.iter().map(|row| sqlx::Row::try_get(row, "detail").expect("a step")).collect()
}

#[tokio::test]
async fn every_list_and_count_goes_by_an_index() {
    for (path, filter) in filters() {
        assert_eq!(path_of(&filter), path);
        let merged = matches!(path, Path::FacetRanges | Path::Statuses);
        for (stretch, inexact) in stretches().into_iter().zip([false, true, false]) {
            let ranges = merged.then(|| "[]".to_owned());
            let ask = Ask { ns: 1, filter: &filter, stretch, path, ranges, inexact };
            for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
                let plan = plan(&ask.page(order, 51)).await;
                let offences = offences(&plan, merged);
                assert!(offences.is_empty(), "{path:?} {order:?}: {offences:?}\n{plan:#?}");
                let bounded = stretch.upper.is_none()
                    || plan.iter().any(|step| step.contains("(created_at,id)<(?,?)"));
                assert!(bounded, "{path:?} {order:?} does not use the bounds: {plan:#?}");
            }
            let plan = plan(&ask.count(1_001)).await;
            let offences = offences(&plan, false);
            assert!(offences.is_empty(), "count {path:?}: {offences:?}\n{plan:#?}");
        }
    }
}

#[tokio::test]
async fn ranges_of_a_scope_are_found_by_an_index() {
    for (_, filter) in filters() {
        let Filter { statuses, domain, failure_type, dependency, .. } = filter;
        let scope = FacetScope { statuses, domain, failure_type, dependency };
        let plan = plan(&ranges_sql(1, &scope)).await;
        assert!(offences(&plan, false).is_empty(), "{plan:#?}");
    }
}

#[test]
fn a_cursor_narrows_the_range_of_time() {
    let filter =
        Filter { created_from: Some(at(10)), created_until: Some(at(20)), ..Filter::default() };
    let cursor = |order, micros| {
        let position = (at(micros), EntryId::from_bytes([9; 16]));
        (Cursor::at(order, position), position)
    };
    let (inside, position) = cursor(ListOrder::OldestFirst, 15);
    assert_eq!(Stretch::of(&filter, Some(inside)).lower, Some(Lower::After(position)));
    let (before, _) = cursor(ListOrder::OldestFirst, 5);
    let from = Stretch::of(&filter, None).lower;
    assert_eq!(Stretch::of(&filter, Some(before)).lower, from);
    let (inside, position) = cursor(ListOrder::NewestFirst, 15);
    assert_eq!(Stretch::of(&filter, Some(inside)).upper, Some(position));
    let (beyond, _) = cursor(ListOrder::NewestFirst, 25);
    assert_eq!(Stretch::of(&filter, Some(beyond)).upper, Stretch::of(&filter, None).upper);
}
