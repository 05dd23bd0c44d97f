//! The reference store behind a line that fails as a test tells it to.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use baldur_core::{
    BackendError, BackendKind, EntryId,
    command::Capture,
    name::OrderKey,
    port::{CaptureError, CaptureStore, Captured, Disposition},
};
use baldur_memory::MemoryStore;

use crate::world::virtual_time;

/// What the store does next, until it is told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fault {
    #[default]
    None,
    /// It can't be reached.
    Down,
    /// It has no room.
    Full,
    /// It has no room, and says so only of what it would have to write: what it knows, it knows.
    FullForNew,
    /// It can't be reached, and what it would refuse is refused without asking.
    DownBehindChecks,
    /// It takes no writes.
    ReadOnly,
    /// It is closed.
    Closed,
    /// It keeps what it is given, and its answer gets lost.
    Unheard,
    /// It never answers.
    Hangs,
    /// It keeps what it is given, and never answers.
    HangsAfter,
    /// It panics.
    Panics,
    /// It keeps what it is given and panics.
    PanicsAfter,
    /// It answers after so many milliseconds.
    Slow(u16),
    /// It owes its last answer.
    Owes,
}

/// The code of operations that the store refuses for good.
pub(crate) const REFUSED: &str = "store_refuses";

/// The code of operations that the store fails at, each by itself, until it is mended.
pub(crate) const FAILS: &str = "store_fails";

/// The code of operations that make the store fail at everything that comes with them, until it is mended.
pub(crate) const SPOILS: &str = "store_fails_at_all";

/// An entry that is new to the store, with its key.
pub(crate) type Arrival = (EntryId, Option<OrderKey>);

#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) store: MemoryStore,
    fault: Arc<Mutex<Fault>>,
    arrived: Arc<Mutex<Vec<Arrival>>>,
    batches: Arc<Mutex<Vec<usize>>>,
    refused: Arc<Mutex<Vec<EntryId>>>,
    mended: Arc<AtomicBool>,
}

impl Wire {
    pub(crate) fn new(store: &MemoryStore) -> Self {
        let store = store.clone();
        Self {
            store,
            fault: Arc::default(),
            arrived: Arc::default(),
            batches: Arc::default(),
            refused: Arc::default(),
            mended: Arc::default(),
        }
    }

    pub(crate) fn is_in(&self, fault: Fault) {
        *self.fault.lock().expect("not poisoned") = fault;
    }

    /// From here on nothing fails because of what it is.
    pub(crate) fn is_mended(&self) {
        self.mended.store(true, Ordering::Relaxed);
    }

    fn fails_at(&self, capture: &Capture, code: &str) -> bool {
        capture.op.error_code == code && !self.mended.load(Ordering::Relaxed)
    }

    /// New entries, in the order in which they reached the store.
    pub(crate) fn arrived(&self) -> Vec<Arrival> {
        self.arrived.lock().expect("not poisoned").clone()
    }

    /// The sizes of the batches that were asked for.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.batches.lock().expect("not poisoned").clone()
    }

    /// What was refused for good, which a store behind a queue can tell in its log only.
    pub(crate) fn refused(&self) -> Vec<EntryId> {
        self.refused.lock().expect("not poisoned").clone()
    }

    /// Answers what needs no room.
    async fn read(&self, captures: &[Capture]) -> Vec<Result<Captured, CaptureError>> {
        let mut answers = Vec::new();
        for capture in captures {
            let known = self.arrived().iter().any(|(id, _)| *id == capture.op.id);
            answers.push(if known {
                self.store.capture_batch(vec![capture.clone()]).await.remove(0)
            } else {
                Err(trouble(BackendKind::Full))
            });
        }
        answers
    }

    async fn apply(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        if captures.iter().any(|capture| self.fails_at(capture, SPOILS)) {
            return captures.iter().map(|_| Err(trouble(BackendKind::Other))).collect();
        }
        let fate = |capture: &Capture| {
            let fails = || self.fails_at(capture, FAILS).then(|| trouble(BackendKind::Unavailable));
            refusal(capture).or_else(fails)
        };
        let names: Vec<_> =
            captures.iter().map(|c| (c.op.id, c.op.order_key.clone(), fate(c))).collect();
        let good = captures.into_iter().filter(|capture| fate(capture).is_none()).collect();
        let mut said = self.store.capture_batch(good).await.into_iter();
        let mut arrived = self.arrived.lock().expect("not poisoned");
        let answer = |(id, key, fate): (EntryId, Option<OrderKey>, Option<CaptureError>)| {
            if let Some(error) = fate {
                if matches!(error, CaptureError::Invalid(_)) {
                    self.refused.lock().expect("not poisoned").push(id);
                }
                return Err(error);
            }
            let answer = said.next().expect("an answer for each");
            if matches!(&answer, Ok(kept) if kept.disposition == Disposition::New) {
                arrived.push((id, key));
            }
            answer
        };
        names.into_iter().map(answer).collect()
    }
}

fn refusal(capture: &Capture) -> Option<CaptureError> {
    let is_refused = capture.op.error_code == REFUSED;
    is_refused.then(|| CaptureError::Invalid("not for this store".to_owned()))
}

fn trouble(kind: BackendKind) -> CaptureError {
    BackendError::new("test", "capture", kind).retryable().not_applied().into()
}

#[async_trait]
impl CaptureStore for Wire {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let fault = *self.fault.lock().expect("not poisoned");
        let asked = captures.len();
        self.batches.lock().expect("not poisoned").push(asked);
        let all = |kind| (0..asked).map(|_| Err(trouble(kind))).collect();
        match fault {
            Fault::None => self.apply(captures).await,
            Fault::Down => all(BackendKind::Unavailable),
            Fault::Full => all(BackendKind::Full),
            Fault::FullForNew => self.read(&captures).await,
            Fault::DownBehindChecks => captures
                .iter()
                .map(|capture| {
                    Err(match refusal(capture) {
                        Some(refusal) => refusal,
                        None => trouble(BackendKind::Unavailable),
                    })
                })
                .collect(),
            Fault::ReadOnly => all(BackendKind::ReadOnly),
            Fault::Closed => all(BackendKind::Closed),
            Fault::Unheard => {
                self.apply(captures).await;
                let lost = BackendError::new("test", "capture", BackendKind::Unavailable);
                (0..asked).map(|_| Err(lost.clone().retryable().into())).collect()
            }
            Fault::Hangs => std::future::pending().await,
            Fault::HangsAfter => {
                self.apply(captures).await;
                std::future::pending().await
            }
            Fault::Panics => panic!("as told"),
            Fault::PanicsAfter => {
                self.apply(captures).await;
                panic!("as told")
            }
            Fault::Slow(millis) => {
                virtual_time(Duration::from_millis(millis.into())).await;
                self.apply(captures).await
            }
            Fault::Owes => {
                let mut answers = self.apply(captures).await;
                answers.pop();
                answers
            }
        }
    }
}
