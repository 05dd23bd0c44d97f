//! Capture through the spool: what the store doesn't take now waits on the local disk.

mod gate;
mod marks;
mod policy;

use std::{panic::AssertUnwindSafe, sync::Arc};

use async_trait::async_trait;
use baldur_core::{
    BackendError, BackendKind, Outcome,
    command::Capture,
    port::{CaptureError, CaptureStore, Captured, Disposition, Durability, Spool, SpoolError},
};
use futures_util::FutureExt as _;
use tokio::{sync::Notify, time::timeout};

pub(crate) use gate::Gate;
use marks::Appending;
pub(crate) use marks::{Known, Marks};
pub use policy::SpoolingPolicy;
use policy::{Failed, both};

/// A store that spools what its inner store can't take at present. Cheap to clone; clones share what is known of the store.
///
/// - What the store answers for good is passed on: stored, merged, and refusals ([`CaptureError::Invalid`],
///   [`CaptureError::LimitReached`], [`BackendKind::Refused`]), which are never spooled.
/// - Everything else, an answer that is missing or uncertain included, goes to the spool, which is safe because a capture is idempotent by
///   its id. It is answered as [`Durability::Spooled`], occurrence 1 and [`Disposition::New`], since nobody knows better yet.
/// - A capture whose order key waits in the spool goes behind it. If the spool doesn't take it then, it is refused, and may be repeated: the store
///   would get it out of order.
/// - After a failure the store is not asked again until a trial or the [`Drainer`](crate::Drainer) finds it well, and calls that
///   wait for it stop waiting. So only the first callers of an outage wait, and each at most [`SpoolingPolicy::store_timeout`].
/// - If the spool fails, the store is asked all the same. If both fail the error says both, and whether anything may have been kept.
///
/// A store that answers one batch partly and fails the rest of it may get captures of one order key out of order.
#[derive(Clone, Debug)]
pub struct SpoolingStore {
    parts: Arc<Parts>,
    first: First,
}

/// What captures, the drainer and the gate share.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) store: Arc<dyn CaptureStore>,
    pub(crate) spool: Arc<dyn Spool>,
    pub(crate) gate: Gate,
    pub(crate) marks: Marks,
    /// Tells the drainer of new records.
    pub(crate) appended: Notify,
    policy: SpoolingPolicy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Store,
    Spool,
}

/// A capture, with its place in the batch.
struct Item {
    at: usize,
    capture: Capture,
    /// What the store said, if it was asked.
    failed: Failed,
}

type Answer = Result<Captured, CaptureError>;

impl SpoolingStore {
    /// Puts `spool` beside `store`.
    pub fn new(
        store: Arc<dyn CaptureStore>,
        spool: Arc<dyn Spool>,
        policy: SpoolingPolicy,
    ) -> Self {
        let gate = Gate::new(policy.trial_pause);
        let parts =
            Parts { store, spool, gate, marks: Marks::default(), appended: Notify::new(), policy };
        Self { parts: Arc::new(parts), first: First::Store }
    }

    /// The same, but everything goes to the spool first, and to the store only if the spool fails.
    #[must_use]
    pub fn durable(&self) -> Self {
        Self { parts: Arc::clone(&self.parts), first: First::Spool }
    }

    /// Whether captures go to the store, as far as is known.
    pub fn store_is_up(&self) -> bool {
        self.parts.gate.is_up()
    }

    /// The spool.
    pub fn spool(&self) -> Arc<dyn Spool> {
        Arc::clone(&self.parts.spool)
    }

    pub(crate) fn parts(&self) -> Arc<Parts> {
        Arc::clone(&self.parts)
    }
}

#[async_trait]
impl CaptureStore for SpoolingStore {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Answer> {
        let mut answers: Vec<Option<Answer>> = captures.iter().map(|_| None).collect();
        let items = captures.into_iter().enumerate().map(|(at, capture)| Item {
            at,
            capture,
            failed: Failed::NotAsked,
        });
        let parts = &*self.parts;
        let (ask, mut spool): (Vec<Item>, Vec<Item>) =
            if self.first == First::Store && parts.may_ask() {
                items.partition(|item| !parts.waits_behind(&item.capture))
            } else {
                (Vec::new(), items.collect())
            };
        spool.extend(parts.ask(ask, true, &mut answers).await);
        spool.sort_unstable_by_key(|item| item.at);
        // The marks stay until the answers are given, so that the ledger can tell whose records leave the spool.
        let mut marks = parts.marks.begin(spool.iter().map(|item| item.capture.op.id));
        let left = parts.append(spool, &mut marks, &mut answers).await;
        parts.last_resort(left, &mut answers).await;
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(unanswered()))).collect()
    }
}

impl Parts {
    fn may_ask(&self) -> bool {
        // While the spool holds records, the drainer finds out by itself whether the store is back.
        self.gate.admits(|| self.spool.status().records == 0)
    }

    fn waits_behind(&self, capture: &Capture) -> bool {
        capture.op.order_key.as_ref().is_some_and(|key| self.spool.holds(key))
    }

    /// Asks the store. What it answers for good is answered; the others are returned.
    async fn ask(
        &self,
        items: Vec<Item>,
        give_up_early: bool,
        answers: &mut [Option<Answer>],
    ) -> Vec<Item> {
        if items.is_empty() {
            return items;
        }
        let captures = items.iter().map(|item| item.capture.clone()).collect();
        let mut said = self.ask_in_time(captures, give_up_early).await.into_iter();
        let count = items.len();
        let mut left = Vec::new();
        let mut written = false;
        for mut item in items {
            let said = said.next().unwrap_or_else(|| Err(unanswered()));
            written |= was_written(&said);
            match said {
                Ok(kept) => answers[item.at] = Some(Ok(kept)),
                Err(error) if refused_for_good(&error) => answers[item.at] = Some(Err(error)),
                Err(error) => {
                    item.failed = Failed::Store(error);
                    left.push(item);
                }
            }
        }
        if left.is_empty() && written {
            self.gate.up();
        } else if left.len() == count {
            self.gate.down();
        }
        left
    }

    /// The answers of the store, or one error for all when they don't come. A panic of the store is one more way not to answer.
    async fn ask_in_time(&self, captures: Vec<Capture>, give_up_early: bool) -> Vec<Answer> {
        let asked = captures.len();
        let call = AssertUnwindSafe(self.store.capture_batch(captures)).catch_unwind();
        let call = timeout(self.policy.store_timeout, call);
        let was_up = self.gate.is_up();
        let error = tokio::select! {
            biased;
            answer = call => match answer {
                Ok(Ok(answers)) => return answers,
                Ok(Err(_panic)) => {
                    tracing::error!("spooling.store_panicked");
                    unanswered()
                }
                Err(_elapsed) => no_answer(BackendKind::Timeout),
            },
            () = self.gate.went_down(), if give_up_early && was_up => no_answer(BackendKind::Unavailable),
        };
        (0..asked).map(|_| Err(error.clone())).collect()
    }

    /// Appends to the spool. What was synced is answered; the others are returned, with what the spool said.
    async fn append(
        &self,
        items: Vec<Item>,
        marks: &mut Appending<'_>,
        answers: &mut [Option<Answer>],
    ) -> Vec<(Item, SpoolError)> {
        if items.is_empty() {
            return Vec::new();
        }
        let captures = items.iter().map(|item| item.capture.clone()).collect();
        let appended = timeout(self.policy.spool_timeout, self.spool.append(captures)).await;
        let mut said = appended.unwrap_or_default().into_iter();
        let mut left = Vec::new();
        let mut any = false;
        for (position, item) in items.into_iter().enumerate() {
            let said = said.next().unwrap_or_else(|| Err(spool_silent()));
            if said.as_ref().is_err_and(|error| error.outcome() == Outcome::Unknown) {
                tracing::debug!(id = %item.capture.op.id, "spooling.append_uncertain");
            } else {
                marks.is_certain(position, said.is_ok());
            }
            match said {
                Ok(()) => {
                    any = true;
                    answers[item.at] = Some(Ok(Captured::new(
                        item.capture.op.id,
                        Durability::Spooled,
                        1,
                        Disposition::New,
                    )));
                }
                Err(error) => left.push((item, error)),
            }
        }
        if any {
            self.appended.notify_one();
        }
        left
    }

    /// The spool failed: whoever was not heard by the store yet is, unless others of its key wait in the spool.
    async fn last_resort(&self, left: Vec<(Item, SpoolError)>, answers: &mut [Option<Answer>]) {
        if left.is_empty() {
            return;
        }
        tracing::error!(entries = left.len(), error = %left[0].1, "spooling.spool_failed");
        let mut errors: Vec<Option<SpoolError>> = answers.iter().map(|_| None).collect();
        let mut ask = Vec::new();
        let mut lost = Vec::new();
        for (item, error) in left {
            errors[item.at] = Some(error);
            match &item.failed {
                Failed::NotAsked if !self.waits_behind(&item.capture) => ask.push(item),
                Failed::NotAsked | Failed::Store(_) => lost.push(item),
            }
        }
        lost.extend(self.ask(ask, false, answers).await);
        for Item { at, failed, .. } in lost {
            if let Some(spool) = errors[at].take() {
                answers[at] = Some(Err(both(failed, spool)));
            }
        }
    }
}

/// Whether the store will never take this capture. Everything else may go well later, or has gone well unheard.
pub(crate) fn refused_for_good(error: &CaptureError) -> bool {
    match error {
        CaptureError::Invalid(_) | CaptureError::LimitReached { .. } => true,
        CaptureError::Backend(error) => {
            error.kind() == BackendKind::Refused && error.outcome() == Outcome::NotApplied
        }
        _ => false,
    }
}

/// Whether the store wrote something for this. What it knows already, or refuses, may be answered by a store that takes
/// nothing: one without room answers what it can read, and what can't be kept is refused without asking.
pub(crate) fn was_written(answer: &Result<Captured, CaptureError>) -> bool {
    matches!(answer, Ok(kept) if kept.disposition != Disposition::Repeated)
}

fn no_answer(kind: BackendKind) -> CaptureError {
    BackendError::new("store", "capture", kind).retryable().into()
}

fn unanswered() -> CaptureError {
    no_answer(BackendKind::Other)
}

fn spool_silent() -> SpoolError {
    BackendError::new("spool", "append", BackendKind::Timeout).retryable().into()
}
