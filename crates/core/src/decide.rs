//! Decisions about an entry's next state: pure, so that every adapter decides alike.
//!
//! An adapter reads the state inside its atomic step, asks a function of this module what becomes of it, and
//! stores the answer with its evidence in the same step. `now` is always the store's own time.

use std::time::Duration;

pub use self::{
    merge::{merge, replaced_payload},
    room::{LimitReached, MAX_EVICTIONS, Room, evict, room},
    shared_breaker::{BreakerRecord, OrderRecord, save_breaker},
};
use crate::{
    command::{Act, Action, Capture, ClaimTerms, Settle, SettleOutcome},
    evidence::{Evidence, EvidenceEvent, EvidenceRecord},
    failed_op::{
        Attempt, AttemptOutcome, Cause, FailedOp, Hold, OpState, RecommendedAction, ResolutionType,
        Status, next_status,
    },
    id::{ClaimToken, EntryId},
    time::Timestamp,
};

/// A new state and the evidence of the change: to be stored together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state that replaces the one that was read.
    pub state: OpState,
    /// The evidence.
    pub record: EvidenceRecord,
}

/// Why a claim is refused, as far as the entry alone can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimRefusal {
    /// The status doesn't allow it.
    Status(Status),
    /// The entry can't be replayed at all.
    NotReplayable,
    /// It changed after the time that the terms name.
    Changed,
}

/// What becomes of a settle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Store this.
    Settled(Change),
    /// The same settle was applied before: its caller missed the answer. Nothing to store.
    Repeated,
    /// The token is stale. Store `state` (only its evidence count and time differ) and the record of the refusal.
    Stale(Change),
}

/// An act that the state table does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAllowed {
    /// The status that the entry has.
    pub status: Status,
    /// What was asked for.
    pub cause: Cause,
}

fn moved(
    entry: EntryId,
    from: Status,
    cause: Cause,
    mut state: OpState,
    evidence: Evidence,
    now: Timestamp,
) -> Change {
    state.evidence_count += 1;
    state.updated_at = now;
    let record = EvidenceRecord::moved(entry, from, cause, &state, evidence);
    Change { state, record }
}

/// Makes an entry of a capture that passed [`Capture::check`] and is neither repeated nor merged.
pub fn keep(capture: Capture, now: Timestamp) -> (FailedOp, EvidenceRecord) {
    let Capture { mut op, expires_in, next_attempt_in, evidence, limits: _, on_merge: _ } = capture;
    op.state.next_attempt_at = now.saturating_add(next_attempt_in);
    op.state.expires_at = expires_in.map(|wait| now.saturating_add(wait));
    op.state.updated_at = now;
    op.state.evidence_count = 1;
    let record = EvidenceRecord::captured(&op, evidence);
    (op, record)
}

/// Claims an entry. Whether it is due, and first of its order key, the store has checked.
///
/// # Errors
///
/// When the entry is not claimable on these terms.
pub fn claim(
    entry: EntryId,
    state: &OpState,
    terms: &ClaimTerms,
    now: Timestamp,
) -> Result<Change, ClaimRefusal> {
    let redrive = terms.force && state.status == Status::RequiresReview;
    let cause = if redrive { Cause::ForceRedrive } else { Cause::Claim };
    let to = next_status(state.status, cause).ok_or(ClaimRefusal::Status(state.status))?;
    if state.not_replayable.is_some() {
        return Err(ClaimRefusal::NotReplayable);
    }
    if terms.unchanged_since.is_some_and(|since| state.updated_at > since) {
        return Err(ClaimRefusal::Changed);
    }
    let mut after = state.clone();
    if redrive {
        after.force_redrive_count += 1;
        after.previous_total_retries += u64::from(state.retry_count);
        after.retry_count = 0;
    }
    after.status = to;
    after.claim_token = state.claim_token.next();
    after.last_retry_at = Some(now);
    after.recommended_action = None;
    after.hold = Some(Hold {
        holder: terms.holder.clone(),
        claimed_at: now,
        expires_at: now.saturating_add(terms.lease),
    });
    Ok(moved(entry, state.status, cause, after, terms.evidence.clone(), now))
}

/// Makes a running claim last `lease` from now. `None` when `token` doesn't hold it any more.
pub fn extend(
    state: &OpState,
    token: ClaimToken,
    lease: Duration,
    now: Timestamp,
) -> Option<OpState> {
    if state.status != Status::Replaying || state.claim_token != token {
        return None;
    }
    let mut after = state.clone();
    let hold = after.hold.as_mut()?;
    // A claim that ran out may still be extended while nobody lapsed it: nobody else can have it.
    hold.expires_at = hold.expires_at.max(now.saturating_add(lease));
    after.updated_at = now;
    Some(after)
}

/// Settles a claim.
pub fn settle(state: &OpState, settle: &Settle, now: Timestamp) -> Settlement {
    if state.status != Status::Replaying || state.claim_token != settle.token {
        return stale_or_repeated(state, settle, now);
    }
    let mut after = state.clone();
    let cause = cause_of(&settle.outcome, state);
    let note = note_of(&settle.outcome).to_owned();
    close_attempt(&mut after, attempt_outcome(&settle.outcome), &note, now);
    match &settle.outcome {
        SettleOutcome::Succeeded { .. } => {
            resolve(&mut after, settle.trigger, &settle.evidence, &note, now);
        }
        SettleOutcome::AlreadyDone { .. } => {
            resolve(&mut after, ResolutionType::DuplicateSkip, &settle.evidence, &note, now);
        }
        SettleOutcome::Failed { retry_in, .. } => {
            after.retry_count += 1;
            after.next_attempt_at = now.saturating_add(*retry_in);
        }
        SettleOutcome::Permanent { .. } => after.retry_count += 1,
        SettleOutcome::Deferred { delay, .. } => {
            after.next_attempt_at = now.saturating_add(*delay);
        }
        SettleOutcome::Released => after.next_attempt_at = now,
    }
    enter(&mut after, cause, state.status);
    Settlement::Settled(moved(settle.id, state.status, cause, after, settle.evidence.clone(), now))
}

fn stale_or_repeated(state: &OpState, settle: &Settle, now: Timestamp) -> Settlement {
    let same = state.status != Status::Replaying
        && state.attempts.newest().is_some_and(|newest| {
            newest.claim_token == settle.token && newest.outcome == attempt_outcome(&settle.outcome)
        });
    if same {
        return Settlement::Repeated;
    }
    let mut after = state.clone();
    after.evidence_count += 1;
    after.updated_at = now;
    let record = EvidenceRecord {
        entry: settle.id,
        counter: after.evidence_count,
        event: EvidenceEvent::SettleRefused,
        from: Some(state.status),
        to: Some(state.status),
        claim_token: settle.token,
        evidence: settle.evidence.clone(),
        digest: None,
    };
    Settlement::Stale(Change { state: after, record })
}

/// Ends a claim that ran out. `None` when the entry's claim has not run out at `now`.
pub fn lapse(
    entry: EntryId,
    state: &OpState,
    retry_in: Duration,
    evidence: Evidence,
    now: Timestamp,
) -> Option<Change> {
    let ran_out = state.hold.as_ref().is_some_and(|hold| hold.expires_at <= now);
    if state.status != Status::Replaying || !ran_out {
        return None;
    }
    let mut after = state.clone();
    close_attempt(&mut after, AttemptOutcome::Lapsed, "the claim ran out", now);
    after.retry_count += 1;
    after.claim_token = state.claim_token.next();
    after.next_attempt_at = now.saturating_add(retry_in);
    let cause = if after.can_retry() { Cause::Lapsed } else { Cause::LapsedAtCap };
    enter(&mut after, cause, state.status);
    Some(moved(entry, state.status, cause, after, evidence, now))
}

/// Applies an act of a person or a policy.
///
/// # Errors
///
/// When the state table doesn't allow it. Only what a person resolved, refused, or what expired can be reopened.
pub fn apply(state: &OpState, act: &Act, now: Timestamp) -> Result<Change, NotAllowed> {
    let cause = act.action.cause();
    let not_allowed = NotAllowed { status: state.status, cause };
    let closed_by_replay = cause == Cause::Reopen
        && state.status == Status::Resolved
        && state.resolution_type != Some(ResolutionType::Manual);
    let unreplayable_to_pending =
        state.not_replayable.is_some() && next_status(state.status, cause) == Some(Status::Pending);
    if closed_by_replay || unreplayable_to_pending {
        return Err(not_allowed);
    }
    next_status(state.status, cause).ok_or(not_allowed)?;
    let mut after = state.clone();
    match &act.action {
        Action::Resolve { note } | Action::Reject { note } => {
            resolve(&mut after, ResolutionType::Manual, &act.evidence, note, now);
        }
        Action::Expire => {
            after.resolution_type = Some(ResolutionType::TtlExpired);
        }
        Action::Escalate => after.recommended_action = Some(RecommendedAction::Escalate),
        Action::Review => {}
        Action::Back => after.next_attempt_at = now,
        Action::Reopen => {
            after.resolved_at = None;
            after.resolved_by_id = None;
            after.resolution_type = None;
            after.resolution_note.clear();
            after.previous_total_retries += u64::from(after.retry_count);
            after.retry_count = 0;
            after.next_attempt_at = now;
            // The old deadline is part of the life that ended; it would expire the entry at once.
            after.expires_at = None;
        }
    }
    enter(&mut after, cause, state.status);
    Ok(moved(act.id, state.status, cause, after, act.evidence.clone(), now))
}

fn enter(after: &mut OpState, cause: Cause, from: Status) {
    if let Some(to) = next_status(from, cause) {
        after.status = to;
    }
    if after.status != Status::Replaying {
        after.hold = None;
    }
    if after.status == Status::RequiresReview {
        after.recommended_action.get_or_insert(RecommendedAction::ManualCheck);
    }
}

fn resolve(
    after: &mut OpState,
    how: ResolutionType,
    evidence: &Evidence,
    note: &str,
    now: Timestamp,
) {
    after.resolved_at = Some(now);
    after.resolved_by_id = Some(evidence.actor.clone());
    after.resolution_type = Some(how);
    note.clone_into(&mut after.resolution_note);
    after.recommended_action = None;
}

fn close_attempt(after: &mut OpState, outcome: AttemptOutcome, note: &str, now: Timestamp) {
    let Some(hold) = after.hold.take() else { return };
    after.attempts.push(Attempt {
        number: 0,
        claim_token: after.claim_token,
        holder: hold.holder,
        started_at: hold.claimed_at,
        finished_at: now,
        outcome,
        note: note.to_owned(),
    });
}

fn cause_of(outcome: &SettleOutcome, state: &OpState) -> Cause {
    match outcome {
        SettleOutcome::Succeeded { .. } => Cause::Succeeded,
        SettleOutcome::AlreadyDone { .. } => Cause::AlreadyDone,
        SettleOutcome::Failed { .. } if state.retry_count + 1 < state.max_retries => Cause::Failed,
        SettleOutcome::Failed { .. } => Cause::FailedAtCap,
        SettleOutcome::Permanent { .. } => Cause::Permanent,
        SettleOutcome::Deferred { .. } => Cause::Deferred,
        SettleOutcome::Released => Cause::Released,
    }
}

fn attempt_outcome(outcome: &SettleOutcome) -> AttemptOutcome {
    match outcome {
        SettleOutcome::Succeeded { .. } => AttemptOutcome::Succeeded,
        SettleOutcome::AlreadyDone { .. } => AttemptOutcome::AlreadyDone,
        SettleOutcome::Failed { .. } => AttemptOutcome::Failed,
        SettleOutcome::Permanent { .. } => AttemptOutcome::Permanent,
        SettleOutcome::Deferred { .. } => AttemptOutcome::Deferred,
        SettleOutcome::Released => AttemptOutcome::Released,
    }
}

fn note_of(outcome: &SettleOutcome) -> &str {
    match outcome {
        SettleOutcome::Succeeded { note } | SettleOutcome::AlreadyDone { note } => note,
        SettleOutcome::Failed { error, .. } | SettleOutcome::Permanent { error } => error,
        SettleOutcome::Deferred { reason, .. } => reason,
        SettleOutcome::Released => "",
    }
}

mod merge;
mod room;
mod shared_breaker;
#[cfg(test)]
mod tests;
