//! What was kept is there after closing and opening again.

use std::time::Duration;

use baldur_core::{FacetScope, Status, port::Disposition};

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
