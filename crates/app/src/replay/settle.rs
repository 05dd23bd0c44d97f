//! From what a handler said to what the store is told.

use std::time::Duration;

use baldur_core::{
    AttemptOutcome, FailedOp,
    command::{ClaimRef, Settle, SettleOutcome},
    name::Domain,
    policy::at_least,
    port::ReplayOutcome,
};

use super::{ItemOutcome, ItemResult, ReplayPolicy};

/// A claim whose replay ended and which the store has to be told of.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) claim: ClaimRef,
    pub(super) domain: Domain,
    pub(super) settle: Settle,
    pub(super) took: Duration,
    /// Whether the store was told at least once.
    pub(super) told: bool,
}

impl Landed {
    /// The result, where the store took it.
    pub(super) fn item(&self) -> ItemResult {
        let (outcome, note) = match &self.settle.outcome {
            SettleOutcome::Succeeded { note } => (ItemOutcome::Succeeded, note.as_str()),
            SettleOutcome::AlreadyDone { note } => (ItemOutcome::AlreadyDone, note.as_str()),
            SettleOutcome::Failed { error, .. } => (ItemOutcome::Failed, error.as_str()),
            SettleOutcome::Permanent { error } => (ItemOutcome::Permanent, error.as_str()),
            SettleOutcome::Deferred { reason, .. } => (ItemOutcome::Deferred, reason.as_str()),
            SettleOutcome::Released => (ItemOutcome::Released, ""),
        };
        ItemResult {
            id: self.claim.id,
            domain: Some(self.domain.clone()),
            outcome,
            status: None,
            took: self.took,
            note: note.to_owned(),
        }
    }

    /// The result, where the store did not.
    pub(super) fn stale_item(&self, why: &str) -> ItemResult {
        let item = self.item();
        let note = format!("{why}; the replay itself: {}", item.outcome.as_str());
        ItemResult { outcome: ItemOutcome::Stale, note, ..item }
    }
}

/// What the store is told. `unit` is a random number in `[0, 1)`, for the jitter.
pub(super) fn settlement(
    op: &FailedOp,
    outcome: ReplayOutcome,
    policy: &ReplayPolicy,
    unit: f64,
) -> SettleOutcome {
    match outcome {
        ReplayOutcome::Succeeded { note } => SettleOutcome::Succeeded { note },
        ReplayOutcome::AlreadyDone { note } => SettleOutcome::AlreadyDone { note },
        ReplayOutcome::Failed { error, retry_after } => {
            let delay = policy.backoff.delay(op.state.retry_count, unit);
            let retry_in = at_least(delay, retry_after, policy.max_wait);
            SettleOutcome::Failed { error, retry_in }
        }
        ReplayOutcome::Permanent { error } => SettleOutcome::Permanent { error },
        ReplayOutcome::Deferred { reason, delay } => {
            // A deferral charges no budget, so only growing waits keep an entry from being claimed in a loop
            // by a gate that asks for no wait.
            let least = policy.backoff.delay(deferrals_in_a_row(op), unit);
            let delay = at_least(least, Some(delay), policy.max_wait);
            SettleOutcome::Deferred { reason, delay }
        }
    }
}

/// How often the entry was put off since anything else happened to it, as far back as its history goes.
fn deferrals_in_a_row(op: &FailedOp) -> u32 {
    let newest_first: Vec<_> = op.state.attempts.iter().map(|attempt| attempt.outcome).collect();
    let count = newest_first
        .iter()
        .rev()
        .take_while(|outcome| **outcome == AttemptOutcome::Deferred)
        .count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whether the result says that the target is down.
pub(crate) fn says_down(outcome: &ReplayOutcome) -> bool {
    match outcome {
        ReplayOutcome::Failed { .. } | ReplayOutcome::Deferred { .. } => true,
        ReplayOutcome::Succeeded { .. }
        | ReplayOutcome::AlreadyDone { .. }
        | ReplayOutcome::Permanent { .. } => false,
    }
}
