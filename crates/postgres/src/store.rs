//! The store: a handle to the pool, the writers and the readers.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use baldur_core::{BackendError, BackendKind, Clock, name::Namespace};
use sqlx::{Connection, PgConnection};
use tokio::{
    sync::{OnceCell, watch},
    time::{Instant, timeout},
};

use crate::{
    config::PostgresConfig,
    connect::{self, Level},
    error::{BACKEND, Phase, classify, closed, said},
    migrate, probe,
    time::StoreTime,
    writer::{Answers, Engine, Queues, Work, fail_all, reset},
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
    config: PostgresConfig,
    time: StoreTime,
    /// Made when the server was first reached.
    ready: OnceCell<Ready>,
    /// When the server was last looked for in vain, and what was wrong.
    failed: Mutex<Option<(Instant, BackendError)>>,
    /// Tells whoever opens it, too.
    closed: watch::Sender<bool>,
}

/// What works once the server was reached.
struct Ready {
    engine: Arc<Engine>,
    queues: Queues,
}

/// How long a server that could not be reached is left alone: callers in the meantime hear the same at once.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What the writers of a store did since it was opened: for metrics and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresStats {
    /// Transactions that were committed.
    pub commits: u64,
    /// Captures, claims, settles, acts and the like that these held; a batch counts its items.
    pub items: u64,
    /// Groups that were done again item by item, because the database refused one of theirs, or it was locked.
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
    /// - `Refused` for settings out of range, a database that is not in UTF8, and a direct URL of another database.
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

    /// Opens a store whose server may be away at this moment. Nothing is asked of it before the first call, and each call
    /// fails as [`open`](Self::open) would until the server is there: for hosts that must start in any case, and spool
    /// what can't be stored.
    ///
    /// # Errors
    ///
    /// `Refused` for settings out of range.
    pub fn open_lazily(config: PostgresConfig) -> Result<Self, BackendError> {
        Self::unopened(config, StoreTime::Server)
    }

    fn unopened(config: PostgresConfig, time: StoreTime) -> Result<Self, BackendError> {
        config.validate()?;
        let (ready, failed) = (OnceCell::new(), Mutex::new(None));
        let closed = watch::Sender::new(false);
        Ok(Self { inner: Arc::new(Inner { config, time, ready, failed, closed }) })
    }

    async fn open_by(config: PostgresConfig, time: StoreTime) -> Result<Self, BackendError> {
        let store = Self::unopened(config, time)?;
        store.ready("open").await?;
        Ok(store)
    }

    /// Closes the store: what was asked for before is finished, the connections end, and every later call on any
    /// clone fails with `Closed`. Closing again waits for the same and does nothing else.
    ///
    /// Takes as long as what is queued, at most the answer timeout.
    pub async fn close(&self) {
        let Inner { ready, closed, .. } = &*self.inner;
        closed.send_replace(true);
        // Who opens it at this moment gives up, or was just done: this waits for which of them, and opens nothing.
        if let Ok(Ready { engine, queues }) = ready.get_or_try_init(async || Err(())).await {
            queues.close(engine.config.answer_timeout).await;
            engine.close().await;
        }
    }

    /// What the writers did so far.
    pub fn stats(&self) -> PostgresStats {
        self.inner.ready.get().map(|ready| ready.engine.counts.stats()).unwrap_or_default()
    }

    /// The namespace that the store serves.
    pub fn namespace(&self) -> &Namespace {
        &self.inner.config.namespace
    }

    /// The durability level that captures are answered with, as the server is set up; `None` before it was reached.
    pub fn level(&self) -> Option<&str> {
        self.inner.ready.get().map(|ready| &*ready.engine.level)
    }

    /// What works, unless the store is closed or the server was never reached.
    async fn ready(&self, operation: &'static str) -> Result<&Ready, BackendError> {
        let Inner { config, time, ready, failed, closed: is_closed } = &*self.inner;
        if *is_closed.borrow() {
            return Err(closed(operation));
        }
        let opening = || async {
            let mut closing = is_closed.subscribe();
            let lock = || failed.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((at, error)) = &*lock()
                && at.elapsed() < LOOK_AGAIN
            {
                return Err(error.clone());
            }
            let set_up = tokio::select! {
                biased;
                // Also when it was closed before.
                _ = closing.wait_for(|closed| *closed) => return Err(closed(operation)),
                set_up = set_up(config, time) => set_up,
            };
            set_up.inspect_err(|error| *lock() = Some((Instant::now(), error.clone())))
        };
        ready.get_or_try_init(opening).await
    }

    /// What works, unless the store is closed or the server was never reached.
    pub(crate) async fn engine(
        &self,
        operation: &'static str,
    ) -> Result<&Arc<Engine>, BackendError> {
        Ok(&self.ready(operation).await?.engine)
    }

    /// The queues of writes that are committed together, and what works on them.
    pub(crate) async fn queues(
        &self,
        operation: &'static str,
    ) -> Result<(&Arc<Engine>, &Queues), BackendError> {
        let Ready { engine, queues } = self.ready(operation).await?;
        Ok((engine, queues))
    }

    /// Does a write of its own, in a task that no caller can cancel, and answers its items.
    pub(crate) async fn write<W: Work>(&self, items: Vec<W::Item>) -> Answers<W> {
        let asked = items.len();
        match self.engine(W::OPERATION).await {
            Ok(engine) => engine.write_alone::<W>(items).await,
            Err(error) => fail_all::<W>(asked, &error),
        }
    }
}

/// Reaches the server, and starts what works on it.
async fn set_up(config: &PostgresConfig, time: &StoreTime) -> Result<Ready, BackendError> {
    let mut conn = connect::direct(config).await?;
    let prepared = timeout(config.answer_timeout, prepare(&mut conn, config)).await;
    let (ns, level) = prepared.unwrap_or_else(|_| {
        let late = BackendError::new(BACKEND, "open", BackendKind::Timeout);
        Err(late.retryable())
    })?;
    // The connection did its work; how it ends changes nothing.
    let _ = timeout(config.acquire_timeout, conn.close()).await;
    let engine = Arc::new(Engine::new(config.clone(), ns, level, time.clone()));
    let queues = Queues::start(&engine);
    Ok(Ready { engine, queues })
}

/// Migrates the schema, finds the namespace, and asks how durable commits are.
async fn prepare(
    conn: &mut PgConnection,
    config: &PostgresConfig,
) -> Result<(i32, Level), BackendError> {
    let mut writer = probe::probe(&connect::options(&config.url)).await?;
    connect::check_encoding(conn).await?;
    if config.migrate {
        migrate::migrate(conn).await?;
    } else {
        let problems = migrate::problems(conn).await;
        let problems = problems.map_err(|error| classify("open", Phase::BeforeCommit, error))?;
        if let Some(problem) = problems.into_iter().next() {
            return Err(said("open", BackendKind::Corrupt, problem));
        }
    }
    let ns = migrate::namespace(conn, config.namespace.as_str()).await?;
    reset(conn, ns).await.map_err(|error| classify("open", Phase::BeforeCommit, error))?;
    // The role that writes may have other settings than the one that migrates, and must not be somewhere else.
    if migrate::number(&mut writer, config.namespace.as_str()).await? != Some(ns) {
        let sentence = "`direct_url` leads to another database than `url`";
        return Err(said("open", BackendKind::Refused, sentence));
    }
    let level = connect::level(&mut writer).await?;
    // It did its work; how it ends changes nothing.
    let _ = writer.close().await;
    Ok((ns, level))
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("url", &self.inner.config.url)
            .field("namespace", &self.inner.config.namespace)
            .field("closed", &*self.inner.closed.borrow())
            .finish_non_exhaustive()
    }
}
