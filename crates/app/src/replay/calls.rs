//! Calls of the store as a run makes them: each bounded in time, each answering item by item.

use std::{future, iter, sync::Arc, time::Duration};

use baldur_core::{
    BackendError, BackendKind,
    command::{ClaimBatch, ClaimRef, ClaimSelect, ClaimTerms, Extend},
    policy::{BackoffPolicy, Jitter, Paced},
    port::{ClaimBatchOutcome, ClaimError, Settled},
};
use futures_util::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, timeout};

use super::{Governor, engine::Parts, settle::Landed};

/// What the store said. `asked` is the instant before the question.
pub(super) enum Answer {
    Claimed { asked: Instant, select: ClaimSelect, result: Result<ClaimBatchOutcome, ClaimError> },
    Settled(Vec<(Landed, Result<Settled, ClaimError>)>),
    Extended { asked: Instant, answers: Vec<(ClaimRef, Result<(), ClaimError>)> },
    Permitted(Paced),
}

/// The calls under way: at most one of each kind.
#[expect(clippy::struct_excessive_bools, reason = "one for each kind of call")]
pub(super) struct StoreCalls {
    parts: Arc<Parts>,
    pending: FuturesUnordered<BoxFuture<'static, Answer>>,
    pub(super) claiming: bool,
    pub(super) settling: bool,
    pub(super) extending: bool,
    /// The governor is asked for permits.
    pub(super) permitting: bool,
}

impl StoreCalls {
    pub(super) fn new(parts: Arc<Parts>) -> Self {
        let pending = FuturesUnordered::new();
        Self {
            parts,
            pending,
            claiming: false,
            settling: false,
            extending: false,
            permitting: false,
        }
    }

    /// The next answer; never, when no call is under way. Cancel-safe.
    pub(super) async fn next(&mut self) -> Answer {
        let Some(answer) = self.pending.next().await else { return future::pending().await };
        match answer {
            Answer::Claimed { .. } => self.claiming = false,
            Answer::Settled(_) => self.settling = false,
            Answer::Extended { .. } => self.extending = false,
            Answer::Permitted(_) => self.permitting = false,
        }
        answer
    }

    /// Claims. When no answer comes in time, entries may be claimed that nobody knows of; they lapse.
    pub(super) fn claim(&mut self, select: ClaimSelect, terms: ClaimTerms) {
        let parts = Arc::clone(&self.parts);
        self.claiming = true;
        let call = async move {
            let asked = Instant::now();
            let claim = ClaimBatch { select: select.clone(), terms };
            let answer = timeout(parts.policy.store_timeout, parts.claims.claim_batch(claim)).await;
            let result = answer.unwrap_or_else(|_| Err(no_answer("claim")));
            Answer::Claimed { asked, select, result }
        };
        self.pending.push(call.boxed());
    }

    /// Asks for permits. A governor that doesn't answer in time grants none.
    pub(super) fn permits(&mut self, governor: Arc<dyn Governor>, most: u32) {
        let limit = self.parts.policy.store_timeout;
        self.permitting = true;
        let call = async move {
            let none = Paced { granted: 0, retry_in: Duration::from_secs(1) };
            let answer = timeout(limit, governor.permits(most)).await;
            Answer::Permitted(answer.unwrap_or(none))
        };
        self.pending.push(call.boxed());
    }

    pub(super) fn settle(&mut self, landed: Vec<Landed>) {
        let parts = Arc::clone(&self.parts);
        self.settling = true;
        let call = async move {
            let settles = landed.iter().map(|landed| landed.settle.clone()).collect();
            let telling = parts.claims.settle_batch(settles);
            let answers = timeout(parts.policy.store_timeout, telling).await.unwrap_or_default();
            Answer::Settled(paired(landed, answers, "settle"))
        };
        self.pending.push(call.boxed());
    }

    pub(super) fn extend(&mut self, claims: Vec<ClaimRef>) {
        let parts = Arc::clone(&self.parts);
        self.extending = true;
        let call = async move {
            let asked = Instant::now();
            let lease = parts.policy.lease;
            let asking = parts.claims.extend(Extend { claims: claims.clone(), lease });
            // A heartbeat that takes longer would leave no time for another one.
            let limit = parts.policy.store_timeout.min(lease / 3);
            let answers = timeout(limit, asking).await.unwrap_or_default();
            Answer::Extended { asked, answers: paired(claims, answers, "extend") }
        };
        self.pending.push(call.boxed());
    }
}

/// Gives each item its answer. Items without one, all of them after a timeout, have an unknown outcome.
fn paired<I, T>(
    items: Vec<I>,
    answers: Vec<Result<T, ClaimError>>,
    operation: &'static str,
) -> Vec<(I, Result<T, ClaimError>)> {
    let missing = iter::repeat_with(|| Err(no_answer(operation)));
    items.into_iter().zip(answers.into_iter().chain(missing)).collect()
}

pub(super) fn no_answer(operation: &'static str) -> ClaimError {
    BackendError::new("store", operation, BackendKind::Timeout).retryable().into()
}

/// How a kind of call has been failing.
#[derive(Debug)]
pub(super) struct Trouble {
    failures: u32,
    since: Instant,
    not_before: Instant,
}

impl Trouble {
    pub(super) fn none(now: Instant) -> Self {
        Self { failures: 0, since: now, not_before: now }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// When the call may be made again.
    pub(super) fn not_before(&self) -> Instant {
        self.not_before
    }

    /// How long it has been failing.
    pub(super) fn lasts(&self, now: Instant) -> Duration {
        if self.is_failing() { now.saturating_duration_since(self.since) } else { Duration::ZERO }
    }

    /// Says how long to wait before the next call.
    pub(super) fn failed(&mut self, now: Instant, unit: f64) -> Duration {
        // Short against any lease, so that several tries fit into one.
        let (base, cap) = (Duration::from_millis(50), Duration::from_secs(2));
        let backoff = BackoffPolicy::new(base, 2.0, cap, Jitter::Equal).unwrap_or_default();
        if self.failures == 0 {
            self.since = now;
        }
        let delay = backoff.delay(self.failures, unit);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + delay;
        delay
    }

    pub(super) fn over(&mut self) {
        self.failures = 0;
    }
}
