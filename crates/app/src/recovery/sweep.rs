//! The sweep of one dependency: waits, replays what waits for it, and looks after what is left.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use baldur_core::{
    ResolutionType, Timestamp,
    name::{Domain, ServiceName},
};
use tokio::{sync::Notify, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Phase, StopCause, WaitCause, governor::SweepGovernor, parts::Parts, shared_pace::SharedPace,
    success::SuccessWatch, walk::Found, walk::Walk,
};
use crate::replay::{ReplayReport, ReplayRequest, ReplaySelect, StopReason};

/// A sweep under way. Cancelling its token ends it: nothing new is claimed, and what is at work has its grace.
pub(super) struct Sweep {
    pub(super) parts: Arc<Parts>,
    pub(super) dependency: ServiceName,
    /// How long to wait before it begins.
    pub(super) start_in: Duration,
    pub(super) cancel: CancellationToken,
    /// A new signal came while it waited for leftovers, or a person's before it began.
    pub(super) nudge: Arc<Notify>,
}

/// How one pass over the entries ended.
enum Pass {
    Drained,
    Stopped(StopCause),
    StoreFailed,
}

/// Which entries a pass takes up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Those that are due, and those whose wait can be cut short.
    Forward,
    /// Those that are due.
    Due,
}

impl Sweep {
    /// Sweeps until nothing waits any more, or it has to stop; `None` is the former.
    pub(super) async fn go(self) -> Option<StopCause> {
        let begins = tokio::select! {
            biased;
            () = self.nudge.notified() => !self.cancel.is_cancelled(),
            begins = self.wait(WaitCause::Start, self.start_in) => begins,
        };
        if !begins {
            return Some(self.cancelled());
        }
        let mut reach = Reach::Forward;
        let mut rounds = 0;
        loop {
            let domains = self.parts.armed_domains(&self.dependency);
            if domains.is_empty() {
                return Some(StopCause::Disarmed);
            }
            let cause = match self.pass(reach, &domains).await {
                Pass::Stopped(cause) => return Some(cause),
                Pass::Drained => {
                    let left = self.parts.waiting(&self.dependency, Some(&domains)).await;
                    self.note_pending(left);
                    if left == Some(0) {
                        return None;
                    }
                    reach = Reach::Due;
                    WaitCause::Leftovers
                }
                Pass::StoreFailed => WaitCause::Store,
            };
            let delay = self.parts.policy.again.delay(rounds, self.parts.unit());
            rounds = rounds.saturating_add(1);
            tokio::select! {
                () = self.nudge.notified(), if cause == WaitCause::Leftovers => {
                    reach = Reach::Forward;
                    rounds = 0;
                    let jitter = self.parts.policy.jitter.mul_f64(self.parts.unit());
                    if !self.wait(WaitCause::Start, jitter).await {
                        return Some(self.cancelled());
                    }
                }
                goes_on = self.wait(cause, delay) => if !goes_on {
                    return Some(self.cancelled());
                }
            }
        }
    }

    /// Waits; `false` when the sweep is over.
    async fn wait(&self, reason: WaitCause, delay: Duration) -> bool {
        let until = self.parts.env.clock.now().saturating_add(delay);
        self.parts.board.phase(&self.dependency, Phase::Waiting { reason, until });
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => false,
            () = tokio::time::sleep(delay) => true,
        }
    }

    async fn pass(&self, reach: Reach, domains: &BTreeSet<Domain>) -> Pass {
        let turn = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Pass::Stopped(self.cancelled()),
            turn = self.parts.turns.acquire() => turn,
        };
        // The semaphore is never closed.
        let Ok(_turn) = turn else { return Pass::Stopped(StopCause::Closed) };
        self.parts.board.phase(&self.dependency, Phase::Sweeping);
        let waiting = self.parts.waiting(&self.dependency, None).await;
        self.note_pending(waiting);
        tracing::info!(
            dependency = %self.dependency,
            waiting,
            brings_forward = reach == Reach::Forward,
            "recovery.sweep_started"
        );
        let began = Instant::now();
        let governor = Arc::new(self.governor());
        let mut sum = ReplayReport::default();
        let pass = match reach {
            Reach::Forward => self.walk(domains, &governor, &mut sum).await,
            Reach::Due => {
                let domains = domains.iter().cloned().collect();
                let dependency = Some(self.dependency.clone());
                let select = ReplaySelect::Due { domains, dependency };
                self.replay(select, None, &governor, &mut sum).await
            }
        };
        // Too few for the watch, but not one of them worked. What a good sweep left may well fail by itself.
        let none_worked = reach == Reach::Forward && governor.only_failures();
        let pass = if none_worked && matches!(pass, Pass::Drained) {
            Pass::Stopped(StopCause::Failing)
        } else {
            pass
        };
        tracing::info!(
            dependency = %self.dependency,
            claimed = sum.claimed,
            succeeded = sum.succeeded + sum.already_done,
            failed = sum.failed + sum.permanent,
            deferred = sum.deferred,
            refused = sum.refused,
            elapsed = ?began.elapsed(),
            ended = pass.as_str(),
            "recovery.sweep_ended"
        );
        metrics::counter!(
            crate::metrics::RECOVERY_SWEEPS.name,
            "dependency" => self.dependency.to_string(), "ended" => pass.as_str()
        )
        .increment(1);
        pass
    }

    async fn walk(
        &self,
        domains: &BTreeSet<Domain>,
        governor: &Arc<SweepGovernor>,
        sum: &mut ReplayReport,
    ) -> Pass {
        let mut walk = Walk::new(Arc::clone(&self.parts), &self.dependency, domains.clone());
        loop {
            let found = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Pass::Stopped(self.cancelled()),
                found = walk.next() => found,
            };
            let Found { ids, seen_at } = match found {
                Ok(found) if found.ids.is_empty() => return Pass::Drained,
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(dependency = %self.dependency, error = %error, "recovery.walk_failed");
                    return Pass::StoreFailed;
                }
            };
            // Other processes walk the same way: what they tried meanwhile has its new wait.
            match self.replay(ReplaySelect::Ids(ids), seen_at, governor, sum).await {
                Pass::Drained => {}
                ended @ (Pass::Stopped(_) | Pass::StoreFailed) => return ended,
            }
        }
    }

    async fn replay(
        &self,
        select: ReplaySelect,
        unchanged_since: Option<Timestamp>,
        governor: &Arc<SweepGovernor>,
        sum: &mut ReplayReport,
    ) -> Pass {
        let governor: Arc<dyn crate::replay::Governor> = Arc::<SweepGovernor>::clone(governor);
        let request = ReplayRequest {
            select,
            unchanged_since,
            concurrency: Some(self.parts.policy.concurrency),
            governor: Some(governor),
            trigger: ResolutionType::AutoReplayCircuitClose,
            ..ReplayRequest::due()
        };
        let report = match self.parts.engine.run(request, None, self.cancel.clone()).await {
            Ok(report) => report,
            Err(error) => {
                // Handlers and numbers were checked before.
                tracing::error!(dependency = %self.dependency, error = %error, "recovery.run_refused");
                return Pass::Stopped(StopCause::Broken);
            }
        };
        let (pass, failed) = match &report.stop {
            StopReason::Drained | StopReason::LimitReached => (Pass::Drained, None),
            StopReason::Halted | StopReason::TargetUnavailable(_) => {
                (Pass::Stopped(StopCause::Failing), None)
            }
            StopReason::Cancelled => (Pass::Stopped(self.cancelled()), None),
            StopReason::StoreUnavailable(error) => (Pass::StoreFailed, Some(error)),
        };
        if let Some(error) = failed {
            tracing::warn!(dependency = %self.dependency, error = %error, "recovery.store_failed");
        }
        add(sum, &report);
        pass
    }

    fn governor(&self) -> SweepGovernor {
        let Parts { pace, env, policy, board, close_by, .. } = &*self.parts;
        let pace = SharedPace {
            name: self.dependency.clone(),
            store: pace.clone(),
            terms: policy.terms(Some(&self.dependency)),
            timeout: policy.pace_timeout,
            clock: Arc::clone(&env.clock),
            local: Mutex::default(),
        };
        SweepGovernor {
            dependency: self.dependency.clone(),
            pace,
            watch: Mutex::new(SuccessWatch::new(policy.min_sample, policy.stop_below)),
            board: Arc::clone(board),
            close_by: Arc::clone(close_by),
        }
    }

    fn note_pending(&self, pending: Option<u64>) {
        if let Some(pending) = pending {
            self.parts.board.pending(&self.dependency, pending);
        }
    }

    /// Why its token was cancelled.
    fn cancelled(&self) -> StopCause {
        if self.parts.close_by.get().is_some() { StopCause::Closed } else { StopCause::WentDown }
    }
}

impl Pass {
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Stopped(cause) => cause.as_str(),
            Self::StoreFailed => "store_failed",
        }
    }
}

fn add(sum: &mut ReplayReport, report: &ReplayReport) {
    sum.claimed += report.claimed;
    sum.succeeded += report.succeeded;
    sum.already_done += report.already_done;
    sum.failed += report.failed;
    sum.permanent += report.permanent;
    sum.deferred += report.deferred;
    sum.released += report.released;
    sum.stale += report.stale;
    sum.refused += report.refused;
}
