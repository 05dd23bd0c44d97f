//! One replay of one entry: the gate, then the handler, each within its time.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use baldur_core::{
    FailedOp,
    policy::{RedactionRules, bound_text, redact_text},
    port::{Gate, ReplayContext, ReplayHandler, ReplayOutcome},
};
use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout};

/// How texts of handlers are made fit to be stored.
#[derive(Clone, Debug)]
pub(super) struct Texts {
    pub(super) redaction: RedactionRules,
    pub(super) max_bytes: usize,
}

impl Texts {
    /// Without NUL, without secrets, and bounded; in this order, since neither a secret that NUL splits nor one that was
    /// cut is recognised.
    pub(super) fn clean(&self, text: &str) -> String {
        let text = text.replace('\0', " ");
        bound_text(&redact_text(&text, &self.redaction), self.max_bytes).into_owned()
    }

    fn clean_outcome(&self, outcome: ReplayOutcome) -> ReplayOutcome {
        match outcome {
            ReplayOutcome::Succeeded { note } => {
                ReplayOutcome::Succeeded { note: self.clean(&note) }
            }
            ReplayOutcome::AlreadyDone { note } => {
                ReplayOutcome::AlreadyDone { note: self.clean(&note) }
            }
            ReplayOutcome::Failed { error, retry_after } => {
                ReplayOutcome::Failed { error: self.clean(&error), retry_after }
            }
            ReplayOutcome::Permanent { error } => {
                ReplayOutcome::Permanent { error: self.clean(&error) }
            }
            ReplayOutcome::Deferred { reason, delay } => {
                ReplayOutcome::Deferred { reason: self.clean(&reason), delay }
            }
        }
    }
}

/// A replay that ended.
#[derive(Debug)]
pub(super) struct Attempted {
    /// How, with clean texts.
    pub(super) outcome: ReplayOutcome,
    /// How long the gate and the handler took.
    pub(super) took: Duration,
}

/// Asks the gate and, where it is open, the handler. The same on every path.
pub(super) async fn attempt(
    handler: Arc<dyn ReplayHandler>,
    op: Arc<FailedOp>,
    context: ReplayContext,
    texts: Arc<Texts>,
) -> Attempted {
    let started = Instant::now();
    let outcome = match closed_gate(&*handler, &op, context.timeout).await {
        Some(deferred) => deferred,
        None => replay(&*handler, &op, context).await,
    };
    Attempted { outcome: texts.clean_outcome(outcome), took: started.elapsed() }
}

/// `None` when the gate is open. A gate that fails is closed: nothing is known then, and it charges nothing.
async fn closed_gate(
    handler: &dyn ReplayHandler,
    op: &FailedOp,
    limit: Duration,
) -> Option<ReplayOutcome> {
    let (reason, delay) = match guarded(limit, handler.can_replay(op)).await {
        Guarded::Ended(Gate::Open) => return None,
        Guarded::Ended(Gate::Closed { reason, delay }) => (reason, delay),
        Guarded::TimedOut => (format!("the gate took longer than {limit:?}"), Duration::ZERO),
        Guarded::Panicked(message) => (format!("the gate panicked: {message}"), Duration::ZERO),
    };
    Some(ReplayOutcome::Deferred { reason, delay })
}

async fn replay(
    handler: &dyn ReplayHandler,
    op: &FailedOp,
    context: ReplayContext,
) -> ReplayOutcome {
    let limit = context.timeout;
    let error = match guarded(limit, handler.replay(op, context)).await {
        Guarded::Ended(outcome) => return outcome,
        Guarded::TimedOut => format!("the handler took longer than {limit:?}"),
        Guarded::Panicked(message) => format!("the handler panicked: {message}"),
    };
    ReplayOutcome::Failed { error, retry_after: None }
}

enum Guarded<T> {
    Ended(T),
    TimedOut,
    Panicked(String),
}

async fn guarded<T>(limit: Duration, future: impl Future<Output = T> + Send) -> Guarded<T> {
    // After a panic nothing of the future is used again, so nothing half-changed is seen.
    match timeout(limit, AssertUnwindSafe(future).catch_unwind()).await {
        Ok(Ok(value)) => Guarded::Ended(value),
        Ok(Err(panic)) => Guarded::Panicked(panic_message(&*panic)),
        Err(_elapsed) => Guarded::TimedOut,
    }
}

pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}
