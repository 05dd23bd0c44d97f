//! Settling claims.

use std::time::Duration;

use baldur_core::{
    Clock, EvidenceEvent, RecommendedAction, ResolutionType, Status,
    command::{Settle, SettleOutcome},
    failed_op::{AttemptOutcome, Cause},
    port::ClaimError,
};

use crate::{
    build::parsed,
    case::{CaseResult, cases, ensure, ensure_eq, ensure_matches},
    drive::{BACKOFF, LEASE, deferred, failed, permanent, succeeded},
    harness::Lab,
};

cases!(
    "settle",
    None,
    [
        a_success_resolves,
        a_target_that_had_done_it_before_resolves_too,
        each_trigger_is_kept,
        a_failure_with_budget_left_waits_again,
        a_failure_at_the_cap_needs_a_person,
        a_permanent_failure_needs_a_person,
        a_deferral_charges_nothing,
        a_release_is_due_at_once_and_charges_nothing,
        a_second_claim_follows_a_failure,
        the_first_three_and_the_last_seven_attempts_are_kept,
        settles_of_a_batch_are_answered_by_themselves_in_order,
        an_unknown_entry_is_not_found,
        a_note_with_a_nul_character_is_refused,
        a_claim_that_ran_out_can_settle_until_it_lapses,
        a_settle_keeps_everything_else,
    ]
);

/// Reference 28.
async fn a_success_resolves(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    store.clock.advance(Duration::from_secs(2));
    let now = store.clock.now();
    let settled = store.settle(&claimed, succeeded()).await?;
    ensure_eq!((settled.status, settled.retry_count), (Status::Resolved, 0));
    ensure!(!settled.repeated, "it was the first settle");
    let state = store.op(id).await?.state;
    ensure_eq!((state.status, state.hold.clone()), (Status::Resolved, None));
    ensure_eq!(state.resolution_type, Some(ResolutionType::ManualReplay));
    ensure_eq!((state.resolved_at, state.updated_at), (Some(now), now));
    ensure_eq!(
        state.resolved_by_id.as_ref().map(baldur_core::name::Actor::as_str),
        Some("contract")
    );
    ensure_eq!(state.resolution_note, "200 OK");
    ensure_matches!(state.attempts.newest(), Some(attempt)
        if attempt.number == 1
        && attempt.claim_token == claimed.state.claim_token
        && attempt.outcome == AttemptOutcome::Succeeded
        && attempt.note == "200 OK"
        && attempt.finished_at == now
        && attempt.started_at == now.saturating_sub(Duration::from_secs(2)));
    Ok(())
}

async fn a_target_that_had_done_it_before_resolves_too(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let outcome = SettleOutcome::AlreadyDone { note: "seen".to_owned() };
    ensure_eq!(store.replay(id, outcome).await?.status, Status::Resolved);
    let state = store.op(id).await?.state;
    ensure_eq!(state.resolution_type, Some(ResolutionType::DuplicateSkip));
    Ok(())
}

async fn each_trigger_is_kept(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for trigger in ResolutionType::ALL {
        let id = store.keep_new(captures.an_op().build()).await?;
        let claimed = store.claim_one(id).await?;
        let settle = Settle { trigger, ..store.settle_command(&claimed, succeeded()) };
        crate::drive::only(store.claims.settle_batch(vec![settle]).await)??;
        ensure_eq!(store.op(id).await?.state.resolution_type, Some(trigger));
    }
    Ok(())
}

/// Reference 29.
async fn a_failure_with_budget_left_waits_again(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(2).build()).await?;
    let settled = store.replay(id, failed()).await?;
    ensure_eq!((settled.status, settled.retry_count), (Status::Pending, 1));
    let state = store.op(id).await?.state;
    ensure_eq!(state.next_attempt_at, store.clock.now().saturating_add(BACKOFF));
    ensure_eq!((state.hold, state.resolved_at, state.resolution_type), (None, None, None));
    Ok(())
}

/// Reference 29 and 34.
async fn a_failure_at_the_cap_needs_a_person(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(3).build()).await?;
    for charged in 1..3 {
        let settled = store.replay(id, failed()).await?;
        ensure_eq!((settled.status, settled.retry_count), (Status::Pending, charged));
    }
    let settled = store.replay(id, failed()).await?;
    ensure_eq!((settled.status, settled.retry_count), (Status::RequiresReview, 3));
    let state = store.op(id).await?.state;
    ensure_eq!(state.recommended_action, Some(RecommendedAction::ManualCheck));
    let trail = store.trail(id).await?;
    ensure_eq!(trail.last().map(|r| r.event), Some(EvidenceEvent::Moved(Cause::FailedAtCap)));
    store.clock.advance(BACKOFF);
    ensure!(store.due_ids(10).await?.is_empty(), "it was claimed without budget");
    Ok(())
}

async fn a_permanent_failure_needs_a_person(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(9).build()).await?;
    let settled = store.replay(id, permanent()).await?;
    ensure_eq!((settled.status, settled.retry_count), (Status::RequiresReview, 1));
    Ok(())
}

async fn a_deferral_charges_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(1).build()).await?;
    for _ in 0..3 {
        let settled = store.replay(id, deferred()).await?;
        ensure_eq!((settled.status, settled.retry_count), (Status::Pending, 0));
        let state = store.op(id).await?.state;
        ensure_eq!(state.next_attempt_at, store.clock.now().saturating_add(BACKOFF));
    }
    Ok(())
}

async fn a_release_is_due_at_once_and_charges_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(1).build()).await?;
    let settled = store.replay(id, SettleOutcome::Released).await?;
    ensure_eq!((settled.status, settled.retry_count), (Status::Pending, 0));
    ensure_eq!(store.due_ids(10).await?, [id]);
    Ok(())
}

/// Reference 21.
async fn a_second_claim_follows_a_failure(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(3).build()).await?;
    store.replay(id, failed()).await?;
    let claimed = store.claim_one(id).await?;
    ensure_eq!((claimed.state.retry_count, claimed.state.claim_token.0), (1, 2));
    ensure_eq!(store.settle(&claimed, failed()).await?.retry_count, 2);
    Ok(())
}

async fn the_first_three_and_the_last_seven_attempts_are_kept(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    for n in 1..=14 {
        let reason = format!("attempt {n}: \"quoted\"\n\u{1f525}");
        let delay = Duration::ZERO;
        store.replay(id, SettleOutcome::Deferred { reason, delay }).await?;
    }
    let attempts = store.op(id).await?.state.attempts;
    ensure_eq!(attempts.total(), 14);
    let numbers: Vec<u64> = attempts.iter().map(|attempt| attempt.number).collect();
    ensure_eq!(numbers, [1, 2, 3, 8, 9, 10, 11, 12, 13, 14]);
    for attempt in attempts.iter() {
        ensure_eq!(attempt.note, format!("attempt {}: \"quoted\"\n\u{1f525}", attempt.number));
        ensure_eq!(attempt.claim_token.0, attempt.number);
    }
    Ok(())
}

async fn settles_of_a_batch_are_answered_by_themselves_in_order(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_all(captures.ops(4)).await?;
    let claimed = store.claim_due(4).await?;
    ensure_eq!(claimed.len(), 4);
    let mut stale = store.settle_command(&claimed[1], succeeded());
    stale.token = stale.token.next();
    let mut unknown = store.settle_command(&claimed[2], succeeded());
    unknown.id = captures.an_op().build().op.id;
    let answers = store
        .claims
        .settle_batch(vec![
            store.settle_command(&claimed[3], failed()),
            stale,
            unknown,
            store.settle_command(&claimed[0], succeeded()),
            store.settle_command(&claimed[0], succeeded()),
        ])
        .await;
    ensure_eq!(answers.len(), 5);
    ensure_matches!(&answers[0], Ok(settled) if settled.status == Status::Pending);
    ensure_matches!(&answers[1], Err(ClaimError::Stale { .. }));
    ensure_matches!(&answers[2], Err(ClaimError::NotFound(_)));
    ensure_matches!(&answers[3], Ok(settled) if settled.status == Status::Resolved && !settled.repeated);
    ensure_matches!(&answers[4], Ok(settled) if settled.status == Status::Resolved && settled.repeated);
    for (op, status) in claimed.iter().zip([
        Status::Resolved,
        Status::Replaying,
        Status::Replaying,
        Status::Pending,
    ]) {
        ensure_eq!(store.status(op.id).await?, status);
    }
    store.ensure_sound().await
}

/// Reference 30.
async fn an_unknown_entry_is_not_found(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let op = captures.an_op().build().op;
    ensure_matches!(store.try_settle(&op, succeeded()).await?, Err(ClaimError::NotFound(id)) if *id == op.id);
    ensure_eq!(store.find(op.id).await?, None);
    Ok(())
}

async fn a_note_with_a_nul_character_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    let note = "a\0b".to_owned();
    let answer = store.try_settle(&claimed, SettleOutcome::Succeeded { note }).await?;
    ensure_matches!(answer, Err(ClaimError::Invalid(_)));
    ensure_eq!(store.op(id).await?, claimed);
    Ok(())
}

async fn a_claim_that_ran_out_can_settle_until_it_lapses(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    store.clock.advance(LEASE * 10);
    // Nobody else can have it, so refusing would only make the work be done twice.
    ensure_eq!(store.settle(&claimed, succeeded()).await?.status, Status::Resolved);
    ensure!(store.lapse(10).await?.lapsed.is_empty(), "a settled claim lapsed");
    Ok(())
}

/// Reference 13.
async fn a_settle_keeps_everything_else(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let capture = super::capture::full(&captures);
    let id = store.keep_new(capture.clone()).await?;
    store.replay(id, succeeded()).await?;
    let mut op = store.op(id).await?;
    ensure_eq!((op.state.max_retries, op.state.occurrences), (7, 1));
    op.state = capture.op.state.clone();
    ensure_eq!(op, capture.op);
    let holder = parsed::<baldur_core::name::WorkerName>("worker");
    let kept = store.op(id).await?.state.attempts;
    ensure_eq!(kept.newest().map(|attempt| attempt.holder.clone()), Some(holder));
    Ok(())
}
