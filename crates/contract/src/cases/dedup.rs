//! Captures with a dedup key.

use std::time::Duration;

use baldur_core::{
    Clock, EntryId, EvidenceEvent, Status,
    command::{Action, Capture},
    port::{Captured, Disposition},
};

use crate::{
    build::Captures,
    case::{CaseResult, Failure, cases, ensure, ensure_eq},
    drive::{permanent, reject, resolve, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "dedup",
    None,
    [
        a_second_capture_with_a_live_dedup_key_merges,
        the_nth_duplicate_learns_its_occurrence,
        duplicates_inside_one_batch_merge_in_its_order,
        a_merge_keeps_the_first_payload,
        a_merged_id_finds_nothing,
        a_merged_id_is_remembered,
        a_merged_id_is_remembered_after_the_first_is_closed,
        a_capture_after_the_first_is_closed_is_a_new_entry,
        captures_merge_into_every_live_status,
        dedup_keys_are_compared_to_the_letter,
        an_entry_without_dedup_key_never_merges,
        of_several_live_entries_the_oldest_is_merged_into,
        the_time_of_the_newest_occurrence_is_kept,
    ]
);

type Answer = (EntryId, u64, Disposition);

fn answer(captured: &Captured) -> Answer {
    (captured.id, captured.occurrence, captured.disposition)
}

fn keyed(captures: &Captures) -> Capture {
    captures.an_op().dedup_key("charge order 1").build()
}

async fn merged(store: &StoreUnderTest, capture: Capture) -> Result<Answer, Failure> {
    Ok(answer(&store.keep(capture).await?))
}

async fn a_second_capture_with_a_live_dedup_key_merges(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let first = store.keep_new(keyed(&captures)).await?;
    store.clock.advance(Duration::from_secs(1));
    ensure_eq!(merged(&store, keyed(&captures)).await?, (first, 2, Disposition::Merged));
    let op = store.op(first).await?;
    ensure_eq!((op.state.occurrences, op.state.status), (2, Status::Pending));
    ensure_eq!(op.state.updated_at, store.clock.now());
    let events: Vec<_> = store.trail(first).await?.iter().map(|record| record.event).collect();
    ensure_eq!(events, [EvidenceEvent::Captured, EvidenceEvent::Merged]);
    ensure_eq!(store.due_ids(10).await?, [first]);
    Ok(())
}

async fn the_nth_duplicate_learns_its_occurrence(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let first = store.keep_new(keyed(&captures)).await?;
    for n in 2..=20 {
        ensure_eq!(merged(&store, keyed(&captures)).await?, (first, n, Disposition::Merged));
    }
    ensure_eq!(store.op(first).await?.state.occurrences, 20);
    Ok(())
}

async fn duplicates_inside_one_batch_merge_in_its_order(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let a = captures.an_op().dedup_key("a").build();
    let b = captures.an_op().dedup_key("b").build();
    let (first_a, first_b) = (a.op.id, b.op.id);
    let again = captures.an_op().dedup_key("a").build();
    let batch = vec![a, b, again.clone(), again, captures.an_op().dedup_key("a").build()];
    let answers: Vec<_> = store.keep_all(batch).await?.iter().map(answer).collect();
    ensure_eq!(
        answers,
        [
            (first_a, 1, Disposition::New),
            (first_b, 1, Disposition::New),
            (first_a, 2, Disposition::Merged),
            (first_a, 2, Disposition::Repeated),
            (first_a, 3, Disposition::Merged),
        ]
    );
    store.ensure_sound().await
}

async fn a_merge_keeps_the_first_payload(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let first = store.keep_new(keyed(&captures)).await?;
    let mut before = store.op(first).await?;
    let other = captures.an_op().dedup_key("charge order 1").domain("other").label("a", "b");
    store.keep(other.request_data("[2]").build()).await?;
    let after = store.op(first).await?;
    before.state = after.state.clone();
    ensure_eq!(after, before);
    Ok(())
}

async fn a_merged_id_finds_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_new(keyed(&captures)).await?;
    let second = keyed(&captures);
    store.keep(second.clone()).await?;
    ensure_eq!(store.find(second.op.id).await?, None);
    ensure!(store.evidence.trail(second.op.id, 0, 10).await?.is_empty(), "it has evidence");
    ensure_eq!(store.walk_ids(&baldur_core::Filter::default()).await?.len(), 1);
    Ok(())
}

async fn a_merged_id_is_remembered(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let first = store.keep_new(keyed(&captures)).await?;
    let second = keyed(&captures);
    store.keep(second.clone()).await?;
    store.keep(keyed(&captures)).await?;
    let before = store.op(first).await?;
    // The spool may bring it again, with or without its key.
    let keyless = captures.an_op().id(second.op.id).build();
    for again in [second, keyless] {
        ensure_eq!(merged(&store, again).await?, (first, 2, Disposition::Repeated));
    }
    ensure_eq!(store.op(first).await?, before);
    Ok(())
}

async fn a_merged_id_is_remembered_after_the_first_is_closed(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let first = store.keep_new(keyed(&captures)).await?;
    let second = keyed(&captures);
    store.keep(second.clone()).await?;
    store.replay(first, succeeded()).await?;
    ensure_eq!(merged(&store, second.clone()).await?, (first, 2, Disposition::Repeated));
    ensure_eq!(store.status(first).await?, Status::Resolved);
    // Also when a new entry has the key by now.
    store.keep_new(keyed(&captures)).await?;
    ensure_eq!(merged(&store, second).await?, (first, 2, Disposition::Repeated));
    Ok(())
}

async fn a_capture_after_the_first_is_closed_is_a_new_entry(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for close in [resolve(), reject(), Action::Expire] {
        let first = store.keep_new(keyed(&captures)).await?;
        store.act(first, close).await?;
        let second = store.keep_new(keyed(&captures)).await?;
        ensure_eq!(merged(&store, keyed(&captures)).await?, (second, 2, Disposition::Merged));
        ensure_eq!(store.op(first).await?.state.occurrences, 1);
        store.replay(second, succeeded()).await?;
    }
    Ok(())
}

async fn captures_merge_into_every_live_status(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let first = store.keep_new(keyed(&captures)).await?;
    let claimed = store.claim_one(first).await?;
    ensure_eq!(merged(&store, keyed(&captures)).await?, (first, 2, Disposition::Merged));
    ensure_eq!(store.status(first).await?, Status::Replaying);
    // The merge takes nothing from the holder.
    store.settle(&claimed, permanent()).await?;
    ensure_eq!(merged(&store, keyed(&captures)).await?, (first, 3, Disposition::Merged));
    ensure_eq!(store.status(first).await?, Status::RequiresReview);
    let other = captures.an_op().dedup_key("under review");
    let reviewed = store.keep_new(other.clone().build()).await?;
    store.act(reviewed, Action::Review).await?;
    let again = other.id(captures.an_op().build().op.id).build();
    ensure_eq!(merged(&store, again).await?, (reviewed, 2, Disposition::Merged));
    ensure_eq!(store.status(reviewed).await?, Status::Reviewing);
    Ok(())
}

async fn dedup_keys_are_compared_to_the_letter(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for key in crate::cases::hostile::TEXTS {
        store.keep_new(captures.an_op().dedup_key(key).build()).await?;
    }
    for key in crate::cases::hostile::TEXTS {
        let answer = store.keep(captures.an_op().dedup_key(key).build()).await?;
        ensure_eq!(answer.disposition, Disposition::Merged, "{key:?}");
        let op = store.op(answer.id).await?;
        ensure_eq!(op.dedup_key.map(|key| key.to_string()).as_deref(), Some(*key));
    }
    Ok(())
}

async fn an_entry_without_dedup_key_never_merges(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for _ in 0..3 {
        store.keep_new(captures.an_op().build()).await?;
    }
    Ok(())
}

async fn of_several_live_entries_the_oldest_is_merged_into(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let first = store.keep_new(keyed(&captures)).await?;
    store.act(first, resolve()).await?;
    store.clock.advance(Duration::from_secs(1));
    let second = store.keep_new(keyed(&captures)).await?;
    ensure_eq!(merged(&store, keyed(&captures)).await?, (second, 2, Disposition::Merged));
    store.act(first, Action::Reopen).await?;
    ensure_eq!(merged(&store, keyed(&captures)).await?, (first, 2, Disposition::Merged));
    store.act(first, resolve()).await?;
    ensure_eq!(merged(&store, keyed(&captures)).await?, (second, 3, Disposition::Merged));
    store.ensure_sound().await
}

async fn the_time_of_the_newest_occurrence_is_kept(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let start = store.clock.now();
    let first = store.keep_new(keyed(&captures)).await?;
    let later = start.saturating_add(Duration::from_secs(9));
    let earlier = start.saturating_sub(Duration::from_secs(9));
    for (at, newest) in [(later, later), (earlier, later)] {
        store.keep(captures.an_op().dedup_key("charge order 1").created_at(at).build()).await?;
        ensure_eq!(store.op(first).await?.state.last_occurred_at, newest);
    }
    ensure_eq!(store.op(first).await?.created_at, start);
    Ok(())
}
