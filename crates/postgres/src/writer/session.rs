//! One transaction of a writer.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use baldur_core::{EntryId, Timestamp, name::Namespace};
use sqlx::{
    PgConnection, Postgres, Row, pool::PoolConnection, postgres::PgArguments, query::Query,
};

use super::{
    engine::Engine,
    locks::{MAX_KEYS, lock_number},
};
use crate::{
    connect::give_back,
    error::{CorruptRow, StepError},
    facets::Combination,
    rows::{Standing, standing_columns, standing_tables, states_by_id},
    sql::{limit, uuids},
};

/// Asks the server's time, in microseconds.
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

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
    /// Rows of `states` that this transaction is known to have locked.
    pub(crate) locked: HashSet<EntryId>,
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
            locked: HashSet::new(),
        };
        let row = sqlx::raw_sql(engine.begin.clone()).fetch_one(&mut *session.conn).await?;
        let micros: i64 = row.try_get(0)?;
        session.now = engine.time.now(server_time(micros)?);
        Ok(session)
    }

    /// Asks for the time again when somebody else, whom this transaction waited for, wrote at a later one: the times of
    /// an entry then don't go back.
    pub(crate) async fn catch_up(
        &mut self,
        written_at: Option<Timestamp>,
    ) -> Result<(), StepError> {
        if written_at.is_some_and(|at| at > self.now) {
            let micros: i64 = sqlx::query_scalar(CLOCK).fetch_one(&mut *self.conn).await?;
            self.now = self.engine.time.now(server_time(micros)?);
        }
        Ok(())
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

    /// Where these entries stand, locked until the end of the transaction, and with them the order keys that they have.
    /// Unknown ones are not there. [`StepError::TooManyKeys`] when they may have more keys than a transaction locks.
    pub(crate) async fn lock_standings(
        &mut self,
        ids: impl IntoIterator<Item = EntryId>,
    ) -> Result<HashMap<EntryId, Standing>, StepError> {
        let ids = uuids(ids);
        let query = sqlx::query(LOCK).bind(self.ns).bind(&ids[..]).bind(limit(MAX_KEYS));
        let standings = self.standings_by(query, ids.is_empty()).await?;
        // Perhaps there are no such entries; fewer of them at a time find out.
        if standings.is_empty() && ids.len() > MAX_KEYS {
            return Err(StepError::TooManyKeys);
        }
        Ok(standings)
    }

    /// As [`Self::lock_standings`], without the order keys: for who changes nothing that decides which entry of a key
    /// comes first.
    pub(crate) async fn lock_rows(
        &mut self,
        ids: impl IntoIterator<Item = EntryId>,
    ) -> Result<HashMap<EntryId, Standing>, StepError> {
        let ids = uuids(ids);
        let query = sqlx::query(LOCK_ROWS).bind(self.ns).bind(&ids[..]);
        self.standings_by(query, ids.is_empty()).await
    }

    async fn standings_by(
        &mut self,
        query: Query<'_, Postgres, PgArguments>,
        is_empty: bool,
    ) -> Result<HashMap<EntryId, Standing>, StepError> {
        if is_empty {
            return Ok(HashMap::new());
        }
        let rows = query.fetch_all(&mut *self.conn).await?;
        let mut standings = HashMap::with_capacity(rows.len());
        let mut changed = Vec::new();
        for row in &rows {
            let (standing, mut rest) = Standing::read_with_rest(row)?;
            let seen: Option<u64> = rest.get::<Option<i64>>()?.and_then(|n| u64::try_from(n).ok());
            if seen != Some(standing.state.evidence_count) {
                changed.push(standing.id);
            }
            standings.insert(standing.id, standing);
        }
        self.locked.extend(standings.keys().copied());
        if !changed.is_empty() {
            for standing in self.standings(changed).await? {
                standings.insert(standing.id, standing);
            }
        }
        self.catch_up(standings.values().map(|standing| standing.state.updated_at).max()).await?;
        Ok(standings)
    }

    /// Where entries stand that were locked before.
    pub(crate) async fn standings(
        &mut self,
        ids: impl IntoIterator<Item = EntryId>,
    ) -> Result<Vec<Standing>, StepError> {
        let (ns, ids) = (self.ns, uuids(ids));
        let rows =
            sqlx::query(STANDINGS).bind(ns).bind(&ids[..]).fetch_all(&mut *self.conn).await?;
        rows.iter().map(Standing::read).collect()
    }
}

fn server_time(micros: i64) -> Result<Timestamp, CorruptRow> {
    Timestamp::from_micros(micros).map_err(|_| CorruptRow {
        table: "clock",
        column: "now",
        row: micros.to_string(),
    })
}

/// Locks rows, by id, and reads where they stand in the same statement. They are locked one after the other, since a lookup in
/// a subquery is made for each id in turn.
///
/// A statement that waited for a lock sees the locked row as it is now, but other tables as they were when it began: the
/// attempts may be old ones. Whatever adds an attempt also counts evidence, so the last column says how much of that
/// there was when the statement began. Rows where it differs are read again.
macro_rules! lock_and_read {
    ($before:expr, $when:literal) => {
        concat!(
            "WITH ",
            $before,
            "locked AS MATERIALIZED (SELECT s.* FROM \
             (SELECT DISTINCT u.id FROM unnest($2::uuid[]) u(id) ORDER BY u.id) v CROSS JOIN LATERAL \
             (SELECT x.* FROM baldur.states x WHERE ",
            $when,
            "x.ns = $1 AND x.id = v.id FOR NO KEY UPDATE OF x) s) SELECT ",
            standing_columns!(),
            ", o.evidence_count FROM locked s",
            standing_tables!(),
            " LEFT JOIN LATERAL (SELECT x.evidence_count FROM baldur.states x \
             WHERE x.ns = s.ns AND x.id = s.id OFFSET 0) o ON true"
        )
    };
}

/// Order keys first, by number, then rows. Above [`MAX_KEYS`] keys it takes none and finds no row.
pub(crate) const LOCK: &str = lock_and_read!(
    concat!(
        "keys AS MATERIALIZED (SELECT DISTINCT ",
        lock_number!("'order'", "k.order_key"),
        " AS n FROM unnest($2::uuid[]) u(id) CROSS JOIN LATERAL (SELECT x.order_key \
         FROM baldur.states x WHERE x.ns = $1 AND x.id = u.id OFFSET 0) k \
         WHERE k.order_key IS NOT NULL), \
         held AS MATERIALIZED (SELECT pg_advisory_xact_lock(k.n) FROM \
         (SELECT n FROM keys WHERE (SELECT count(*) FROM keys) <= $3 ORDER BY n) k), "
    ),
    "(SELECT count(*) FROM keys) <= $3 AND (SELECT count(*) FROM held) >= 0 AND "
);

/// Rows only.
pub(crate) const LOCK_ROWS: &str = lock_and_read!("", "");

/// Where entries stand.
pub(crate) const STANDINGS: &str =
    concat!("SELECT ", standing_columns!(), " FROM ", states_by_id!(), standing_tables!(),);

impl Drop for Session {
    fn drop(&mut self) {
        if self.open {
            // Whatever is half-done on it ends with it, and nobody gets it from the pool.
            self.conn.close_on_drop();
        } else {
            give_back(&mut self.conn);
        }
    }
}
