//! Stores in temporary directories, and raw connections to their files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use baldur_contract::{Captures, ManualClock, StoreUnderTest};
use baldur_core::{
    BackendError, Clock, EntryId,
    command::Capture,
    name::Namespace,
    port::{CaptureError, CaptureStore, Captured, CheckDepth, EntryReader, StoreAdmin},
};
use baldur_sqlite::{SqliteConfig, SqliteStore};
use sqlx::{AssertSqlSafe, ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

/// A store, its clock, its directory, and captures for it.
pub(crate) struct Lab {
    pub(crate) store: SqliteStore,
    pub(crate) captures: Captures,
    clock: Arc<ManualClock>,
    dir: TempDir,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// A store with settings of its own.
    pub(crate) async fn with(set: impl FnOnce(SqliteConfig) -> SqliteConfig) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(ManualClock::default());
        let config = set(config(&dir.path().join("baldur.db")));
        let store = open(config, &clock).await.expect("a new file opens");
        let captures = captures(&store, &clock);
        Self { store, captures, clock, dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("baldur.db")
    }

    /// Another store on the same file, as another process would have.
    pub(crate) async fn another(&self) -> SqliteStore {
        open(config(&self.path()), &self.clock).await.expect("the file opens")
    }

    pub(crate) async fn keep(&self, capture: Capture) -> Result<Captured, CaptureError> {
        keep(&self.store, capture).await
    }

    pub(crate) async fn raw(&self) -> SqliteConnection {
        raw(&self.path()).await
    }
}

fn captures(store: &SqliteStore, clock: &Arc<ManualClock>) -> Captures {
    let close = |store: SqliteStore| async move { store.close().await };
    let namespace = store.namespace().clone();
    let under_test = StoreUnderTest::new(store.clone(), namespace, Arc::clone(clock), close);
    Captures::new(&under_test, 7)
}

pub(crate) fn config(path: &Path) -> SqliteConfig {
    SqliteConfig::new(path, Namespace::default_namespace())
}

/// Settings with a busy timeout that a test can wait for.
pub(crate) fn impatient(mut config: SqliteConfig) -> SqliteConfig {
    config.busy_timeout = Duration::from_millis(50);
    config
}

pub(crate) async fn open(
    config: SqliteConfig,
    clock: &Arc<ManualClock>,
) -> Result<SqliteStore, BackendError> {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    SqliteStore::open(config, clock).await
}

pub(crate) async fn open_at(path: &Path) -> Result<SqliteStore, BackendError> {
    open(config(path), &Arc::new(ManualClock::default())).await
}

pub(crate) async fn keep(store: &SqliteStore, capture: Capture) -> Result<Captured, CaptureError> {
    store.capture_batch(vec![capture]).await.pop().expect("one answer per capture")
}

/// A connection that knows nothing of the store.
pub(crate) async fn raw(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::from_secs(5));
    options.connect().await.expect("the file opens")
}

pub(crate) async fn run(conn: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// How many of these entries are there.
pub(crate) async fn found(store: &SqliteStore, ids: &[EntryId]) -> usize {
    let found = store.find(ids.to_vec()).await.expect("a read");
    found.into_iter().flatten().count()
}

/// What a deep check finds wrong.
pub(crate) async fn problems(store: &SqliteStore) -> Vec<String> {
    store.check(CheckDepth::Deep).await.expect("a check").problems
}
