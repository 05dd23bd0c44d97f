//! Reading: a small pool of connections that can't write, each answer from one snapshot.

pub(crate) mod breakers;
mod entries;
pub(crate) mod evidence;
pub(crate) mod facets;
mod plan;
mod position;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use baldur_core::{BackendError, EntryId, FailedOp, name::Namespace};
use sqlx::{Sqlite, SqlitePool, pool::PoolConnection};

use crate::{
    error::{Phase, StepError, classify},
    rows::{self, op_columns},
    sql::json_ids,
};

/// The readers of one namespace.
pub(crate) struct Reader {
    pool: SqlitePool,
    ns: i64,
    namespace: Namespace,
}

const FIND: &str = concat!(
    "SELECT ",
    op_columns!(),
    " FROM json_each(?1) j CROSS JOIN entries e INDEXED BY entries_id \
     ON e.ns = ?2 AND e.id = unhex(j.value) CROSS JOIN payloads p ON p.seq = e.seq"
);

impl Reader {
    pub(crate) fn new(pool: SqlitePool, ns: i64, namespace: Namespace) -> Self {
        Self { pool, ns, namespace }
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) fn ns(&self) -> i64 {
        self.ns
    }

    /// A connection. Waits for a free one up to the busy timeout.
    pub(crate) async fn conn(&self) -> Result<PoolConnection<Sqlite>, StepError> {
        Ok(self.pool.acquire().await?)
    }

    pub(crate) async fn find(
        &self,
        ids: Vec<EntryId>,
    ) -> Result<Vec<Option<FailedOp>>, BackendError> {
        self.find_all(&ids).await.map_err(failed("find"))
    }

    async fn find_all(&self, ids: &[EntryId]) -> Result<Vec<Option<FailedOp>>, StepError> {
        let rows = sqlx::query(FIND)
            .bind(json_ids(ids.iter().copied()))
            .bind(self.ns)
            .fetch_all(&mut *self.conn().await?)
            .await?;
        let ops =
            rows.iter().map(|row| rows::op(row, &self.namespace).map(|(_, op, _)| (op.id, op)));
        let ops = ops.collect::<Result<HashMap<_, _>, _>>()?;
        // An id may be asked for twice; copies of an operation share its payloads.
        Ok(ids.iter().map(|id| ops.get(id).cloned()).collect())
    }
}

/// Gives a failed read its name.
pub(crate) fn failed(operation: &'static str) -> impl Fn(StepError) -> BackendError {
    move |error| classify(operation, Phase::BeforeCommit, error)
}

/// The statement of [`Reader::find`], for the tests of plans.
#[cfg(test)]
pub(crate) fn find_sql() -> &'static str {
    FIND
}
