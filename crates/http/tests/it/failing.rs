//! A store that fails, or doesn't answer, when it is told to.

use std::sync::{
    Arc,
    atomic::{AtomicU8, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use baldur_core::{
    BackendError, BackendKind, Count, EntryId, EntrySummary, EvidenceRecord, FacetScope, Facets,
    FailedOp, Filter, ListQuery, Page,
    command::Capture,
    port::{
        CaptureError, CaptureStore, Captured, EntryReader, EvidenceBacklog, EvidenceError,
        EvidenceLog, ReadError,
    },
};
use baldur_memory::MemoryStore;
use tokio::sync::Semaphore;

const WELL: u8 = 0;
const DOWN: u8 = 1;
const SILENT: u8 = 2;

/// A memory store behind a switch.
#[derive(Clone, Debug)]
pub(crate) struct Failing {
    inner: MemoryStore,
    state: Arc<AtomicU8>,
    /// How many captures are answered before the store goes down.
    left: Arc<AtomicUsize>,
    /// Captures wait here for a permit, when it is used.
    gate: Option<Arc<Semaphore>>,
    /// Captures that have begun to wait.
    pub(crate) waiting: Arc<Semaphore>,
}

impl Failing {
    pub(crate) fn new(inner: MemoryStore) -> Self {
        Self {
            inner,
            state: Arc::new(AtomicU8::new(WELL)),
            left: Arc::new(AtomicUsize::new(usize::MAX)),
            gate: None,
            waiting: Arc::new(Semaphore::new(0)),
        }
    }

    /// Captures wait until this has permits.
    pub(crate) fn gated(inner: MemoryStore, gate: Arc<Semaphore>) -> Self {
        Self { gate: Some(gate), ..Self::new(inner) }
    }

    pub(crate) fn down(&self) {
        self.state.store(DOWN, Ordering::SeqCst);
    }

    pub(crate) fn silent(&self) {
        self.state.store(SILENT, Ordering::SeqCst);
    }

    pub(crate) fn down_after(&self, captures: usize) {
        self.left.store(captures, Ordering::SeqCst);
    }

    async fn check(&self, operation: &'static str) -> Result<(), BackendError> {
        match self.state.load(Ordering::SeqCst) {
            WELL => Ok(()),
            SILENT => std::future::pending().await,
            _ => Err(BackendError::new("failing", operation, BackendKind::Unavailable)
                .because(std::io::Error::other("at sqlite:///secret/path"))
                .not_applied()),
        }
    }
}

#[async_trait]
impl CaptureStore for Failing {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        if let Some(gate) = &self.gate {
            self.waiting.add_permits(1);
            gate.acquire().await.expect("open").forget();
        }
        let asked = captures.len();
        if self.left.load(Ordering::SeqCst) < asked {
            self.down();
        }
        if let Err(error) = self.check("capture").await {
            return (0..asked).map(|_| Err(error.clone().into())).collect();
        }
        self.left.fetch_sub(asked, Ordering::SeqCst);
        self.inner.capture_batch(captures).await
    }
}

#[async_trait]
impl EntryReader for Failing {
    async fn find(&self, ids: Vec<EntryId>) -> Result<Vec<Option<FailedOp>>, ReadError> {
        self.check("find").await?;
        self.inner.find(ids).await
    }

    async fn list(&self, query: ListQuery) -> Result<Page<EntrySummary>, ReadError> {
        self.check("list").await?;
        self.inner.list(query).await
    }

    async fn count(&self, filter: Filter, cap: u64) -> Result<Count, ReadError> {
        self.check("count").await?;
        self.inner.count(filter, cap).await
    }

    async fn facets(&self, scope: FacetScope) -> Result<Facets, ReadError> {
        self.check("facets").await?;
        self.inner.facets(scope).await
    }
}

#[async_trait]
impl EvidenceLog for Failing {
    async fn trail(
        &self,
        entry: EntryId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EvidenceRecord>, EvidenceError> {
        self.inner.trail(entry, after, limit).await
    }

    async fn unsealed(&self, limit: usize) -> Result<Vec<EvidenceRecord>, EvidenceError> {
        self.inner.unsealed(limit).await
    }

    async fn backlog(&self) -> Result<EvidenceBacklog, EvidenceError> {
        self.inner.backlog().await
    }
}
