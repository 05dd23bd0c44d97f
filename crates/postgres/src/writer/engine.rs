//! What all writers share, and how a transaction is run to its end.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use baldur_core::{BackendError, BackendKind};
use sqlx::{AssertSqlSafe, PgPool, SqlSafeStr, SqlStr};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Answers, Session, Work, fold::Unfolded, limits::NearScopes, locks::MAX_KEYS, marks::Marks,
};
use crate::{
    config::PostgresConfig,
    connect::{self, Level},
    error::{
        BACKEND, Phase, StepError, classify, is_conflict, is_fault_of_row, is_lock_timeout,
        leaves_connection_usable,
    },
    facets::FacetCache,
    store::PostgresStats,
    time::StoreTime,
};

/// How often a transaction is begun again because another one was in its way.
const TRIES: usize = 8;

/// What the writers did so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    commits: AtomicU64,
    items: AtomicU64,
    isolated: AtomicU64,
    conflicts: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    pub(crate) fn stats(&self) -> PostgresStats {
        let Self { commits, items, isolated, conflicts, failed } = self;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        PostgresStats {
            commits: read(commits),
            items: read(items),
            isolated: read(isolated),
            conflicts: read(conflicts),
            failed: read(failed),
        }
    }
}

/// The pool, and what every transaction needs to know.
pub(crate) struct Engine {
    pub(crate) pool: PgPool,
    pub(crate) config: PostgresConfig,
    /// The number of the namespace.
    pub(crate) ns: i32,
    /// What "stored" means on this server.
    pub(crate) level: Cow<'static, str>,
    pub(crate) time: StoreTime,
    pub(crate) facets: FacetCache,
    pub(crate) marks: Marks,
    /// Begins a transaction with its timeouts, and answers the server's time.
    pub(crate) begin: SqlStr,
    /// How many writes run at a time.
    pub(crate) writers: Arc<Semaphore>,
    pub(crate) counts: Counts,
    /// Limits that are to be kept exactly, so that writers wait for one another.
    pub(super) near: NearScopes,
    pub(super) unfolded: Unfolded,
}

impl Engine {
    pub(crate) fn new(config: PostgresConfig, ns: i32, level: Level, time: StoreTime) -> Self {
        let pool = connect::pool(&config);
        let writers = usize::try_from(config.max_connections / 2).unwrap_or(1);
        let begin = begin(&config, level.commit);
        Self {
            pool,
            ns,
            level: level.text,
            time,
            facets: FacetCache::default(),
            marks: Marks::default(),
            begin,
            writers: Arc::new(Semaphore::new(writers)),
            counts: Counts::default(),
            near: NearScopes::default(),
            unfolded: Unfolded::default(),
            config,
        }
    }

    /// Waits for the writes that run, and ends the connections.
    pub(crate) async fn close(&self) {
        let all = self.config.max_connections / 2;
        let limit = self.config.answer_timeout;
        // Whoever holds a permit writes; the timeout is that of every write.
        let _ = timeout(limit, self.writers.acquire_many(all)).await;
        let _ = timeout(self.config.acquire_timeout, self.pool.close()).await;
    }

    /// Does a write that shares its transaction with no other caller.
    pub(crate) async fn write_alone<W: Work>(self: &Arc<Self>, items: Vec<W::Item>) -> Answers<W> {
        let asked = items.len();
        if asked == 0 {
            return Vec::new();
        }
        let engine = Arc::clone(self);
        let task = async move {
            let end = engine.end();
            match timeout_at(end, Arc::clone(&engine.writers).acquire_owned()).await {
                Ok(Ok(_permit)) => engine.write::<W>(&items, end).await,
                Ok(Err(_)) | Err(_) => fail_all::<W>(items.len(), &busy(W::OPERATION)),
            }
        };
        match tokio::spawn(task).await {
            Ok(answers) => answers,
            Err(gone) => {
                let error = BackendError::new(BACKEND, W::OPERATION, BackendKind::Other);
                fail_all::<W>(asked, &error.because(gone))
            }
        }
    }

    /// When whoever asks now is to be answered at the latest.
    pub(crate) fn end(&self) -> Instant {
        Instant::now() + self.config.answer_timeout
    }

    /// Runs transactions to their end, until `end` at most.
    pub(crate) async fn write<W: Work>(
        self: &Arc<Self>,
        items: &[W::Item],
        end: Instant,
    ) -> Answers<W> {
        self.write_parts::<W>(items, W::chunks(items), end).await.0
    }

    /// Runs a transaction for each part, one after the other. Also answers what went wrong with the database itself.
    async fn write_parts<W: Work>(
        self: &Arc<Self>,
        items: &[W::Item],
        parts: Vec<usize>,
        end: Instant,
    ) -> (Answers<W>, Option<BackendError>) {
        let mut answers = Vec::with_capacity(items.len());
        let (mut left, mut broken) = (items, None);
        for part in parts {
            let (now, later) = left.split_at(part.min(left.len()));
            left = later;
            let (told, wrong) = Box::pin(self.write_chunk::<W>(now, end)).await;
            answers.extend(told);
            broken = wrong.or(broken);
            if let Some(error) = broken.as_ref().filter(|_| W::IN_ORDER) {
                // These were not tried.
                answers.extend(fail_all::<W>(left.len(), &error.clone().not_applied()));
                break;
            }
        }
        (answers, broken)
    }

    /// Runs one transaction to its end; where fewer items at a time can go through, one for each part of them.
    async fn write_chunk<W: Work>(
        self: &Arc<Self>,
        items: &[W::Item],
        end: Instant,
    ) -> (Answers<W>, Option<BackendError>) {
        let failed = match self.write_once::<W>(items, end).await {
            Ok(answers) => return (answers, None),
            Err(failed) => failed,
        };
        let Some(most) = failed.parts.filter(|most| items.len() > *most) else {
            let broken = (!failed.fault_of_row).then(|| failed.error.clone());
            return (self.fail::<W>(items.len(), failed), broken);
        };
        if most == 1 {
            self.counts.isolated.fetch_add(1, Ordering::Relaxed);
        }
        let parts = items.chunks(most).map(<[W::Item]>::len).collect::<Vec<_>>();
        self.write_parts::<W>(items, parts, end).await
    }

    fn fail<W: Work>(
        &self,
        asked: usize,
        Failed { error, fault_of_row, parts: _ }: Failed,
    ) -> Answers<W> {
        self.counts.failed.fetch_add(1, Ordering::Relaxed);
        if fault_of_row && asked == 1 {
            return vec![Err(W::refuse(error))];
        }
        fail_all::<W>(asked, &error)
    }

    async fn write_once<W: Work>(
        self: &Arc<Self>,
        items: &[W::Item],
        end: Instant,
    ) -> Result<Answers<W>, Failed> {
        let mut phase = Phase::BeforeCommit;
        match timeout_at(end, self.try_write::<W>(items, &mut phase)).await {
            Ok(Ok(answers)) => {
                self.counts.commits.fetch_add(1, Ordering::Relaxed);
                self.counts.items.fetch_add(items.len() as u64, Ordering::Relaxed);
                self.unfolded.committed();
                Ok(answers)
            }
            Ok(Err(error)) => {
                let fault_of_row = phase == Phase::BeforeCommit && is_fault_of_row(&error);
                let of_one = fault_of_row || W::APART_WHEN_BLOCKED && is_lock_timeout(&error);
                let too_many = matches!(error, StepError::TooManyKeys);
                let parts = if of_one { Some(1) } else { too_many.then_some(MAX_KEYS) };
                Err(Failed { error: classify(W::OPERATION, phase, error), fault_of_row, parts })
            }
            Err(_) => {
                let late = BackendError::new(BACKEND, W::OPERATION, BackendKind::Timeout);
                let error = match phase {
                    // Without a commit the server rolls back when the connection ends.
                    Phase::BeforeCommit => late.retryable().not_applied(),
                    Phase::Commit => late.retryable(),
                };
                Err(Failed { error, fault_of_row: false, parts: None })
            }
        }
    }

    async fn try_write<W: Work>(
        self: &Arc<Self>,
        items: &[W::Item],
        phase: &mut Phase,
    ) -> Result<Answers<W>, StepError> {
        let mut tries = 1;
        loop {
            let mut session = Session::begin(self).await?;
            let error = match W::run(&mut session, items).await {
                Ok(answers) => {
                    *phase = Phase::Commit;
                    match session.commit().await {
                        Ok(()) => return Ok(answers),
                        Err(error) => error,
                    }
                }
                Err(error) => {
                    // Whatever may be wrong with the connection itself goes with it.
                    if leaves_connection_usable(&error) {
                        session.roll_back().await;
                    }
                    error
                }
            };
            // Each conflict is told before anything is applied, also by a commit.
            if !is_conflict(&error) || tries >= TRIES {
                return Err(error);
            }
            *phase = Phase::BeforeCommit;
            tries += 1;
            self.counts.conflicts.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A transaction that was not committed, as far as is known.
struct Failed {
    error: BackendError,
    /// The database refused a row of it.
    fault_of_row: bool,
    /// How many items at a time may go through: one, where one is at fault.
    parts: Option<usize>,
}

/// The same error for everyone.
pub(crate) fn fail_all<W: Work>(asked: usize, error: &BackendError) -> Answers<W> {
    std::iter::repeat_with(|| Err(error.clone().into())).take(asked).collect()
}

/// Nobody had time for it; nothing was changed.
pub(crate) fn busy(operation: &'static str) -> BackendError {
    BackendError::new(BACKEND, operation, BackendKind::Busy).retryable().not_applied()
}

/// All statements of writers go along indexes, by keys or in the order of an index with a limit. A planner that looks at
/// the values is misled by them: it takes a namespace that its statistics don't know for an empty one, and reads all of
/// it. So plans are made without the values, once for each connection.
const PLANS: &str = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL jit = off; \
     SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
     SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; ";

/// Settings for one transaction stand inside it, because behind a pooler the session is somebody else's afterwards.
///
/// Who waits for a lock reads what is there in the next statement. At a stricter level, which a role or a database may
/// have as its default, that would be what was there when the transaction began.
fn begin(config: &PostgresConfig, commit: &'static str) -> SqlStr {
    let (statement, lock) = (config.statement_timeout.as_millis(), config.lock_timeout.as_millis());
    let idle = config.answer_timeout.as_millis();
    // Safe: constants and numbers.
    AssertSqlSafe(format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = {statement}; \
         SET LOCAL lock_timeout = {lock}; SET LOCAL idle_in_transaction_session_timeout = {idle}; \
         SET LOCAL synchronous_commit = {commit}; {PLANS}\
         SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
    ))
    .into_sql_str()
}
