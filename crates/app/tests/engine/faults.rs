//! A store that fails as a test tells it to.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use baldur_core::{
    BackendError, BackendKind, OpState,
    command::{Act, Capture, ClaimBatch, Extend, Lapse, Settle},
    port::{
        CaptureError, CaptureStore, Captured, ClaimBatchOutcome, ClaimError, ClaimStore, Lapsed,
        Settled,
    },
};
use baldur_memory::MemoryStore;
use tokio::sync::Notify;

/// The reference store behind a bad line.
#[derive(Default)]
pub(crate) struct Faults {
    pub(crate) claims_fail: AtomicBool,
    /// Called when a claim was granted, before its answer is given.
    pub(crate) on_claimed: Mutex<Option<Box<dyn Fn() + Send>>>,
    pub(crate) extends_fail: AtomicBool,
    pub(crate) extends_are_stale: AtomicBool,
    /// Extensions and settles find no room.
    pub(crate) full: AtomicBool,
    /// So many settles are applied without anybody hearing of it.
    pub(crate) settles_unheard: AtomicU32,
    /// So many captures are applied without anybody hearing of it.
    pub(crate) captures_unheard: AtomicU32,
    pub(crate) captures_fail: AtomicBool,
    pub(crate) captures_panic: AtomicBool,
    /// Captures wait for this.
    pub(crate) captures_wait: Option<Arc<Notify>>,
    pub(crate) captures_begun: AtomicU32,
}

#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) store: MemoryStore,
    pub(crate) faults: Arc<Faults>,
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").finish_non_exhaustive()
    }
}

impl Faulty {
    pub(crate) fn new(store: &MemoryStore) -> Self {
        Self { store: store.clone(), faults: Arc::default() }
    }
}

pub(crate) fn unreachable(operation: &'static str) -> BackendError {
    BackendError::new("test", operation, BackendKind::Unavailable).retryable()
}

fn no_room(operation: &'static str) -> BackendError {
    BackendError::new("test", operation, BackendKind::Full).retryable().not_applied()
}

/// Uses one up, if there is one.
fn take(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

#[async_trait]
impl ClaimStore for Faulty {
    async fn claim_batch(&self, claim: ClaimBatch) -> Result<ClaimBatchOutcome, ClaimError> {
        if self.faults.claims_fail.load(Ordering::SeqCst) {
            return Err(unreachable("claim").not_applied().into());
        }
        let outcome = self.store.claim_batch(claim).await;
        if let Some(hook) = &*self.faults.on_claimed.lock().expect("not poisoned") {
            hook();
        }
        outcome
    }

    async fn extend(&self, extend: Extend) -> Vec<Result<(), ClaimError>> {
        if self.faults.full.load(Ordering::SeqCst) {
            return extend.claims.iter().map(|_| Err(no_room("extend").into())).collect();
        }
        if self.faults.extends_fail.load(Ordering::SeqCst) {
            return extend.claims.iter().map(|_| Err(unreachable("extend").into())).collect();
        }
        if self.faults.extends_are_stale.load(Ordering::SeqCst) {
            let stale = |claim: &baldur_core::command::ClaimRef| ClaimError::Stale {
                id: claim.id,
                held: claim.token,
                current: claim.token.next(),
                status: baldur_core::Status::Pending,
            };
            return extend.claims.iter().map(|claim| Err(stale(claim))).collect();
        }
        self.store.extend(extend).await
    }

    async fn settle_batch(&self, settles: Vec<Settle>) -> Vec<Result<Settled, ClaimError>> {
        if self.faults.full.load(Ordering::SeqCst) {
            return settles.iter().map(|_| Err(no_room("settle").into())).collect();
        }
        let answers = self.store.settle_batch(settles).await;
        if take(&self.faults.settles_unheard) {
            return answers.iter().map(|_| Err(unreachable("settle").into())).collect();
        }
        answers
    }

    async fn lapse(&self, lapse: Lapse) -> Result<Lapsed, ClaimError> {
        self.store.lapse(lapse).await
    }

    async fn apply(&self, acts: Vec<Act>) -> Vec<Result<OpState, ClaimError>> {
        self.store.apply(acts).await
    }
}

#[async_trait]
impl CaptureStore for Faulty {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        self.faults.captures_begun.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = &self.faults.captures_wait {
            gate.notified().await;
        }
        assert!(!self.faults.captures_panic.load(Ordering::SeqCst), "the store is told to panic");
        if self.faults.captures_fail.load(Ordering::SeqCst) {
            return captures
                .iter()
                .map(|_| Err(unreachable("capture").not_applied().into()))
                .collect();
        }
        let answers = self.store.capture_batch(captures).await;
        if take(&self.faults.captures_unheard) {
            return answers.iter().map(|_| Err(unreachable("capture").into())).collect();
        }
        answers
    }
}
