//! One transaction of a writer.

use std::{collections::HashMap, sync::Arc};

use baldur_core::{EntryId, Timestamp, name::Namespace};
use sqlx::{PgConnection, Postgres, Row, pool::PoolConnection};

use super::{engine::Engine, locks::lock_number};
use crate::{
    error::{CorruptRow, StepError},
    facets::Combination,
    rows::{Standing, standing_columns, standing_tables},
    sql::uuids,
};

/// A transaction that is open. Dropped before it was committed or rolled back, it ends with its connection.
pub(crate) struct Session {
    engine: Arc<Engine>,
    conn: PoolConnection<Postgres>,
    open: bool,
    /// The number of the namespace.
    pub(crate) ns: i32,
    /// Now, by the store's clock.
    pub(crate) now: Timestamp,
    /// Combinations that this transaction met, and their numbers; everybody may know them once it is committed.
    pub(crate) learned: HashMap<Combination, i64>,
}

impl Session {
    /// Begins a transaction. Its timeouts and its time come with the same round trip.
    pub(crate) async fn begin(engine: &Arc<Engine>) -> Result<Self, StepError> {
        let conn = engine.pool.acquire().await?;
        let mut session = Self {
            engine: Arc::clone(engine),
            conn,
            open: true,
            ns: engine.ns,
            now: Timestamp::UNIX_EPOCH,
            learned: HashMap::new(),
        };
        let row = sqlx::raw_sql(engine.begin.clone()).fetch_one(&mut *session.conn).await?;
        let micros: i64 = row.try_get(0)?;
        let server = Timestamp::from_micros(micros).map_err(|_| CorruptRow {
            table: "clock",
            column: "now",
            row: micros.to_string(),
        })?;
        session.now = engine.time.now(server);
        Ok(session)
    }

    /// The connection.
    pub(crate) fn conn(&mut self) -> &mut PgConnection {
        &mut self.conn
    }

    /// The namespace that the store serves.
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.engine.config.namespace
    }

    /// The engine that began it.
    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Commits. When it fails, the connection is closed.
    pub(crate) async fn commit(mut self) -> Result<(), StepError> {
        sqlx::raw_sql("COMMIT").execute(&mut *self.conn).await?;
        self.open = false;
        self.engine.facets.learn(std::mem::take(&mut self.learned));
        Ok(())
    }

    /// Rolls back, so that the connection can be used again. When that fails, it is closed.
    pub(crate) async fn roll_back(mut self) {
        let rolled_back = sqlx::raw_sql("ROLLBACK").execute(&mut *self.conn).await;
        self.open = rolled_back.is_err();
    }

    /// Marks a place to come back to.
    pub(crate) async fn savepoint(&mut self) -> Result<(), StepError> {
        sqlx::raw_sql("SAVEPOINT item").execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Forgets the place.
    pub(crate) async fn release(&mut self) -> Result<(), StepError> {
        sqlx::raw_sql("RELEASE item").execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Goes back to the place, and forgets it.
    pub(crate) async fn rollback_to_savepoint(&mut self) -> Result<(), StepError> {
        self.learned.clear();
        sqlx::raw_sql("ROLLBACK TO item; RELEASE item").execute(&mut *self.conn).await?;
        Ok(())
    }

    /// Where these entries stand, locked until the end of the transaction, and with them the order keys that they have.
    /// Unknown ones are not there.
    pub(crate) async fn lock_standings(
        &mut self,
        ids: impl IntoIterator<Item = EntryId>,
    ) -> Result<HashMap<EntryId, Standing>, StepError> {
        let ids = uuids(ids);
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let ns = self.ns;
        sqlx::query(LOCK).bind(ns).bind(&ids[..]).execute(&mut *self.conn).await?;
        let rows =
            sqlx::query(STANDINGS).bind(ns).bind(&ids[..]).fetch_all(&mut *self.conn).await?;
        let standings = rows.iter().map(Standing::read);
        standings.map(|read| read.map(|standing| (standing.id, standing))).collect()
    }
}

/// Order keys first, by number, then rows, by id. It reads nothing: a statement that waited for a lock sees the locked
/// row as it is now, but other tables as they were before.
pub(crate) const LOCK: &str = concat!(
    "WITH keys AS MATERIALIZED (SELECT pg_advisory_xact_lock(k.n) FROM \
     (SELECT DISTINCT ",
    lock_number!("'order'", "e.order_key"),
    " AS n FROM baldur.entries e WHERE e.ns = $1 AND e.id = ANY($2) \
     AND e.order_key IS NOT NULL ORDER BY n) k) \
     SELECT 1 FROM baldur.states s \
     WHERE (SELECT count(*) FROM keys) >= 0 AND s.ns = $1 AND s.id = ANY($2) \
     ORDER BY s.id FOR NO KEY UPDATE"
);

/// Where entries stand.
pub(crate) const STANDINGS: &str = concat!(
    "SELECT ",
    standing_columns!(),
    " FROM baldur.states s",
    standing_tables!(),
    " WHERE s.ns = $1 AND s.id = ANY($2)"
);

impl Drop for Session {
    fn drop(&mut self) {
        if self.open {
            // Whatever is half-done on it ends with it, and nobody gets it from the pool.
            self.conn.close_on_drop();
        }
    }
}
