//! The store: a handle to the writer and the readers.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use baldur_core::{BackendError, BackendKind, Clock, Timestamp, name::Namespace};
use sqlx::{Connection, SqliteConnection};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{
    config::SqliteConfig,
    connect,
    error::{BACKEND, Phase, StepError, classify, closed, said},
    files, migrate,
    reader::Reader,
    writer::{Answers, Batched, Command, Counts, Session, Work, Write, Writer, WriterSettings},
};

/// The durability that captures are answered with.
pub(crate) const LEVEL: &str = "sqlite wal, synchronous=full";

/// A store in a SQLite file.
///
/// Clones share the writer and the readers. Cheap to clone, safe to share. Dropping the last clone without
/// [`close`](Self::close) loses nothing that was acknowledged.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    config: SqliteConfig,
    clock: Arc<dyn Clock>,
    commands: mpsc::Sender<Command>,
    reader: Reader,
    counts: Arc<Counts>,
    closed: AtomicBool,
    /// Its sender lives as long as the writer.
    finished: watch::Receiver<()>,
}

/// What the writer of a store did since it was opened: for metrics and tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteStats {
    /// Transactions that were committed.
    pub commits: u64,
    /// Captures, claims, settles, acts and the like that these held; a batch counts its items.
    pub items: u64,
    /// Groups that were done again item by item, because the database refused one of theirs.
    pub isolated: u64,
    /// Groups that failed as a whole.
    pub rollbacks: u64,
}

impl SqliteStore {
    /// The durability level that captures are answered with.
    pub const LEVEL: &'static str = LEVEL;

    /// Opens a store, and makes or migrates the file where that is needed. Must be called inside a tokio runtime,
    /// which the writer then lives on.
    ///
    /// # Errors
    ///
    /// - `Refused` for settings out of range.
    /// - `Corrupt` when the file is no database, holds another program's tables, or has a newer schema.
    /// - `Busy` when others held the file for longer than the busy timeout.
    /// - `Unavailable`, `Full`, `ReadOnly` when the file can't be made, opened or written.
    pub async fn open(config: SqliteConfig, clock: Arc<dyn Clock>) -> Result<Self, BackendError> {
        config.validate()?;
        files::prepare(config.path.clone()).await?;
        let mut conn = connect::writer(&config)
            .await
            .map_err(|error| classify("open", Phase::BeforeCommit, StepError::from(error)))?;
        let ns = match set_up(&mut conn, &config.namespace).await {
            Ok(ns) => ns,
            Err(error) => {
                // The error at hand is the one to report.
                let _ = conn.close().await;
                return Err(error);
            }
        };
        let counts = Arc::new(Counts::default());
        let (commands, queue) = mpsc::channel(config.queue);
        let (alive, finished) = watch::channel(());
        let session = Session::new(config.clone(), conn, ns, Arc::clone(&clock));
        let writer = Writer::new(session, config.max_rows_per_commit, Arc::clone(&counts));
        tokio::spawn(async move {
            writer.run(queue).await;
            drop(alive);
        });
        let reader = Reader::new(connect::readers(&config), ns, config.namespace.clone());
        let closed = AtomicBool::new(false);
        let inner = Inner { config, clock, commands, reader, counts, closed, finished };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Closes the store: what was asked for before is finished, the log is written back into the database, and every
    /// later call on any clone fails with `Closed`. Closing again waits for the same and does nothing else.
    ///
    /// Takes as long as what is queued, at most the busy timeout for each commit and for reads that run.
    pub async fn close(&self) {
        let Inner { config, commands, reader, closed, finished, .. } = &*self.inner;
        if !closed.swap(true, Ordering::AcqRel) {
            // Readers first: the last connection to close tidies the files up, and should be able to write.
            // A read that outlasts the timeout ends by itself later.
            let _ = timeout(config.busy_timeout, reader.close()).await;
            // It fails only when the writer is gone already.
            let _ = commands.send(Command::Close).await;
        }
        // It never sends: this ends when the writer has.
        let _ = finished.clone().changed().await;
    }

    /// What the writer did so far.
    pub fn stats(&self) -> SqliteStats {
        let Counts { commits, items, isolated, rollbacks } = &*self.inner.counts;
        SqliteStats {
            commits: commits.load(Ordering::Relaxed),
            items: items.load(Ordering::Relaxed),
            isolated: isolated.load(Ordering::Relaxed),
            rollbacks: rollbacks.load(Ordering::Relaxed),
        }
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.config.path
    }

    /// The namespace that the store serves.
    pub fn namespace(&self) -> &Namespace {
        &self.inner.config.namespace
    }

    /// What reads, unless the store is closed.
    pub(crate) fn reader(&self, operation: &'static str) -> Result<&Reader, BackendError> {
        self.check_open(operation)?;
        Ok(&self.inner.reader)
    }

    /// Now, by the store's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    fn check_open(&self, operation: &'static str) -> Result<(), BackendError> {
        if self.inner.closed.load(Ordering::Acquire) { Err(closed(operation)) } else { Ok(()) }
    }

    /// Sends items to the writer and waits for its answers, one for each.
    pub(crate) async fn submit<W: Work>(&self, items: Vec<W::Item>) -> Answers<W>
    where
        Write: From<Batched<W>>,
    {
        let asked = items.len();
        if asked == 0 {
            return Vec::new();
        }
        let (batch, answers) = Batched::<W>::new(items);
        let answered = async {
            self.send(W::OPERATION, Command::Write(batch.into())).await?;
            // The writer answers everything that it took. Without an answer it died on the way, or the disk hangs.
            match timeout(self.inner.config.answer_timeout, answers).await {
                Ok(answers) => answers.map_err(|gone| gone_writer(W::OPERATION).because(gone)),
                Err(_) => {
                    Err(BackendError::new(BACKEND, W::OPERATION, BackendKind::Timeout).retryable())
                }
            }
        };
        match answered.await {
            Ok(answers) => answers,
            Err(error) => {
                std::iter::repeat_with(|| Err(error.clone().into())).take(asked).collect()
            }
        }
    }

    /// How the writer's connection is set up.
    pub(crate) async fn writer_settings(&self) -> Result<WriterSettings, BackendError> {
        let (reply, answer) = oneshot::channel();
        self.send("check", Command::Settings(reply)).await?;
        answer.await.map_err(|gone| gone_writer("check").because(gone))?
    }

    async fn send(&self, operation: &'static str, command: Command) -> Result<(), BackendError> {
        self.check_open(operation)?;
        let Inner { config, commands, .. } = &*self.inner;
        match timeout(config.busy_timeout, commands.send(command)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(closed(operation)),
            Err(_) => {
                let full = "the queue of the writer stayed full for the busy timeout";
                Err(said(operation, BackendKind::Busy, full).retryable())
            }
        }
    }
}

fn gone_writer(operation: &'static str) -> BackendError {
    BackendError::new(BACKEND, operation, BackendKind::Unavailable)
}

/// Migrates the file, finds the namespace, and makes sure that commits will be durable.
async fn set_up(conn: &mut SqliteConnection, namespace: &Namespace) -> Result<i64, BackendError> {
    migrate::migrate(conn).await?;
    let ns = migrate::namespace(conn, namespace.as_str()).await?;
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(conn)
        .await
        .map_err(|error| classify("open", Phase::BeforeCommit, StepError::from(error)))?;
    if mode == "wal" {
        Ok(ns)
    } else {
        let sentence = "the file system does not support SQLite's write-ahead log";
        Err(said("open", BackendKind::Refused, sentence))
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.inner.config.path)
            .field("namespace", &self.inner.config.namespace)
            .field("closed", &self.inner.closed.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }
}
