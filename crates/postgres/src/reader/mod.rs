//! Reading: each answer from one snapshot, within a time.
//!
//! A read is a transaction that can't write. Its settings go with the `BEGIN`, in one round trip, and end with it, so
//! that they hold behind a pooler too: the server stops a statement that takes too long, also when its client is gone;
//! and plans go along indexes, whatever the statistics say of a namespace that they don't know yet.

pub(crate) mod breakers;
mod entries;
pub(crate) mod evidence;
pub(crate) mod facets;
mod plan;
mod position;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, future::Future, time::Duration};

use baldur_core::{BackendError, BackendKind, EntryId, FailedOp};
use sqlx::{AssertSqlSafe, PgConnection, Postgres, SqlSafeStr, SqlStr, pool::PoolConnection};
use tokio::time::timeout;

use crate::{
    config::PostgresConfig,
    connect::give_back,
    error::{BACKEND, Phase, StepError, classify, sqlstate},
    rows::{self, op_columns, op_tables, states_by_id},
    sql::uuids,
    writer::Engine,
};

/// How much longer than the server a client waits, so that it is the server that stops a statement while it can.
const GRACE: Duration = Duration::from_secs(1);

/// By id, in no order.
pub(crate) const FIND: &str =
    concat!("SELECT ", op_columns!(), " FROM ", states_by_id!(), op_tables!(),);

/// Reads of one namespace.
pub(crate) struct Reader<'a> {
    engine: &'a Engine,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(engine: &'a Engine) -> Self {
        Self { engine }
    }

    /// The number of the namespace.
    pub(crate) fn ns(&self) -> i32 {
        self.engine.ns
    }

    /// What "stored" means on the server, as it was when the store was opened.
    pub(crate) fn level(&self) -> &'a str {
        &self.engine.level
    }

    /// The settings of the store.
    pub(crate) fn config(&self) -> &'a PostgresConfig {
        &self.engine.config
    }

    /// Begins a transaction that can't write. Waits for a connection up to the acquire timeout.
    pub(crate) async fn begin(&self) -> Result<Snapshot, StepError> {
        self.begin_by(begin(self.config(), INDEXES)).await
    }

    /// As [`Self::begin`], for statements that read everything: the server plans as it sees fit.
    pub(crate) async fn begin_scan(&self) -> Result<Snapshot, StepError> {
        self.begin_by(begin(self.config(), "")).await
    }

    async fn begin_by(&self, begin: SqlStr) -> Result<Snapshot, StepError> {
        let conn = self.engine.pool.acquire().await?;
        let mut snapshot = Snapshot { conn, open: true };
        sqlx::raw_sql(begin).execute(&mut *snapshot.conn).await?;
        Ok(snapshot)
    }

    /// Gives a read its name, and a limit to the time that it takes after it has a connection.
    pub(crate) async fn within<T>(
        &self,
        operation: &'static str,
        read: impl Future<Output = Result<T, StepError>>,
    ) -> Result<T, BackendError> {
        let PostgresConfig { acquire_timeout, statement_timeout, answer_timeout, .. } =
            self.config();
        let limit = *answer_timeout.min(&(*acquire_timeout + *statement_timeout + GRACE));
        match timeout(limit, read).await {
            Ok(read) => read.map_err(failed(operation)),
            Err(_) => Err(late(operation)),
        }
    }

    pub(crate) async fn find(
        &self,
        ids: Vec<EntryId>,
    ) -> Result<Vec<Option<FailedOp>>, BackendError> {
        self.within("find", async {
            let mut snapshot = self.begin().await?;
            let found = self.find_all(snapshot.conn(), &ids).await;
            snapshot.end(found).await
        })
        .await
    }

    async fn find_all(
        &self,
        conn: &mut PgConnection,
        ids: &[EntryId],
    ) -> Result<Vec<Option<FailedOp>>, StepError> {
        let wanted = uuids(ids.iter().copied());
        let rows = sqlx::query(FIND).bind(self.ns()).bind(&wanted[..]).fetch_all(conn).await?;
        let namespace = &self.config().namespace;
        let ops = rows.iter().map(|row| rows::op(row, namespace).map(|(op, _)| (op.id, op)));
        let ops = ops.collect::<Result<HashMap<_, _>, _>>()?;
        // An id may be asked for twice; copies of an operation share its payloads.
        Ok(ids.iter().map(|id| ops.get(id).cloned()).collect())
    }
}

/// A transaction that can't write, and sees one state of the database. Dropped before its end, it ends with its
/// connection, so that nobody gets one in the middle of a statement.
pub(crate) struct Snapshot {
    conn: PoolConnection<Postgres>,
    open: bool,
}

impl Snapshot {
    /// The connection.
    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    /// Ends the transaction, so that the connection can be used again. What was read is known already: when that fails,
    /// the connection is closed, and nothing else.
    pub(crate) async fn end<T>(mut self, read: Result<T, StepError>) -> Result<T, StepError> {
        let told = match &read {
            Ok(_) | Err(StepError::Row(_) | StepError::Again | StepError::TooManyKeys) => true,
            // The server answered, so that the connection is sound.
            Err(StepError::Sql(error)) => sqlstate(error).is_some(),
        };
        if told {
            self.open = sqlx::raw_sql("ROLLBACK").execute(&mut *self.conn).await.is_err();
        }
        read
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if self.open {
            self.conn.close_on_drop();
        } else {
            give_back(&mut self.conn);
        }
    }
}

/// Plans along indexes. A list has one sensible index, which a planner without statistics of the namespace misses; and
/// its cost must not grow with what it does not show.
pub(crate) const INDEXES: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; \
     SET LOCAL enable_indexonlyscan = off; \
     SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL enable_sort = off; \
     SET LOCAL jit = off;";

/// Begins a transaction that can't write, of one snapshot, with its settings.
fn begin(config: &PostgresConfig, plans: &'static str) -> SqlStr {
    let (statement, idle) = (config.statement_timeout, config.answer_timeout);
    let (statement, idle) = (statement.as_millis(), idle.as_millis());
    // Safe: constants and numbers.
    AssertSqlSafe(format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {statement}; \
         SET LOCAL idle_in_transaction_session_timeout = {idle}; {plans}"
    ))
    .into_sql_str()
}

/// Gives a failed read its name.
pub(crate) fn failed(operation: &'static str) -> impl Fn(StepError) -> BackendError {
    move |error| classify(operation, Phase::BeforeCommit, error)
}

/// A read took too long.
fn late(operation: &'static str) -> BackendError {
    BackendError::new(BACKEND, operation, BackendKind::Timeout).retryable().not_applied()
}
