//! Stores on the server that all tests share, each test in a namespace of its own.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use baldur_contract::{Captures, ManualClock, StoreUnderTest};
use baldur_core::{
    Clock, SystemClock,
    command::Capture,
    name::Namespace,
    port::{CaptureError, CaptureStore, Captured},
};
use baldur_memory::MemoryStore;
use baldur_postgres::{PostgresConfig, PostgresStore};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};

use crate::support;

/// A store, its clock, and captures for it.
pub(crate) struct Lab {
    pub(crate) store: PostgresStore,
    pub(crate) captures: Captures,
    pub(crate) clock: Arc<ManualClock>,
    config: PostgresConfig,
    url: SecretString,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// A store with settings of its own.
    pub(crate) async fn with(set: impl FnOnce(PostgresConfig) -> PostgresConfig) -> Self {
        let url = baldur_services::postgres_url().unwrap_or_else(|missing| panic!("{missing}"));
        Self::on(url, set).await
    }

    /// A store on a server of the test's own.
    pub(crate) async fn on(
        url: SecretString,
        set: impl FnOnce(PostgresConfig) -> PostgresConfig,
    ) -> Self {
        let namespace = fresh_namespace();
        let mut config = support::config(&url);
        config.namespace = namespace.clone();
        let config = set(config);
        let clock = Arc::new(ManualClock::default());
        let store = open(&config, &clock).await;
        // Captures ask it for the namespace and the clock only.
        let time: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let named = MemoryStore::new(namespace.clone(), time);
        let close = |store: MemoryStore| async move { store.close().await };
        let named = StoreUnderTest::new(named, namespace, Arc::clone(&clock), close);
        Self { store, captures: Captures::new(&named, 7), clock, config, url }
    }

    /// Another store on the same data, as another process would have.
    pub(crate) async fn another(&self) -> PostgresStore {
        open(&self.config, &self.clock).await
    }

    pub(crate) async fn keep(&self, capture: Capture) -> Result<Captured, CaptureError> {
        keep(&self.store, capture).await
    }

    /// A connection that knows nothing of the store.
    pub(crate) async fn raw(&self) -> PgConnection {
        let options: PgConnectOptions = self.url.expose_secret().parse().expect("a URL");
        options.connect().await.expect("the server answers")
    }

    /// The number of the namespace.
    pub(crate) async fn ns(&self) -> i32 {
        sqlx::query_scalar("SELECT ns FROM baldur.namespaces WHERE name = $1")
            .bind(self.config.namespace.as_str())
            .fetch_one(&mut self.raw().await)
            .await
            .expect("the namespace is there")
    }
}

pub(crate) async fn open(config: &PostgresConfig, clock: &Arc<ManualClock>) -> PostgresStore {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    PostgresStore::open_with_clock(config.clone(), clock).await.expect("it opens")
}

/// One that nobody had before.
pub(crate) fn fresh_namespace() -> Namespace {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let at = SystemClock.now();
    let name = format!("t-{}-{}-{n}", at.as_micros(), std::process::id());
    Namespace::parse(&name).expect("a name")
}

pub(crate) async fn keep(
    store: &PostgresStore,
    capture: Capture,
) -> Result<Captured, CaptureError> {
    store.capture_batch(vec![capture]).await.pop().expect("one answer per capture")
}
