//! The parts of a guard, in their order: breaker, concurrency limit, retry with its budget, time of one try.

use std::{
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use baldur_core::policy::{BreakerState, CallOutcome};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    BULKHEAD_FULL, CALL_TIMEOUT, CIRCUIT_OPEN, CallFailure, DEADLINE_PASSED, FailedCall,
    FailureKind, Try, UNCLASSIFIED,
    budget::RetryToken,
    guard::Inner,
    keys::Keys,
    meter::{Ended, NoRetry},
    operation::Classify,
};

/// The limits of one logical call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) begun: Instant,
    /// When the tries and their waits must be over.
    pub(super) until: Instant,
    pub(super) tries: u32,
    /// The time of the whole call, for its error.
    pub(super) deadline: Duration,
}

/// How a call, or one try of it, ended badly.
pub(super) struct Failed<E> {
    pub(super) cause: FailedCall<E>,
    pub(super) failure: CallFailure,
    pub(super) ended: Ended,
    /// What the breaker is told, if this is the end of the call.
    counts: CallOutcome,
    /// Whether trying again can help.
    again: bool,
}

impl Inner {
    /// Makes the tries of one logical call. A value comes with the time at which it was there.
    pub(super) async fn tried<T, E, C, F, Fut>(
        &self,
        limits: &Limits,
        keys: &Arc<Keys>,
        classify: &C,
        mut call: F,
    ) -> Result<(T, Instant), Box<Failed<E>>>
    where
        T: Send,
        E: Send,
        C: Classify<E>,
        F: FnMut(Try) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        // Dropped without an end, it counts for nothing.
        let mut right =
            self.breaker.admit_untimed().map_err(|no| Box::new(self.rejected(no.retry_in)))?;
        let slot = match &self.bulkhead {
            None => None,
            Some(bulkhead) => match bulkhead.enter() {
                Some(slot) => Some(slot),
                // Boxed here and below, so that the future of a call that need not wait is small.
                None => match Box::pin(bulkhead.wait(limits.begun, limits.until)).await {
                    Ok(slot) => Some(slot),
                    Err(waited) => return Err(Box::new(self.full(waited))),
                },
            },
        };
        self.budget.pay();
        let waited = slot.as_ref().is_some_and(|slot| slot.waited);
        let mut now = limits.begun;
        if waited {
            now = Instant::now();
        }
        let mut number = 1;
        loop {
            let own = now + self.policy.timeout;
            // One timer, for whichever comes first.
            let answered =
                timeout_at(own.min(limits.until), call(Try::new(Arc::clone(keys), number))).await;
            let begun = mem::replace(&mut now, Instant::now());
            let took = now.saturating_duration_since(begun);
            let failed = Box::new(match answered {
                Ok(Ok(value)) => {
                    right.end(CallOutcome::Success, took);
                    return Ok((value, now));
                }
                Ok(Err(error)) => classified(error, classify),
                Err(_elapsed) if own <= limits.until => self.timed_out(),
                // A first try that had less than its time, because its call had to wait, says nothing about the
                // dependency.
                Err(_elapsed) => self.cut(limits, waited && number == 1),
            });
            let retry = self.retry(&failed, number, limits, now);
            let Some((at, token)) = retry else {
                right.end(failed.counts, took);
                return Err(failed);
            };
            Box::pin(sleep_until(at)).await;
            if self.breaker.state() != BreakerState::Closed {
                // Others found out meanwhile. The token goes back.
                self.meter.no_retry(NoRetry::Breaker);
                right.end(failed.counts, took);
                return Err(failed);
            }
            token.spend();
            self.meter.retry();
            now = Instant::now();
            number += 1;
        }
    }

    /// When to try again, with the right to it.
    fn retry<E>(
        &self,
        failed: &Failed<E>,
        number: u32,
        limits: &Limits,
        now: Instant,
    ) -> Option<(Instant, RetryToken<'_>)> {
        if !failed.again || number >= limits.tries {
            return None;
        }
        let answer = self.due(failed, number, limits, now).and_then(|at| {
            let token = self.budget.take(self.env.clock.mono());
            token.map(|token| (at, token)).ok_or(NoRetry::Budget)
        });
        answer.map_err(|by| self.meter.no_retry(by)).ok()
    }

    fn due<E>(
        &self,
        failed: &Failed<E>,
        number: u32,
        limits: &Limits,
        now: Instant,
    ) -> Result<Instant, NoRetry> {
        // Half-open, each probe is a single try: that is how many requests the breaker has let pass.
        if self.breaker.state() != BreakerState::Closed {
            return Err(NoRetry::Breaker);
        }
        let backoff = &self.policy.backoff;
        let asked = failed.failure.retry_after.unwrap_or_default();
        if asked > backoff.cap() {
            return Err(NoRetry::RetryAfter);
        }
        let unit = crate::env::unit(self.env.ids.entropy());
        let at = now + backoff.delay(number - 1, unit).max(asked);
        if at < limits.until { Ok(at) } else { Err(NoRetry::Deadline) }
    }

    fn timed_out<E>(&self) -> Failed<E> {
        let limit = self.policy.timeout;
        let message = format!("no answer from {} within {limit:?}", self.name);
        Failed {
            cause: FailedCall::TimedOut { after: limit },
            failure: CallFailure::transient(CALL_TIMEOUT, message),
            ended: Ended::Timeout,
            counts: CallOutcome::Failure,
            again: true,
        }
    }

    fn cut<E>(&self, limits: &Limits, says_nothing: bool) -> Failed<E> {
        let Limits { deadline, .. } = *limits;
        let message = format!("the call to {} was not done within {deadline:?}", self.name);
        Failed {
            cause: FailedCall::DeadlinePassed { after: deadline },
            failure: CallFailure::transient(DEADLINE_PASSED, message),
            ended: Ended::Deadline,
            counts: if says_nothing { CallOutcome::Dropped } else { CallOutcome::Failure },
            again: false,
        }
    }

    fn rejected<E>(&self, retry_in: Duration) -> Failed<E> {
        let message = format!("the circuit to {} is open", self.name);
        Failed {
            cause: FailedCall::BreakerOpen { retry_in },
            failure: CallFailure::transient(CIRCUIT_OPEN, message).retry_after(retry_in),
            ended: Ended::CircuitOpen,
            counts: CallOutcome::Dropped,
            again: false,
        }
    }

    fn full<E>(&self, waited: Duration) -> Failed<E> {
        let message = format!("too many calls to {} are under way", self.name);
        Failed {
            cause: FailedCall::BulkheadFull { waited },
            failure: CallFailure::transient(BULKHEAD_FULL, message),
            ended: Ended::BulkheadFull,
            counts: CallOutcome::Dropped,
            again: false,
        }
    }
}

/// What the error of a try means. A panic of the host's function must not take the error along.
fn classified<E, C: Classify<E>>(error: E, classify: &C) -> Failed<E> {
    let failure = catch_unwind(AssertUnwindSafe(|| classify.classify(&error)));
    let Ok(failure) = failure else {
        tracing::error!("protect.classify_panicked");
        let message = "what the error of the call means could not be found out";
        return Failed {
            cause: FailedCall::Error(error),
            failure: CallFailure::transient(UNCLASSIFIED, message),
            ended: Ended::Failed,
            counts: CallOutcome::Ignored,
            again: false,
        };
    };
    let (ended, counts) = match failure.kind {
        FailureKind::Transient => (Ended::Failed, CallOutcome::Failure),
        FailureKind::Permanent => (Ended::Permanent, CallOutcome::Ignored),
        FailureKind::Rejected => (Ended::Rejected, CallOutcome::Success),
    };
    let again = failure.kind == FailureKind::Transient;
    Failed { cause: FailedCall::Error(error), failure, ended, counts, again }
}
