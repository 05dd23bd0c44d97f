//! How replays of a run end: settled, lost with their claims, or interrupted.

use std::time::Duration;

use baldur_core::{
    Retry,
    command::{ClaimRef, Settle, SettleOutcome},
    error::Outcome,
    name::Domain,
    port::{ClaimError, Settled},
};
use tokio::time::Instant;

use super::Run;
use crate::replay::{
    ItemOutcome, ItemResult, StopReason,
    attempt::Attempted,
    calls::no_answer,
    settle::{Landed, says_down, settlement},
    work::Flight,
};

impl Run {
    // ---- ends

    pub(super) fn ended(&mut self, (flight, attempted): (Flight, Attempted)) {
        let Flight { claim, op, .. } = flight;
        let Attempted { outcome, took } = attempted;
        self.watch_target(&op.domain, says_down(&outcome));
        let goes_on = self.governor.as_ref().is_none_or(|governor| governor.heard(&outcome));
        if !goes_on {
            self.closing.get_or_insert(StopReason::Halted);
        }
        let outcome = settlement(&op, outcome, &self.parts.policy, self.unit());
        self.land(claim, op.domain.clone(), outcome, took);
    }

    fn watch_target(&mut self, domain: &Domain, is_down: bool) {
        if !is_down {
            self.streaks.remove(domain);
            return;
        }
        let streak = self.streaks.entry(domain.clone()).or_default();
        *streak += 1;
        let most = self.parts.policy.stop_after_consecutive_failures;
        if most.is_none_or(|most| *streak < most.get()) || self.down.contains(domain) {
            return;
        }
        tracing::warn!(domain = %domain, failures = *streak, "replay.target_down");
        self.down.push(domain.clone());
        if !self.selection.leave(domain) {
            self.closing.get_or_insert(StopReason::TargetUnavailable(self.down.clone()));
        }
    }

    pub(super) fn land(
        &mut self,
        claim: ClaimRef,
        domain: Domain,
        outcome: SettleOutcome,
        took: Duration,
    ) {
        let ClaimRef { id, token } = claim;
        let (trigger, evidence) = (self.trigger, self.evidence());
        let settle = Settle { id, token, outcome, trigger, evidence };
        self.landed.push(Landed { claim, domain, settle, took, told: false });
    }

    pub(super) fn start_settle(&mut self, now: Instant) {
        let waits = now < self.settle_trouble.not_before();
        if self.store.settling || self.landed.is_empty() || waits {
            return;
        }
        self.store.settle(std::mem::take(&mut self.landed));
    }

    pub(super) fn settled(&mut self, answers: Vec<(Landed, Result<Settled, ClaimError>)>) {
        let now = Instant::now();
        let mut again = false;
        for (mut landed, answer) in answers {
            match answer {
                Ok(settled) => {
                    let item = ItemResult { status: Some(settled.status), ..landed.item() };
                    self.done(&landed.claim, item);
                }
                Err(error) if self.may_settle_again(&landed, &error, now) => {
                    again = true;
                    landed.told = true;
                    self.landed.push(landed);
                }
                Err(error) => {
                    tracing::warn!(entry = %landed.claim.id, error = %error, "replay.settle_refused");
                    self.done(&landed.claim, landed.stale_item(&error.to_string()));
                    if matches!(error, ClaimError::Backend(_)) {
                        self.give_up_on_settles(error);
                    }
                }
            }
        }
        if again {
            self.settle_trouble.failed(now, self.unit());
        } else {
            self.settle_trouble.over();
        }
    }

    /// More replays whose ends can't be recorded would only be repeated later.
    fn give_up_on_settles(&mut self, error: ClaimError) {
        self.closing.get_or_insert(StopReason::StoreUnavailable(error));
    }

    /// A settle is idempotent by its token, so it is repeated whether or not it was applied.
    fn may_settle_again(&self, landed: &Landed, error: &ClaimError, now: Instant) -> bool {
        let ClaimError::Backend(error) = error else { return false };
        let hopeless = error.retry() == Retry::Never && error.outcome() == Outcome::NotApplied;
        !hopeless && !self.leases.is_over(&landed.claim, now)
    }

    fn done(&mut self, claim: &ClaimRef, item: ItemResult) {
        self.leases.end(claim);
        self.listener.item(item);
        self.selection.something_ended();
    }

    // ---- leases

    pub(super) fn start_heartbeat(&mut self, now: Instant) {
        if self.leases.is_empty() || self.store.extending || now < self.leases.heartbeat_at {
            return;
        }
        self.store.extend(self.leases.claims());
    }

    pub(super) fn extended(
        &mut self,
        answers: &[(ClaimRef, Result<(), ClaimError>)],
        asked: Instant,
    ) {
        let mut failed = false;
        let mut lost = Vec::new();
        for (claim, answer) in answers {
            match answer {
                Ok(()) => self.leases.extended(claim, asked),
                Err(ClaimError::Backend(error)) => {
                    tracing::warn!(entry = %claim.id, error = %error, "replay.heartbeat_failed");
                    failed = true;
                }
                // One that ended meanwhile is not lost; its settle tells.
                Err(_) => lost.push(*claim),
            }
        }
        self.leases.beat(asked, failed);
        let dropped = self.work.drop_those(|claim| lost.contains(claim));
        self.lost(dropped, "the claim was lost, so the handler was stopped");
    }

    pub(super) fn drop_expired(&mut self, now: Instant) {
        let leases = &self.leases;
        let dropped = self.work.drop_those(|claim| leases.is_over(claim, now));
        self.lost(
            dropped,
            "the claim ran out without a word from the store, so the handler was stopped",
        );
        let leases = &self.leases;
        let gone: Vec<Landed> = self
            .landed
            .extract_if(.., |landed| landed.told && leases.is_over(&landed.claim, now))
            .collect();
        for landed in gone {
            let why = "the store could not be told before the claim ran out";
            self.done(&landed.claim, landed.stale_item(why));
            self.give_up_on_settles(no_answer("settle"));
        }
        if self.grace_until.is_some_and(|until| until <= now) {
            self.interrupt();
        }
    }

    fn lost(&mut self, dropped: Vec<Flight>, why: &str) {
        for Flight { claim, op, started, .. } in dropped {
            tracing::warn!(entry = %claim.id, why, "replay.claim_lost");
            let item = ItemResult {
                id: claim.id,
                domain: Some(op.domain.clone()),
                outcome: ItemOutcome::Stale,
                status: None,
                took: started.elapsed(),
                note: why.to_owned(),
            };
            self.done(&claim, item);
        }
    }

    // ---- the end

    pub(super) fn cancel(&mut self) {
        self.closing = Some(StopReason::Cancelled);
        let usual = self.parts.policy.cancel_grace;
        let grace = self.governor.as_ref().map_or(usual, |governor| governor.grace(usual));
        self.grace_until = Some(Instant::now() + grace);
    }

    /// Drops the handlers that are still at work when the grace ends. They may have acted, so they count as failed.
    fn interrupt(&mut self) {
        for Flight { claim, op, started, .. } in self.work.drop_those(|_| true) {
            let error = "interrupted: the run was cancelled and its grace was over".to_owned();
            let retry_in = self.parts.policy.backoff.delay(op.state.retry_count, self.unit());
            let outcome = SettleOutcome::Failed { error, retry_in };
            self.land(claim, op.domain.clone(), outcome, started.elapsed());
        }
    }
}
