//! The store that a case looks at.

use std::{any::Any, fmt, future::Future, pin::Pin, sync::Arc};

use baldur_core::{
    name::Namespace,
    port::{
        CaptureStore, CircuitBreakerStore, ClaimStore, EntryReader, EvidenceLog, PaceStore,
        StoreAdmin,
    },
};

use crate::clock::ManualClock;

/// A future in a box.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(crate) type Factory = Arc<dyn Fn() -> BoxFuture<'static, StoreUnderTest> + Send + Sync>;
type Close = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;
type Sibling = Arc<dyn Fn(Namespace) -> BoxFuture<'static, StoreUnderTest> + Send + Sync>;

/// A store, with what a case needs besides: its clock, how to close it, how to open it again.
///
/// Clones are the same store.
#[derive(Clone)]
pub struct StoreUnderTest {
    /// The namespace that it serves.
    pub namespace: Namespace,
    /// The clock that it takes its time from.
    pub clock: Arc<ManualClock>,
    /// Its port for captures.
    pub capture: Arc<dyn CaptureStore>,
    /// Its port for reading.
    pub reader: Arc<dyn EntryReader>,
    /// Its port for claims.
    pub claims: Arc<dyn ClaimStore>,
    /// Its port for evidence.
    pub evidence: Arc<dyn EvidenceLog>,
    /// Its port for administration.
    pub admin: Arc<dyn StoreAdmin>,
    /// Its port for circuit breakers.
    pub breakers: Arc<dyn CircuitBreakerStore>,
    /// Its port for a shared pace.
    pub pace: Arc<dyn PaceStore>,
    close: Close,
    reopen: Option<Factory>,
    sibling: Option<Sibling>,
    /// Whatever must live as long as the store, such as its temporary directory.
    guards: Vec<Arc<dyn Any + Send + Sync>>,
}

impl StoreUnderTest {
    /// A store all of whose ports are in one type. `close` closes it, for all its clones.
    pub fn new<S, C, F>(store: S, namespace: Namespace, clock: Arc<ManualClock>, close: C) -> Self
    where
        S: CaptureStore + EntryReader + ClaimStore + EvidenceLog + StoreAdmin,
        S: CircuitBreakerStore + PaceStore + Clone,
        C: Fn(S) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let store = Arc::new(store);
        let closed = Arc::clone(&store);
        Self {
            namespace,
            clock,
            capture: Arc::<S>::clone(&store),
            reader: Arc::<S>::clone(&store),
            claims: Arc::<S>::clone(&store),
            evidence: Arc::<S>::clone(&store),
            admin: Arc::<S>::clone(&store),
            breakers: Arc::<S>::clone(&store),
            pace: store,
            close: Arc::new(move || Box::pin(close(S::clone(&closed)))),
            reopen: None,
            sibling: None,
            guards: Vec::new(),
        }
    }

    /// Says how to open the same data again after the store was closed. The clock must be the same one.
    #[must_use]
    pub fn reopens<C, F>(mut self, reopen: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Self> + Send + 'static,
    {
        self.reopen = Some(Arc::new(move || Box::pin(reopen())));
        self
    }

    /// Says how to open another namespace on the same backend. The clock must be the same one.
    #[must_use]
    pub fn shares_backend<C, F>(mut self, sibling: C) -> Self
    where
        C: Fn(Namespace) -> F + Send + Sync + 'static,
        F: Future<Output = Self> + Send + 'static,
    {
        self.sibling = Some(Arc::new(move |namespace| Box::pin(sibling(namespace))));
        self
    }

    /// Keeps `guard` alive as long as the store or a clone of it.
    #[must_use]
    pub fn keeping(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guards.push(Arc::new(guard));
        self
    }

    /// Closes the store.
    pub(crate) async fn close(&self) {
        (self.close)().await;
    }

    /// Closes the store and opens the same data again; `None` when the adapter did not say how.
    pub(crate) async fn closed_and_reopened(&self) -> Option<Self> {
        let reopen = self.reopen.as_ref()?;
        self.close().await;
        let mut reopened = reopen().await;
        reopened.guards.extend(self.guards.iter().cloned());
        // What opens the data once opens it again.
        reopened.reopen.get_or_insert_with(|| Arc::clone(reopen));
        Some(reopened)
    }

    /// Another namespace on the same backend; `None` when the adapter did not say how.
    pub(crate) async fn sibling(&self, namespace: Namespace) -> Option<Self> {
        let sibling = self.sibling.as_ref()?;
        let mut sibling = sibling(namespace).await;
        sibling.guards.extend(self.guards.iter().cloned());
        Some(sibling)
    }
}

impl fmt::Debug for StoreUnderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreUnderTest")
            .field("namespace", &self.namespace)
            .field("capture", &self.capture)
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
