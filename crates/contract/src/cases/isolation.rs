//! Namespaces on one backend see nothing of each other.

use baldur_core::{
    EvidenceEvent, FacetScope, Facets, Filter, Status, command::WhenFull, port::Disposition,
};

use crate::{
    build::{Captures, parsed},
    case::{CaseResult, Failure, Topic, cases, ensure, ensure_eq},
    drive::{LEASE, resolve},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "isolation",
    Some(Topic::Isolation),
    [
        one_id_can_live_in_two_namespaces,
        keys_mean_something_within_a_namespace_only,
        claims_and_sweeps_stay_in_their_namespace,
        reads_stay_in_their_namespace,
        limits_count_one_namespace,
        breakers_and_buckets_stay_in_their_namespace,
    ]
);

async fn neighbours(lab: &Lab) -> Result<[(StoreUnderTest, Captures); 2], Failure> {
    let (store, captures) = lab.store().await;
    // Alike but for what a careless key would lose.
    let namespace = parsed(&format!("{}_", store.namespace));
    let sibling = store.sibling(namespace).await.ok_or_else(|| {
        Failure::new(
            "`StoreUnderTest::shares_backend` was not called; decline Isolation if that is meant",
        )
    })?;
    // The same seed, so that both make the same ids.
    let others = Captures::new(&sibling, lab.seed);
    Ok([(store, captures), (sibling, others)])
}

async fn one_id_can_live_in_two_namespaces(lab: &Lab) -> CaseResult {
    let [(a, ours), (b, theirs)] = neighbours(lab).await?;
    let id = a.keep_new(ours.an_op().build()).await?;
    ensure_eq!(b.find(id).await?, None);
    ensure_eq!(b.keep_new(theirs.an_op().id(id).domain("other").build()).await?, id);
    a.act(id, resolve()).await?;
    ensure_eq!((a.status(id).await?, b.status(id).await?), (Status::Resolved, Status::Pending));
    let events: Vec<EvidenceEvent> = b.trail(id).await?.iter().map(|r| r.event).collect();
    ensure_eq!(events, [EvidenceEvent::Captured]);
    a.ensure_sound().await?;
    b.ensure_sound().await
}

async fn keys_mean_something_within_a_namespace_only(lab: &Lab) -> CaseResult {
    let [(a, ours), (b, theirs)] = neighbours(lab).await?;
    let first = a.keep_new(ours.an_op().dedup_key("d").order_key("o").build()).await?;
    let captured = b.keep(theirs.an_op().dedup_key("d").order_key("o").build()).await?;
    ensure_eq!(captured.disposition, Disposition::New);
    ensure_eq!(b.due_ids(10).await?, [captured.id]);
    ensure_eq!(a.due_ids(10).await?, [first]);
    Ok(())
}

async fn claims_and_sweeps_stay_in_their_namespace(lab: &Lab) -> CaseResult {
    let [(a, ours), (b, _)] = neighbours(lab).await?;
    let id = a.keep_new(ours.an_op().build()).await?;
    ensure!(b.due_ids(10).await?.is_empty(), "it claimed its neighbour's entry");
    b.refusal(id).await?;
    let claimed = a.claim_one(id).await?;
    ensure!(b.try_settle(&claimed, crate::drive::succeeded()).await?.is_err(), "it settled it");
    a.clock.advance(LEASE);
    b.clock.set(baldur_core::Clock::now(&*a.clock));
    ensure!(b.lapse(10).await?.lapsed.is_empty(), "it lapsed its neighbour's claim");
    ensure_eq!(a.lapse(10).await?.lapsed.len(), 1);
    Ok(())
}

async fn reads_stay_in_their_namespace(lab: &Lab) -> CaseResult {
    let [(a, ours), (b, _)] = neighbours(lab).await?;
    a.keep_all(ours.ops(5)).await?;
    ensure!(b.walk_ids(&Filter::default()).await?.is_empty(), "it lists its neighbour's entries");
    ensure_eq!(b.reader.count(Filter::default(), 10).await?, baldur_core::Count::Exactly(0));
    ensure_eq!(b.reader.facets(FacetScope::default()).await?, Facets::default());
    ensure!(b.evidence.unsealed(10).await?.is_empty(), "it reads its neighbour's evidence");
    ensure_eq!(b.evidence.backlog().await?.unsealed, 0);
    Ok(())
}

async fn limits_count_one_namespace(lab: &Lab) -> CaseResult {
    let [(a, ours), (b, theirs)] = neighbours(lab).await?;
    let kept = a.keep_all(ours.ops(3)).await?;
    let ids: Vec<_> = kept.iter().map(|kept| kept.id).collect();
    b.keep_new(theirs.an_op().domain("stock").limits(1, 1, WhenFull::Reject).build()).await?;
    // Only its own entry may make room for the next one.
    let second = theirs.an_op().limits(1, 1, WhenFull::DropOldest).build();
    let answer = b.keep(second).await?;
    ensure_eq!(answer.evicted.len(), 1);
    for id in &ids {
        ensure_eq!(a.status(*id).await?, Status::Pending);
    }
    // Both make the same ids: what went in one namespace is there in the other.
    let gone = answer.evicted[0].id;
    ensure_eq!(gone, ids[0]);
    ensure_eq!(b.find(gone).await?, None);
    ensure_eq!(a.trail(gone).await?.len(), 1);
    a.ensure_sound().await?;
    b.ensure_sound().await
}

async fn breakers_and_buckets_stay_in_their_namespace(lab: &Lab) -> CaseResult {
    let [(a, _), (b, _)] = neighbours(lab).await?;
    let ours = super::breakers::saved(&a, "gateway").await?;
    ensure_eq!(b.breakers.load(vec![ours.name.clone()]).await?, [None]);
    ensure_eq!(b.breakers.list(None, 10).await?, []);
    let theirs = super::breakers::saved(&b, "gateway").await?;
    ensure_eq!(theirs.version, 1);
    ensure_eq!(a.breakers.list(None, 10).await?, [ours]);
    for store in [&a, &b] {
        let granted = super::pace::take(store, "gateway", 10, super::pace::TERMS).await?.granted;
        ensure_eq!(granted, 10);
    }
    Ok(())
}
