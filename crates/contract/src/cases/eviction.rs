//! Entries that make room: which they are, what is left of them, and what becomes possible without them.

use std::time::Duration;

use baldur_core::{
    Clock, Count, EntryId, EvidenceEvent, EvidenceRecord, FacetScope, Filter, NotReplayable,
    Status,
    command::{Action, WhenFull},
    decide::MAX_EVICTIONS,
    evidence::Digest,
    port::{Captured, ClaimError, Disposition, Evicted, Imported, LimitScope, LiveCounts},
};

use crate::{
    build::{Captures, OpBuilder, parsed},
    case::{CaseResult, Failure, cases, ensure, ensure_eq, ensure_matches},
    drive::{LEASE, only, resolve, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "eviction",
    None,
    [
        the_oldest_of_the_domain_goes,
        the_oldest_of_all_goes_when_that_limit_is_reached,
        the_domain_makes_room_first,
        entries_captured_at_once_go_in_the_order_of_ids,
        what_waits_for_a_person_goes_too,
        what_somebody_works_on_never_goes,
        closed_entries_never_go,
        nothing_goes_while_there_is_room,
        a_capture_is_refused_when_nothing_may_go,
        a_lowered_limit_is_reached_step_by_step,
        a_capture_takes_the_place_of_what_went,
        an_evicted_entry_is_found_nowhere,
        the_evidence_of_an_evicted_entry_stays,
        the_id_of_an_evicted_entry_is_remembered,
        ids_that_merged_into_an_evicted_entry_are_remembered,
        an_evicted_id_is_not_imported,
        the_dedup_key_of_an_evicted_entry_is_free,
        the_next_live_entry_takes_over_the_dedup_key,
        the_successor_of_an_evicted_entry_is_claimable,
        an_eviction_does_not_disturb_a_running_replay,
        entries_of_one_batch_make_room_for_each_other,
        a_merge_and_an_eviction_in_one_batch_agree,
        a_late_older_capture_is_the_next_to_go,
    ]
);

/// A capture that drops the oldest to stay within these limits.
fn dropping(captures: &Captures, in_domain: u64, in_all: u64) -> OpBuilder {
    captures.an_op().limits(in_domain, in_all, WhenFull::DropOldest)
}

/// Keeps these one after the other, a second apart.
async fn keep_each(
    store: &StoreUnderTest,
    ops: impl IntoIterator<Item = OpBuilder>,
) -> Result<Vec<EntryId>, Failure> {
    let mut ids = Vec::new();
    for op in ops {
        store.clock.advance(Duration::from_secs(1));
        ids.push(store.keep_new(op.created_at(store.clock.now()).build()).await?);
    }
    Ok(ids)
}

async fn fill(
    store: &StoreUnderTest,
    captures: &Captures,
    n: usize,
) -> Result<Vec<EntryId>, Failure> {
    keep_each(store, (0..n).map(|_| captures.an_op())).await
}

fn evicted(captured: &Captured) -> Vec<EntryId> {
    captured.evicted.iter().map(|evicted| evicted.id).collect()
}

async fn whole_trail(store: &StoreUnderTest, id: EntryId) -> Result<Vec<EvidenceRecord>, Failure> {
    Ok(store.evidence.trail(id, 0, usize::from(u16::MAX)).await?)
}

async fn ensure_gone(store: &StoreUnderTest, id: EntryId) -> CaseResult {
    ensure_eq!(store.find(id).await?, None);
    let trail = whole_trail(store, id).await?;
    ensure_eq!(trail.last().map(|record| record.event), Some(EvidenceEvent::Evicted));
    Ok(())
}

async fn the_oldest_of_the_domain_goes(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    keep_each(&store, [captures.an_op().domain("stock")]).await?;
    let early = store.clock.now();
    let ids = fill(&store, &captures, 2).await?;
    // The order is that of capture, not of arrival.
    let late = captures.an_op().failure_type("REFUSED").dependency("bank").created_at(early);
    let late = store.keep_new(late.build()).await?;
    let kept = store.keep(dropping(&captures, 3, 0).build()).await?;
    ensure_eq!(kept.disposition, Disposition::New);
    let expected = Evicted {
        id: late,
        domain: parsed("payment"),
        failure_type: parsed("REFUSED"),
        dependency: parsed("bank"),
        status: Status::Pending,
        captured_at: early,
        occurrences: 1,
    };
    ensure_eq!(kept.evicted, [expected]);
    ensure_eq!(kept.live, Some(LiveCounts { in_domain: 3, in_all: 4 }));
    ensure_gone(&store, late).await?;
    let next = store.keep(dropping(&captures, 3, 0).build()).await?;
    ensure_eq!(evicted(&next), ids[..1]);
    store.ensure_sound().await
}

async fn the_oldest_of_all_goes_when_that_limit_is_reached(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ops = ["stock", "payment", "mail"].map(|domain| captures.an_op().domain(domain));
    let ids = keep_each(&store, ops).await?;
    for (n, id) in ids.iter().enumerate() {
        let kept = store.keep(dropping(&captures, 9, 3).domain("invoice").build()).await?;
        ensure_eq!(evicted(&kept), [*id]);
        let in_domain = u64::try_from(n).unwrap_or_default() + 1;
        ensure_eq!(kept.live, Some(LiveCounts { in_domain, in_all: 3 }));
    }
    store.ensure_sound().await
}

async fn the_domain_makes_room_first(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let oldest = keep_each(&store, [captures.an_op().domain("stock")]).await?;
    let ids = fill(&store, &captures, 2).await?;
    // One of the domain goes, and with it there is room in all.
    let kept = store.keep(dropping(&captures, 2, 3).build()).await?;
    ensure_eq!(evicted(&kept), ids[..1]);
    // Both limits are exceeded: first one of the domain, then the oldest of all.
    store.keep(captures.an_op().domain("stock").build()).await?;
    let kept = store.keep(dropping(&captures, 2, 3).build()).await?;
    ensure_eq!(evicted(&kept), [ids[1], oldest[0]]);
    ensure_eq!(kept.live, Some(LiveCounts { in_domain: 2, in_all: 3 }));
    Ok(())
}

async fn entries_captured_at_once_go_in_the_order_of_ids(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut ids: Vec<EntryId> =
        store.keep_all(captures.ops(5)).await?.iter().map(|kept| kept.id).collect();
    ids.sort_unstable();
    store.clock.advance(Duration::from_secs(1));
    let mut gone = Vec::new();
    for _ in 0..5 {
        gone.extend(evicted(&store.keep(dropping(&captures, 5, 0).build()).await?));
    }
    ensure_eq!(gone, ids);
    Ok(())
}

async fn what_waits_for_a_person_goes_too(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let unreplayable = captures.an_op().not_replayable(NotReplayable::RequestTooLarge);
    let ids = keep_each(&store, [captures.an_op(), unreplayable, captures.an_op()]).await?;
    store.act(ids[0], Action::Escalate).await?;
    for id in &ids[..2] {
        let kept = store.keep(dropping(&captures, 0, 3).build()).await?;
        ensure_eq!(evicted(&kept), [*id]);
        ensure_eq!(kept.evicted[0].status, Status::RequiresReview);
    }
    store.ensure_sound().await
}

async fn what_somebody_works_on_never_goes(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = fill(&store, &captures, 4).await?;
    let claimed = store.claim_one(ids[0]).await?;
    store.act(ids[1], Action::Review).await?;
    for (limits, id) in [((4, 0), ids[2]), ((0, 4), ids[3])] {
        let kept = store.keep(dropping(&captures, limits.0, limits.1).build()).await?;
        ensure_eq!(evicted(&kept), [id]);
    }
    ensure_eq!(store.settle(&claimed, succeeded()).await?.status, Status::Resolved);
    // When the person is done it may go again.
    store.act(ids[1], Action::Back).await?;
    let kept = store.keep(dropping(&captures, 3, 0).build()).await?;
    ensure_eq!(evicted(&kept), [ids[1]]);
    store.ensure_sound().await
}

async fn closed_entries_never_go(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = fill(&store, &captures, 3).await?;
    store.act(ids[0], resolve()).await?;
    let kept = store.keep(dropping(&captures, 2, 2).build()).await?;
    ensure_eq!(evicted(&kept), [ids[1]]);
    ensure_eq!(store.status(ids[0]).await?, Status::Resolved);
    Ok(())
}

async fn nothing_goes_while_there_is_room(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for _ in 0..3 {
        let kept = store.keep(dropping(&captures, 3, 3).build()).await?;
        ensure!(kept.evicted.is_empty(), "{:?} made room for nothing", kept.evicted);
    }
    let repeated = dropping(&captures, 3, 3).dedup_key("d").build();
    ensure_eq!(store.keep(repeated.clone()).await?.evicted.len(), 1);
    ensure_eq!(store.keep(repeated).await?.evicted.len(), 0);
    ensure_eq!(store.keep(dropping(&captures, 3, 3).dedup_key("d").build()).await?.evicted, []);
    Ok(())
}

async fn a_capture_is_refused_when_nothing_may_go(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = fill(&store, &captures, 2).await?;
    keep_each(&store, [captures.an_op().domain("stock")]).await?;
    store.claim_one(ids[0]).await?;
    store.act(ids[1], Action::Review).await?;
    let before = (store.export().await?, store.evidence.backlog().await?);
    // Another domain could make room in all, but this limit is that of the domain.
    let refused = store.no_room(dropping(&captures, 2, 3).build()).await?;
    ensure_eq!(refused, (LimitScope::Domain, 2, 2));
    ensure_eq!((store.export().await?, store.evidence.backlog().await?), before);
    store.clock.advance(LEASE);
    store.lapse(10).await?;
    ensure_eq!(evicted(&store.keep(dropping(&captures, 2, 3).build()).await?), ids[..1]);
    store.ensure_sound().await
}

async fn a_lowered_limit_is_reached_step_by_step(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = fill(&store, &captures, 2 * MAX_EVICTIONS + 4).await?;
    let mut gone = Vec::new();
    let mut live = Vec::new();
    for _ in 0..4 {
        store.clock.advance(Duration::from_secs(1));
        let kept = store.keep(dropping(&captures, 3, 0).build()).await?;
        gone.push(kept.evicted.len());
        live.push(kept.live.map(|live| live.in_domain));
        let went = gone.iter().sum::<usize>().min(ids.len());
        for id in &ids[..went] {
            ensure_eq!(store.find(*id).await?, None);
        }
    }
    ensure_eq!(gone, [MAX_EVICTIONS, MAX_EVICTIONS, 4, 1]);
    ensure_eq!(live, [Some(13), Some(6), Some(3), Some(3)]);
    store.ensure_sound().await
}

async fn a_capture_takes_the_place_of_what_went(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = fill(&store, &captures, 4).await?;
    for id in &ids[..3] {
        store.act(*id, Action::Review).await?;
    }
    let kept = store.keep(dropping(&captures, 2, 0).build()).await?;
    ensure_eq!(evicted(&kept), ids[3..]);
    ensure_eq!(kept.live, Some(LiveCounts { in_domain: 4, in_all: 4 }));
    Ok(())
}

async fn an_evicted_entry_is_found_nowhere(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let op = captures.an_op().label("tenant", "acme").dedup_key("d").order_key("o");
    let op = op.idempotency_key("i").user_id("u").entity_type("t").entity_id("e");
    let id = keep_each(&store, [op.fingerprint("f").origin_service("api")]).await?[0];
    let kept = store.keep(dropping(&captures, 1, 0).domain("payment").build()).await?;
    ensure_eq!(evicted(&kept), [id]);
    ensure_gone(&store, id).await?;
    let any = Filter::default;
    let filters = [
        Filter { labels: vec![(parsed("tenant"), parsed("acme"))], ..any() },
        Filter { dedup_key: Some(parsed("d")), ..any() },
        Filter { order_key: Some(parsed("o")), ..any() },
        Filter { idempotency_key: Some(parsed("i")), ..any() },
        Filter { user_id: Some(parsed("u")), ..any() },
        Filter { entity_type: Some(parsed("t")), ..any() },
        Filter { entity_id: Some(parsed("e")), ..any() },
        Filter { fingerprint: Some(parsed("f")), ..any() },
        Filter { origin_service: Some(parsed("api")), ..any() },
    ];
    for filter in filters {
        ensure_eq!(store.walk_ids(&filter).await?, [], "{filter:?}");
        ensure_eq!(store.reader.count(filter, 9).await?, Count::Exactly(0));
    }
    ensure_eq!(store.walk_ids(&any()).await?, [kept.id]);
    let facets = store.reader.facets(FacetScope::default()).await?;
    ensure_eq!(facets.by_status.values().sum::<u64>(), 1);
    ensure_matches!(store.refusal(id).await?, ClaimError::NotFound(_));
    ensure_matches!(store.try_act(id, resolve()).await?, Err(ClaimError::NotFound(_)));
    ensure_eq!(store.due_ids(10).await?, [kept.id]);
    store.ensure_sound().await
}

async fn the_evidence_of_an_evicted_entry_stays(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = fill(&store, &captures, 1).await?[0];
    store.act(id, Action::Escalate).await?;
    let before = store.trail(id).await?;
    let backlog = store.evidence.backlog().await?.unsealed;
    store.clock.advance(Duration::from_secs(5));
    let newcomer = dropping(&captures, 1, 0).with(|capture| {
        capture.evidence.actor = parsed("newcomer");
        // As of a record that comes late from a spool.
        capture.evidence.at = capture.evidence.at.saturating_sub(Duration::from_mins(1));
    });
    store.keep(newcomer.build()).await?;
    let trail = whole_trail(&store, id).await?;
    ensure_eq!(trail[..2], before[..]);
    let Some(last) = trail.get(2) else {
        return Err(Failure::new(format!("no record of the eviction: {trail:?}")));
    };
    ensure_eq!((trail.len(), last.entry, last.counter), (3, id, 3));
    ensure_eq!(last.event, EvidenceEvent::Evicted);
    ensure_eq!((last.from, last.to), (Some(Status::RequiresReview), None));
    ensure_eq!(last.digest, Some(Digest::of(br#"{"amount": 1999}"#)));
    ensure_eq!((last.evidence.actor.as_str(), last.evidence.at), ("newcomer", store.clock.now()));
    ensure!(last.evidence.reason.is_some(), "the record does not say why");
    ensure_eq!(store.evidence.trail(id, 1, 1).await?, trail[1..2]);
    // Unsealed: the two, the record of the eviction, and the newcomer's.
    ensure_eq!(store.evidence.backlog().await?.unsealed, backlog + 2);
    let unsealed = store.evidence.unsealed(100).await?;
    let mine: Vec<_> = unsealed.into_iter().filter(|record| record.entry == id).collect();
    ensure_eq!(mine, trail);
    Ok(())
}

async fn the_id_of_an_evicted_entry_is_remembered(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let capture = dropping(&captures, 1, 0).build();
    store.keep_new(capture.clone()).await?;
    store.clock.advance(Duration::from_secs(1));
    let newcomer = store.keep_new(dropping(&captures, 1, 0).build()).await?;
    let before = store.evidence.backlog().await?;
    let again = store.keep(capture.clone()).await?;
    ensure_eq!((again.id, again.occurrence), (capture.op.id, 1));
    ensure_eq!((again.disposition, again.evicted), (Disposition::Repeated, Vec::new()));
    ensure_eq!(store.evidence.backlog().await?, before);
    ensure_gone(&store, capture.op.id).await?;
    ensure_eq!(store.walk_ids(&Filter::default()).await?, [newcomer]);
    Ok(())
}

async fn ids_that_merged_into_an_evicted_entry_are_remembered(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let keyed = || dropping(&captures, 1, 0).dedup_key("d").build();
    let first = store.keep_new(keyed()).await?;
    let merged = keyed();
    store.keep(merged.clone()).await?;
    store.clock.advance(Duration::from_secs(1));
    let kept = store.keep(dropping(&captures, 1, 0).build()).await?;
    ensure_eq!(kept.evicted.first().map(|gone| gone.occurrences), Some(2));
    let again = store.keep(merged).await?;
    ensure_eq!((again.id, again.occurrence, again.disposition), (first, 2, Disposition::Repeated));
    ensure_gone(&store, first).await?;
    store.ensure_sound().await
}

async fn an_evicted_id_is_not_imported(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = fill(&store, &captures, 1).await?[0];
    let exported = store.export().await?;
    store.keep(dropping(&captures, 1, 0).build()).await?;
    ensure_eq!(only(store.admin.import_batch(exported).await)??, Imported::Present);
    ensure_gone(&store, id).await?;
    store.ensure_sound().await
}

async fn the_dedup_key_of_an_evicted_entry_is_free(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let keyed = || dropping(&captures, 1, 0).dedup_key("d").build();
    let first = store.keep_new(keyed()).await?;
    store.keep_new(dropping(&captures, 1, 0).build()).await?;
    ensure_gone(&store, first).await?;
    let second = store.keep(keyed()).await?;
    ensure_eq!((second.occurrence, second.disposition), (1, Disposition::New));
    ensure_eq!(store.keep(keyed()).await?.id, second.id);
    Ok(())
}

async fn the_next_live_entry_takes_over_the_dedup_key(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let keyed = || captures.an_op().dedup_key("d");
    let first = keep_each(&store, [keyed()]).await?[0];
    store.act(first, resolve()).await?;
    let second = keep_each(&store, [keyed()]).await?[0];
    store.act(first, Action::Reopen).await?;
    // In one batch: what is merged into, what makes the first one go, and what is merged into then.
    let batch =
        vec![keyed().build(), dropping(&captures, 2, 0).build(), keyed().build(), keyed().build()];
    let answers = store.keep_all(batch).await?;
    ensure_eq!(
        answers.iter().map(|kept| kept.id).collect::<Vec<_>>(),
        [first, answers[1].id, second, second]
    );
    ensure_eq!(evicted(&answers[1]), [first]);
    ensure_eq!(store.op(second).await?.state.occurrences, 3);
    ensure_eq!(whole_trail(&store, first).await?.len(), 5);
    store.ensure_sound().await
}

async fn the_successor_of_an_evicted_entry_is_claimable(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = keep_each(&store, (0..3).map(|_| captures.an_op().order_key("o"))).await?;
    ensure_matches!(store.refusal(ids[1]).await?, ClaimError::Blocked { by, .. } if *by == ids[0]);
    store.keep(dropping(&captures, 3, 0).order_key("o").build()).await?;
    ensure_eq!(store.due_ids(10).await?, ids[1..2]);
    store.ensure_sound().await
}

async fn an_eviction_does_not_disturb_a_running_replay(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = keep_each(&store, (0..3).map(|_| captures.an_op().order_key("o"))).await?;
    let running = store.claim_one(ids[0]).await?;
    let kept = store.keep(dropping(&captures, 3, 0).order_key("o").build()).await?;
    ensure_eq!(evicted(&kept), ids[1..2]);
    ensure!(store.due_ids(10).await?.is_empty(), "two replays of one key at a time");
    store.settle(&running, succeeded()).await?;
    ensure_eq!(store.due_ids(10).await?, ids[2..]);
    store.ensure_sound().await
}

async fn entries_of_one_batch_make_room_for_each_other(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut batch: Vec<_> = (0..5)
        .map(|n| dropping(&captures, 2, 0).order_key("o").label("n", &n.to_string()).build())
        .collect();
    batch.sort_unstable_by_key(|capture| capture.op.id);
    let ids: Vec<EntryId> = batch.iter().map(|capture| capture.op.id).collect();
    let answers = store.keep_all(batch.clone()).await?;
    let gone: Vec<_> = answers.iter().flat_map(evicted).collect();
    ensure_eq!(gone, ids[..3]);
    ensure!(answers.iter().all(|kept| kept.disposition == Disposition::New), "{answers:?}");
    for id in &ids[..3] {
        ensure_gone(&store, *id).await?;
        ensure_eq!(whole_trail(&store, *id).await?.len(), 2);
    }
    for again in store.keep_all(batch).await? {
        ensure_eq!(again.disposition, Disposition::Repeated);
    }
    // Whatever a store numbers its entries by, what went does not share it with what comes.
    let next = store.keep_new(captures.an_op().build()).await?;
    ensure_eq!(store.trail(next).await?.len(), 1);
    ensure_eq!(store.due_ids(10).await?, [ids[3], next]);
    store.ensure_sound().await
}

async fn a_merge_and_an_eviction_in_one_batch_agree(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let keyed = |captures: &Captures| dropping(captures, 2, 0).dedup_key("d").build();
    let first = store.keep_new(keyed(&captures)).await?;
    store.clock.advance(Duration::from_secs(1));
    let later = || dropping(&captures, 2, 0).build();
    let batch = vec![keyed(&captures), later(), later(), keyed(&captures), keyed(&captures)];
    let answers = store.keep_all(batch).await?;
    ensure_eq!((answers[0].id, answers[0].occurrence), (first, 2));
    ensure_eq!(evicted(&answers[2]), [first]);
    ensure_eq!(answers[2].evicted[0].occurrences, 2);
    ensure_eq!(answers[3].disposition, Disposition::New);
    ensure_eq!((answers[4].id, answers[4].occurrence), (answers[3].id, 2));
    let events: Vec<_> = whole_trail(&store, first).await?.iter().map(|r| r.event).collect();
    ensure_eq!(events, [EvidenceEvent::Captured, EvidenceEvent::Merged, EvidenceEvent::Evicted]);
    store.ensure_sound().await
}

/// A record that was spooled comes later than what was captured after it.
async fn a_late_older_capture_is_the_next_to_go(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let early = store.clock.now();
    let ids = fill(&store, &captures, 2).await?;
    let late = store.keep(dropping(&captures, 2, 0).created_at(early).build()).await?;
    ensure_eq!(evicted(&late), ids[..1], "it does not go for itself");
    ensure_eq!(evicted(&store.keep(dropping(&captures, 2, 0).build()).await?), [late.id]);
    Ok(())
}
