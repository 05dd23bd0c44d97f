//! The store: a handle to the pool, the writers and the readers.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use baldur_core::{BackendError, BackendKind, Clock, name::Namespace};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use crate::{
    config::PostgresConfig,
    connect::{self, Level},
    error::{closed, said},
    migrate, probe,
    time::StoreTime,
    writer::{Answers, Engine, Queued, Queues, Work, fail_all},
};

/// A store in a PostgreSQL database.
///
/// Clones share the connections. Cheap to clone, safe to share. Dropping the last clone without
/// [`close`](Self::close) loses nothing that was acknowledged.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Arc<Engine>,
    queues: Queues,
    closed: AtomicBool,
}

/// What the writers of a store did since it was opened: for metrics and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresStats {
    /// Transactions that were committed.
    pub commits: u64,
    /// Captures, claims, settles, acts and the like that these held; a batch counts its items.
    pub items: u64,
    /// Groups that were done again item by item, because the database refused one of theirs.
    pub isolated: u64,
    /// Transactions that were done again, because another one was in their way.
    pub conflicts: u64,
    /// Groups that failed as a whole.
    pub failed: u64,
}

impl PostgresStore {
    /// Opens a store by the server's clock, and makes or migrates the schema where that is needed. Must be called
    /// inside a tokio runtime, which the writers then live on.
    ///
    /// # Errors
    ///
    /// - `Refused` for settings out of range.
    /// - `Corrupt` when the schema is newer than the program, or not the program's.
    /// - `Unavailable` when the server can't be reached, or does not let us in.
    pub async fn open(config: PostgresConfig) -> Result<Self, BackendError> {
        Self::open_by(config, StoreTime::Server).await
    }

    /// Opens a store by a clock of the process, for tests: several processes would not agree on the time.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_with_clock(
        config: PostgresConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BackendError> {
        Self::open_by(config, StoreTime::Given(clock)).await
    }

    async fn open_by(config: PostgresConfig, time: StoreTime) -> Result<Self, BackendError> {
        config.validate()?;
        let mut conn = connect::direct(&config).await?;
        let limit = config.answer_timeout;
        let prepared = timeout(limit, set_up(&mut conn, &config)).await;
        let (ns, level) = prepared.unwrap_or_else(|_| {
            let late = BackendError::new(crate::error::BACKEND, "open", BackendKind::Timeout);
            Err(late.retryable())
        })?;
        // The connection did its work; how it ends changes nothing.
        let _ = timeout(config.acquire_timeout, conn.close()).await;
        let engine = Arc::new(Engine::new(config, ns, level, time));
        let queues = Queues::start(&engine);
        let closed = AtomicBool::new(false);
        Ok(Self { inner: Arc::new(Inner { engine, queues, closed }) })
    }

    /// Closes the store: what was asked for before is finished, the connections end, and every later call on any
    /// clone fails with `Closed`. Closing again waits for the same and does nothing else.
    ///
    /// Takes as long as what is queued, at most the answer timeout.
    pub async fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.queues.close(self.inner.engine.config.answer_timeout).await;
        self.inner.engine.close().await;
    }

    /// What the writers did so far.
    pub fn stats(&self) -> PostgresStats {
        self.inner.engine.counts.stats()
    }

    /// The namespace that the store serves.
    pub fn namespace(&self) -> &Namespace {
        &self.inner.engine.config.namespace
    }

    /// The durability level that captures are answered with, as the server is set up.
    pub fn level(&self) -> &str {
        &self.inner.engine.level
    }

    /// What works, unless the store is closed.
    pub(crate) fn engine(&self, operation: &'static str) -> Result<&Arc<Engine>, BackendError> {
        if self.inner.closed.load(Ordering::Acquire) {
            return Err(closed(operation));
        }
        Ok(&self.inner.engine)
    }

    /// Does a write together with others that wait at the same time, and answers its items.
    pub(crate) async fn submit<W: Queued>(&self, items: Vec<W::Item>) -> Answers<W> {
        let asked = items.len();
        match self.engine(W::OPERATION) {
            Ok(engine) => W::queue(&self.inner.queues).submit(engine, items).await,
            Err(error) => fail_all::<W>(asked, &error),
        }
    }

    /// Does a write of its own, in a task that no caller can cancel, and answers its items.
    pub(crate) async fn write<W: Work>(&self, items: Vec<W::Item>) -> Answers<W> {
        let asked = items.len();
        match self.engine(W::OPERATION) {
            Ok(engine) => engine.write_alone::<W>(items).await,
            Err(error) => fail_all::<W>(asked, &error),
        }
    }
}

/// Migrates the schema, finds the namespace, and asks how durable commits are.
async fn set_up(
    conn: &mut PgConnection,
    config: &PostgresConfig,
) -> Result<(i32, Level), BackendError> {
    probe::probe(&connect::options(&config.url)).await?;
    if config.migrate {
        migrate::migrate(conn).await?;
    } else if let Some(problem) = migrate::problems(conn)
        .await
        .map_err(|error| crate::error::classify("open", crate::error::Phase::BeforeCommit, error))?
        .into_iter()
        .next()
    {
        return Err(said("open", BackendKind::Corrupt, problem));
    }
    let ns = migrate::namespace(conn, config.namespace.as_str()).await?;
    let level = connect::level(conn).await?;
    Ok((ns, level))
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("url", &self.inner.engine.config.url)
            .field("namespace", &self.inner.engine.config.namespace)
            .field("closed", &self.inner.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
