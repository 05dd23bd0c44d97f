//! What was kept is there after closing and opening again.

use std::time::Duration;

use baldur_core::{
    EvidenceEvent, FacetScope, Status,
    command::{OnMerge, WhenFull},
    port::{Disposition, LimitScope},
};

use crate::{
    build::Captures,
    case::{CaseResult, Failure, Topic, cases, ensure, ensure_eq},
    drive::{LEASE, resolve, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "durability",
    Some(Topic::Durability),
    [
        everything_is_there_after_reopening,
        merged_ids_are_remembered_after_reopening,
        claims_run_on_after_reopening,
        order_holds_after_reopening,
        evictions_are_remembered_after_reopening,
        limits_hold_after_reopening,
        a_replaced_payload_is_there_after_reopening,
        breakers_and_buckets_are_there_after_reopening,
    ]
);

async fn reopened(store: &StoreUnderTest) -> Result<StoreUnderTest, Failure> {
    let reopened = store.closed_and_reopened().await;
    reopened.ok_or_else(|| {
        Failure::new(
            "`StoreUnderTest::reopens` was not called; decline Durability if that is meant",
        )
    })
}

async fn everything_is_there_after_reopening(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    super::admin::a_past(&store, &captures).await?;
    let before = store.export().await?;
    let facets = store.reader.facets(FacetScope::default()).await?;
    let backlog = store.evidence.backlog().await?;
    let store = reopened(&store).await?;
    ensure_eq!(store.export().await?, before);
    ensure_eq!(store.reader.facets(FacetScope::default()).await?, facets);
    ensure_eq!(store.evidence.backlog().await?, backlog);
    store.ensure_sound().await
}

async fn merged_ids_are_remembered_after_reopening(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let first = store.keep_new(captures.an_op().dedup_key("d").build()).await?;
    let merged = captures.an_op().dedup_key("d").build();
    store.keep(merged.clone()).await?;
    store.act(first, resolve()).await?;
    let store = reopened(&store).await?;
    let again = store.keep(merged).await?;
    ensure_eq!((again.id, again.occurrence, again.disposition), (first, 2, Disposition::Repeated));
    Ok(())
}

async fn claims_run_on_after_reopening(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let kept = store.keep_new(captures.an_op().build()).await?;
    let lost = store.keep_new(captures.an_op().build()).await?;
    let held = store.claim_one(kept).await?;
    store.claim_one(lost).await?;
    let store = reopened(&store).await?;
    ensure_eq!(store.settle(&held, succeeded()).await?.status, Status::Resolved);
    store.clock.advance(LEASE);
    ensure_eq!(store.lapse(10).await?.lapsed, [(lost, Status::Pending)]);
    Ok(())
}

async fn order_holds_after_reopening(lab: &Lab) -> CaseResult {
    let (store, captures): (StoreUnderTest, Captures) = lab.store().await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        store.clock.advance(Duration::from_secs(1));
        ids.push(store.keep_new(captures.an_op().order_key("o").build()).await?);
    }
    let store = reopened(&store).await?;
    let due = store.claim_due(10).await?;
    ensure_eq!(due.iter().map(|op| op.id).collect::<Vec<_>>(), ids[..1]);
    store.settle(&due[0], succeeded()).await?;
    let store = reopened(&store).await?;
    ensure_eq!(store.due_ids(10).await?, ids[1..]);
    ensure!(store.due_ids(10).await?.is_empty(), "claimed twice");
    Ok(())
}

async fn evictions_are_remembered_after_reopening(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let dropping = || captures.an_op().limits(1, 0, WhenFull::DropOldest);
    let capture = dropping().dedup_key("d").build();
    let id = store.keep_new(capture.clone()).await?;
    let merged = dropping().dedup_key("d").build();
    store.keep(merged.clone()).await?;
    store.keep_new(dropping().build()).await?;
    let trail = store.evidence.trail(id, 0, 10).await?;
    let store = reopened(&store).await?;
    ensure_eq!(store.find(id).await?, None);
    ensure_eq!(store.evidence.trail(id, 0, 10).await?, trail);
    ensure_eq!(trail.last().map(|record| record.event), Some(EvidenceEvent::Evicted));
    for (capture, occurrence) in [(capture, 1), (merged, 2)] {
        let again = store.keep(capture).await?;
        ensure_eq!((again.id, again.occurrence), (id, occurrence));
        ensure_eq!(again.disposition, Disposition::Repeated);
    }
    store.ensure_sound().await
}

async fn limits_hold_after_reopening(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let kept = store.keep_all(captures.ops(3)).await?;
    store.act(kept[0].id, resolve()).await?;
    store.claim_one(kept[1].id).await?;
    let store = reopened(&store).await?;
    let limited = || captures.an_op().limits(3, 0, WhenFull::Reject).build();
    store.keep_new(limited()).await?;
    ensure_eq!(store.no_room(limited()).await?, (LimitScope::Domain, 3, 3));
    store.ensure_sound().await
}

async fn a_replaced_payload_is_there_after_reopening(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let keyed = |json| captures.an_op().dedup_key("d").request_data(json);
    let id = store.keep_new(keyed("1").build()).await?;
    store.keep(keyed("2").on_merge(OnMerge::KeepLast).build()).await?;
    let store = reopened(&store).await?;
    let op = store.op(id).await?;
    ensure_eq!((op.request_data.as_str(), op.payload_version), ("2", 2));
    Ok(())
}

async fn breakers_and_buckets_are_there_after_reopening(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let breaker = super::breakers::saved(&store, "gateway").await?;
    super::pace::take(&store, "gateway", 9, super::pace::TERMS).await?;
    let store = reopened(&store).await?;
    ensure_eq!(store.breakers.list(None, 10).await?, [breaker]);
    let granted = super::pace::take(&store, "gateway", 9, super::pace::TERMS).await?.granted;
    ensure_eq!(granted, 1, "of ten permits nine were taken before");
    Ok(())
}
