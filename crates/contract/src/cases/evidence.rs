//! Evidence: what was done, stored with the change.

use std::{collections::BTreeMap, time::Duration};

use baldur_core::{
    Clock, Digest, EntryId, Evidence, EvidenceEvent, EvidenceRecord, Status, TraceContext,
    command::{Act, Action, SettleOutcome},
    failed_op::Cause,
    port::EvidenceBacklog,
};

use crate::{
    build::parsed,
    case::{CaseResult, cases, ensure, ensure_eq, ensure_matches},
    drive::{LEASE, deferred, failed, only, permanent, resolve, succeeded},
    harness::Lab,
};

cases!(
    "evidence",
    None,
    [
        a_capture_leaves_a_record_with_the_digest_of_the_request,
        a_merge_leaves_a_record_with_the_digest_of_what_was_merged,
        every_path_leaves_one_record_per_change,
        who_when_why_and_the_trace_are_kept,
        reads_and_refusals_leave_no_record,
        an_unknown_entry_has_no_trail,
        a_trail_is_read_in_pieces,
        unsealed_records_of_an_entry_come_in_counter_order,
        the_backlog_counts_what_is_unsealed,
        an_empty_store_has_no_evidence,
    ]
);

async fn a_capture_leaves_a_record_with_the_digest_of_the_request(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let capture = super::capture::full(&captures);
    let id = store.keep_new(capture.clone()).await?;
    let record = only(store.trail(id).await?)?;
    ensure_eq!(record.event, EvidenceEvent::Captured);
    ensure_eq!((record.entry, record.from, record.to), (id, None, Some(Status::Pending)));
    let digest = Digest::of(capture.op.request_data.as_str().as_bytes());
    ensure_eq!((record.digest, record.evidence), (Some(digest), capture.evidence));
    Ok(())
}

async fn a_merge_leaves_a_record_with_the_digest_of_what_was_merged(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().dedup_key("d").build()).await?;
    let merged = captures.an_op().dedup_key("d").request_data("[1]").build();
    store.keep(merged.clone()).await?;
    let trail = store.trail(id).await?;
    ensure_matches!(trail.last(), Some(record)
        if record.event == EvidenceEvent::Merged
        && record.counter == 2
        && record.from == Some(Status::Pending) && record.to == Some(Status::Pending)
        && record.digest == Some(Digest::of(b"[1]"))
        && record.evidence == merged.evidence);
    Ok(())
}

async fn every_path_leaves_one_record_per_change(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(2).dedup_key("d").build()).await?;
    store.keep(captures.an_op().dedup_key("d").build()).await?;
    store.replay(id, deferred()).await?;
    store.replay(id, SettleOutcome::Released).await?;
    store.replay(id, failed()).await?;
    let lost = store.claim_one(id).await?;
    store.clock.advance(LEASE);
    store.lapse(1).await?;
    store.try_settle(&lost, succeeded()).await?.err();
    let redriven = store.claim_forced(id).await?;
    store.settle(&redriven, permanent()).await?;
    store.act(id, resolve()).await?;
    store.act(id, Action::Reopen).await?;
    store.act(id, Action::Review).await?;
    store.act(id, Action::Back).await?;
    store.act(id, Action::Escalate).await?;
    store.act(id, Action::Expire).await?;
    store.act(id, Action::Reopen).await?;
    store.replay(id, SettleOutcome::AlreadyDone { note: "seen".to_owned() }).await?;
    let trail = store.trail(id).await?;
    let events: Vec<EvidenceEvent> = trail.iter().map(|record| record.event).collect();
    let moved = EvidenceEvent::Moved;
    ensure_eq!(
        events,
        [
            EvidenceEvent::Captured,
            EvidenceEvent::Merged,
            moved(Cause::Claim),
            moved(Cause::Deferred),
            moved(Cause::Claim),
            moved(Cause::Released),
            moved(Cause::Claim),
            moved(Cause::Failed),
            moved(Cause::Claim),
            moved(Cause::LapsedAtCap),
            EvidenceEvent::SettleRefused,
            moved(Cause::ForceRedrive),
            moved(Cause::Permanent),
            moved(Cause::Resolve),
            moved(Cause::Reopen),
            moved(Cause::Review),
            moved(Cause::Back),
            moved(Cause::Escalate),
            moved(Cause::Expire),
            moved(Cause::Reopen),
            moved(Cause::Claim),
            moved(Cause::AlreadyDone),
        ]
    );
    for pair in trail.windows(2) {
        ensure_eq!(pair[1].from, pair[0].to, "record {} follows", pair[1].counter);
    }
    Ok(())
}

async fn who_when_why_and_the_trace_are_kept(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let trace = TraceContext::parse(
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        Some("a=1,b=2"),
    )?;
    // The actor's clock is its own: it is kept as it was told.
    let evidence = Evidence {
        actor: parsed("Zoë (on call)"),
        at: store.clock.now().saturating_sub(Duration::from_micros(86_400_000_001)),
        reason: Some(parsed(&"é".repeat(250))),
        trace: Some(trace),
    };
    let act = Act { id, action: resolve(), evidence: evidence.clone() };
    only(store.claims.apply(vec![act]).await)??;
    let trail = store.trail(id).await?;
    ensure_eq!(trail.last().map(|record| record.evidence.clone()), Some(evidence));
    Ok(())
}

async fn reads_and_refusals_leave_no_record(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let capture = captures.an_op().build();
    let id = store.keep_new(capture.clone()).await?;
    let claimed = store.claim_one(id).await?;
    store.keep(capture).await?;
    store.refusal(id).await?;
    store.try_act(id, resolve()).await?.err();
    store.extend(&claimed, LEASE * 2).await??;
    store.lapse(10).await?;
    store.walk_ids(&baldur_core::Filter::default()).await?;
    store.settle(&claimed, succeeded()).await?;
    store.settle(&claimed, succeeded()).await?;
    let events: Vec<EvidenceEvent> = store.trail(id).await?.iter().map(|r| r.event).collect();
    ensure_eq!(
        events,
        [
            EvidenceEvent::Captured,
            EvidenceEvent::Moved(Cause::Claim),
            EvidenceEvent::Moved(Cause::Succeeded)
        ]
    );
    Ok(())
}

async fn an_unknown_entry_has_no_trail(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_new(captures.an_op().build()).await?;
    let unknown = captures.an_op().build().op.id;
    ensure!(store.evidence.trail(unknown, 0, 10).await?.is_empty(), "it has a trail");
    Ok(())
}

async fn a_trail_is_read_in_pieces(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    for _ in 0..6 {
        store.replay(id, SettleOutcome::Released).await?;
    }
    let whole = store.trail(id).await?;
    ensure_eq!(whole.len(), 13);
    let mut pieces: Vec<EvidenceRecord> = Vec::new();
    loop {
        let after = pieces.last().map_or(0, |record| record.counter);
        let piece = store.evidence.trail(id, after, 4).await?;
        ensure!(piece.len() <= 4, "a piece is longer than asked for");
        if piece.is_empty() {
            break;
        }
        pieces.extend(piece);
    }
    ensure_eq!(pieces, whole);
    ensure!(store.evidence.trail(id, 0, 0).await?.is_empty(), "nothing was asked for");
    ensure!(store.evidence.trail(id, 13, 10).await?.is_empty(), "nothing follows");
    Ok(())
}

async fn unsealed_records_of_an_entry_come_in_counter_order(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut ids = Vec::new();
    for capture in captures.ops(5) {
        ids.push(store.keep_new(capture).await?);
    }
    for id in ids.iter().rev() {
        store.replay(*id, succeeded()).await?;
    }
    let mut by_entry: BTreeMap<EntryId, Vec<EvidenceRecord>> = BTreeMap::new();
    for record in store.evidence.unsealed(100).await? {
        by_entry.entry(record.entry).or_default().push(record);
    }
    ensure_eq!(by_entry.len(), 5);
    for (id, records) in by_entry {
        ensure_eq!(records, store.trail(id).await?);
    }
    for limit in [0, 1, 7] {
        ensure_eq!(store.evidence.unsealed(limit).await?.len(), limit);
    }
    Ok(())
}

async fn the_backlog_counts_what_is_unsealed(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let oldest = store.clock.now();
    let id = store.keep_new(captures.an_op().build()).await?;
    store.clock.advance(Duration::from_mins(1));
    store.replay(id, succeeded()).await?;
    store.keep_new(captures.an_op().build()).await?;
    let backlog = store.evidence.backlog().await?;
    ensure_eq!(backlog, EvidenceBacklog { unsealed: 4, oldest: Some(oldest) });
    let earlier = oldest.saturating_sub(Duration::from_secs(5));
    let capture = captures.an_op().with(|capture| capture.evidence.at = earlier).build();
    store.keep_new(capture).await?;
    let backlog = store.evidence.backlog().await?;
    ensure_eq!(backlog, EvidenceBacklog { unsealed: 5, oldest: Some(earlier) });
    Ok(())
}

async fn an_empty_store_has_no_evidence(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    ensure!(store.evidence.unsealed(10).await?.is_empty(), "it has evidence");
    ensure_eq!(store.evidence.backlog().await?, EvidenceBacklog::default());
    Ok(())
}
