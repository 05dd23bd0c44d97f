//! Capture: from a failure in a host to an entry that is durable, searchable and free of secrets.
//!
//! In this order: the hard cap of the input; keys, labels and limits, which may be refused; id and time; names, which never
//! are; redaction; bounds; fingerprint; evidence; the store. What had to be changed is noted under [`NOTES_KEY`]
//! in the entry's metadata.

mod keys;
mod mode;
mod names;
mod notes;
mod overflow;
mod payload;
mod policy;
mod prepare;
mod refusal;
pub(crate) mod scrub;
mod stamp;
mod tally;
mod watch;

use std::sync::Arc;

use baldur_core::{
    BackendError, BackendKind, Chain, NewFailedOp,
    command::Capture,
    name::Domain,
    port::{CaptureError, CaptureStore, Captured},
};

pub use mode::{CaptureMode, CaptureRoutes};
pub use notes::NOTES_KEY;
pub use overflow::{DedupPolicy, DomainLimit, DomainOverflow, OverflowPolicy};
pub use policy::{CapturePolicy, CapturePolicyError, Oversize};
pub use refusal::{CaptureFailure, Refusal};
use stamp::Stamps;
use tally::Tally;
pub use watch::{ALARM_HYSTERESIS, ALARM_PERCENTS, OverflowWatch};

use crate::env::{Env, Who};

/// Captures failed operations. Cheap to clone.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use baldur_app::{CapturePolicy, CaptureService, Env, Who};
/// use baldur_core::{
///     ListQuery, NewFailedOp, SystemClock,
///     name::{Actor, Namespace, WorkerName},
///     port::EntryReader,
/// };
/// use baldur_memory::MemoryStore;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let namespace = Namespace::parse("shop")?;
/// let store = MemoryStore::new(namespace.clone(), Arc::new(SystemClock));
/// let env = Env::system(namespace, WorkerName::parse("checkout-1")?);
/// let capture = CaptureService::new(Arc::new(store.clone()), env, CapturePolicy::default());
///
/// let failed = NewFailedOp::new("payment", "TIMEOUT")
///     .dependency("payment-gateway")
///     .entity("order", "4711")
///     .request_data(r#"{"amount": 1999, "card_number": "4111111111111111"}"#);
/// let captured = capture.capture(failed, &Who::new(Actor::parse("checkout")?)).await?;
///
/// let page = store.list(ListQuery::default()).await?;
/// assert_eq!(page.items.len(), 1);
/// assert_eq!(page.items[0].id, captured.id);
///
/// let entries = store.find(vec![captured.id]).await?;
/// let entry = entries[0].as_ref().ok_or("the entry is there")?;
/// assert_eq!(
///     entry.request_data.as_str(),
///     r#"{"amount": 1999, "card_number": "***REDACTED***"}"#,
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CaptureService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    routes: CaptureRoutes,
    env: Env,
    policy: CapturePolicy,
    stamps: Stamps,
}

impl CaptureService {
    /// A service that keeps in `store` what `policy` lets through. Check the policy before
    /// ([`CapturePolicy::validate`]) if it comes from outside.
    pub fn new(store: Arc<dyn CaptureStore>, env: Env, policy: CapturePolicy) -> Self {
        Self::routed(CaptureRoutes::to(store), env, policy)
    }

    /// A service that captures on these ways.
    pub fn routed(routes: CaptureRoutes, env: Env, policy: CapturePolicy) -> Self {
        Self { inner: Arc::new(Inner { routes, env, policy, stamps: Stamps::new() }) }
    }

    /// The ways on which it captures.
    pub fn routes(&self) -> &CaptureRoutes {
        &self.inner.routes
    }

    /// The limits.
    pub fn policy(&self) -> &CapturePolicy {
        &self.inner.policy
    }

    /// The surroundings.
    pub(crate) fn env(&self) -> &Env {
        &self.inner.env
    }

    /// Captures one operation, and answers when it is as durable as the answer says.
    ///
    /// To repeat a call whose answer was lost, give the operation an id: the same id is kept once.
    ///
    /// # Errors
    ///
    /// [`CaptureFailure::Refused`] when the operation is not acceptable, which changes nothing;
    /// [`CaptureFailure::Store`] when the store did not keep it or did not say so.
    pub async fn capture(&self, op: NewFailedOp, who: &Who) -> Result<Captured, CaptureFailure> {
        self.capture_as(op, who, self.inner.routes.mode).await
    }

    /// As [`capture`](Self::capture), in this mode.
    ///
    /// # Errors
    ///
    /// As [`capture`](Self::capture).
    pub async fn capture_as(
        &self,
        op: NewFailedOp,
        who: &Who,
        mode: CaptureMode,
    ) -> Result<Captured, CaptureFailure> {
        let capture = self.prepare(op, who, Oversize::Refuse)?;
        only(self.keep_as(vec![capture], mode).await)
    }

    /// Captures many operations in one step of the store. Each is answered by itself, in order: a bad one fails alone.
    ///
    /// # Errors
    ///
    /// As [`capture`](Self::capture), for each.
    pub async fn capture_batch(
        &self,
        ops: Vec<NewFailedOp>,
        who: &Who,
    ) -> Vec<Result<Captured, CaptureFailure>> {
        self.capture_batch_as(ops, who, self.inner.routes.mode).await
    }

    /// As [`capture_batch`](Self::capture_batch), in this mode.
    ///
    /// # Errors
    ///
    /// As [`capture`](Self::capture), for each.
    pub async fn capture_batch_as(
        &self,
        ops: Vec<NewFailedOp>,
        who: &Who,
        mode: CaptureMode,
    ) -> Vec<Result<Captured, CaptureFailure>> {
        let mut good = Vec::with_capacity(ops.len());
        let mut refused = Vec::with_capacity(ops.len());
        for op in ops {
            match self.prepare(op, who, Oversize::Refuse) {
                Ok(capture) => {
                    good.push(capture);
                    refused.push(None);
                }
                Err(failure) => refused.push(Some(failure)),
            }
            // Redaction is work for the processor: other tasks get their turn in between.
            tokio::task::consume_budget().await;
        }
        let mut kept = self.keep_as(good, mode).await.into_iter();
        refused
            .into_iter()
            .map(|failure| match failure {
                Some(failure) => Err(failure),
                None => kept.next().unwrap_or_else(|| Err(unanswered())),
            })
            .collect()
    }

    /// Makes of an operation what the store keeps, without keeping it. No I/O.
    ///
    /// For callers that must be able to repeat a capture under one id, or that spool it: hand the result to
    /// [`keep`](Self::keep).
    ///
    /// # Errors
    ///
    /// [`CaptureFailure::Refused`]; never with [`Oversize::KeepUnreplayable`].
    pub fn prepare(
        &self,
        op: NewFailedOp,
        who: &Who,
        oversize: Oversize,
    ) -> Result<Capture, CaptureFailure> {
        let Inner { routes: _, env, policy, stamps } = &*self.inner;
        match prepare::prepare(op, who, oversize, policy, env, stamps) {
            Ok(capture) => {
                if let Some(reason) = capture.op.state.not_replayable {
                    tracing::warn!(
                        id = %capture.op.id,
                        domain = %capture.op.domain,
                        reason = reason.as_str(),
                        "capture.not_replayable"
                    );
                }
                Ok(capture)
            }
            Err(refusal) => {
                tracing::debug!(code = refusal.code(), "capture.refused");
                tally::refused();
                Err(refusal.into())
            }
        }
    }

    /// Keeps what [`prepare`](Self::prepare) made, in one step of the store. Keeping the same again changes nothing, so a
    /// caller that missed the answer may repeat.
    ///
    /// # Errors
    ///
    /// [`CaptureFailure::Store`], for each by itself.
    pub async fn keep(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureFailure>> {
        self.keep_as(captures, self.inner.routes.mode).await
    }

    /// As [`keep`](Self::keep), in this mode.
    ///
    /// # Errors
    ///
    /// As [`keep`](Self::keep), for each by itself.
    pub async fn keep_as(
        &self,
        captures: Vec<Capture>,
        mode: CaptureMode,
    ) -> Vec<Result<Captured, CaptureFailure>> {
        if captures.is_empty() {
            return Vec::new();
        }
        let domains: Vec<Domain> =
            captures.iter().map(|capture| capture.op.domain.clone()).collect();
        let mut answers = self.inner.routes.keep(captures, mode).await;
        // A store that owes an answer must not make a caller believe in another's.
        answers.resize_with(domains.len(), || Err(unanswered_by_store()));
        let mut tally = Tally::default();
        for (domain, answer) in domains.iter().zip(&answers) {
            tally.add(domain, answer);
        }
        tally.tell();
        answers.into_iter().map(|answer| answer.inspect(log_kept).map_err(logged)).collect()
    }
}

fn only(answers: Vec<Result<Captured, CaptureFailure>>) -> Result<Captured, CaptureFailure> {
    answers.into_iter().next().unwrap_or_else(|| Err(unanswered()))
}

fn unanswered() -> CaptureFailure {
    CaptureFailure::Store(unanswered_by_store())
}

/// The outcome stays unknown, as the error's default is.
fn unanswered_by_store() -> CaptureError {
    BackendError::new("store", "answer a capture", BackendKind::Other).into()
}

fn log_kept(captured: &Captured) {
    tracing::debug!(
        id = %captured.id,
        durability = captured.durability.as_str(),
        disposition = captured.disposition.as_str(),
        occurrence = captured.occurrence,
        "capture.kept"
    );
}

fn logged(error: CaptureError) -> CaptureFailure {
    tracing::warn!(error = %Chain(&error), "capture.failed");
    CaptureFailure::Store(error)
}
