//! Folding: what transactions added to the counters is moved into them, in the background.
//!
//! A read adds the deltas from the watermark on to the counters, in one statement, so it is exact whether they were
//! folded or not. Folding keeps that short.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use baldur_core::Chain;
use sqlx::{PgConnection, Row};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until, timeout},
};

use super::{engine::Engine, group::End, session::Session};
use crate::error::{Phase, StepError, classify};

/// How often deltas are folded while there are any.
const EVERY: Duration = Duration::from_millis(200);
/// How many new deltas are folded at once.
const MANY: u64 = 1_000;
/// How long at most to wait while a long transaction of anybody holds the watermark back, or folding fails.
const LONGEST: Duration = Duration::from_secs(5);

/// What was written since the last fold.
#[derive(Debug, Default)]
pub(crate) struct Unfolded {
    rows: AtomicU64,
    written: AtomicBool,
    any: Notify,
    many: Notify,
}

impl Unfolded {
    /// A transaction added deltas.
    pub(super) fn add(&self, rows: usize) {
        let before = self.rows.fetch_add(rows as u64, Ordering::AcqRel);
        if before < MANY && before + rows as u64 >= MANY {
            self.many.notify_one();
        }
    }

    /// A transaction was committed.
    pub(super) fn committed(&self) {
        if !self.written.swap(true, Ordering::AcqRel) {
            self.any.notify_one();
        }
    }

    /// Whether any was, since this was last asked.
    fn take(&self) -> bool {
        self.rows.store(0, Ordering::Release);
        self.written.swap(false, Ordering::AcqRel)
    }
}

/// Adds the rows of `moved` to the counters.
macro_rules! into_counters {
    () => {
        "live AS MATERIALIZED (SELECT m.domain, sum(m.n) AS n FROM moved m \
          WHERE m.status IN ('pending', 'replaying', 'reviewing', 'requires_review') \
          GROUP BY m.domain), \
         counters AS (INSERT INTO baldur.counters (facet_key, status, n) \
          SELECT m.facet_key, m.status, sum(m.n) FROM moved m WHERE m.facet_key IS NOT NULL \
          GROUP BY m.facet_key, m.status HAVING sum(m.n) <> 0 \
          ON CONFLICT (facet_key, status) DO UPDATE SET n = counters.n + excluded.n), \
         domains AS (INSERT INTO baldur.live_domains (ns, domain, n) \
          SELECT $1, l.domain, l.n FROM live l WHERE l.n <> 0 \
          ON CONFLICT (ns, domain) DO UPDATE SET n = live_domains.n + excluded.n), \
         sums AS (SELECT coalesce((SELECT sum(l.n) FROM live l), 0) AS live, \
          coalesce((SELECT sum(m.unsealed) FROM moved m), 0) AS unsealed)"
    };
}

/// Moves the deltas of finished transactions into the counters, and the watermark past them. Only one does so at a time;
/// the others leave it to that one. Answers how many were moved, and whether any may be left.
///
/// Every transaction before the snapshot's `xmin` is over, and what it committed is seen.
pub(crate) const FOLD: &str = concat!(
    "WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(\
      hashtextextended('baldur.fold', $1::bigint)) AS mine), \
     horizon AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid \
      FROM turn WHERE mine), \
     moved AS (DELETE FROM baldur.counter_deltas c USING horizon h \
      WHERE c.ns = $1 AND c.xid < h.xid \
      RETURNING c.facet_key, c.status, c.domain, c.n, c.unsealed), ",
    into_counters!(),
    ", folded AS (UPDATE baldur.namespaces n SET folded_xid = greatest(n.folded_xid, h.xid), \
      live = n.live + s.live, unsealed = n.unsealed + s.unsealed FROM horizon h, sums s \
      WHERE n.ns = $1 AND EXISTS (SELECT FROM moved)) \
     SELECT (SELECT count(*) FROM moved), \
      NOT EXISTS (SELECT FROM horizon) OR EXISTS (SELECT FROM baldur.counter_deltas c, horizon h \
       WHERE c.ns = $1 AND c.xid >= h.xid)"
);

/// Folds until the store closes or goes.
pub(super) async fn run(engine: Arc<Engine>, mut end: End) {
    let mut closing = async move || {
        let _ = end.closing.changed().await;
    };
    let work = async {
        loop {
            engine.unfolded.any.notified().await;
            while_any(&engine).await;
        }
    };
    tokio::select! {
        () = closing() => {}
        () = work => {}
    }
}

/// Folds until there is nothing left.
async fn while_any(engine: &Arc<Engine>) {
    let mut wait = EVERY;
    loop {
        let next = Instant::now() + wait;
        tokio::select! {
            () = sleep_until(next) => {}
            () = engine.unfolded.many.notified() => {}
        }
        let written = engine.unfolded.take();
        wait = match supervised(engine).await {
            Folded::All if !written => return,
            Folded::All | Folded::Some => EVERY,
            Folded::None => (wait * 2).min(LONGEST),
        };
    }
}

/// What a fold did.
enum Folded {
    /// Nothing is left.
    All,
    /// Some may be left.
    Some,
    /// It could move nothing, and some may be left.
    None,
}

/// Folds once, and tells when that fails.
async fn supervised(engine: &Arc<Engine>) -> Folded {
    let task = fold(Arc::clone(engine));
    match tokio::spawn(timeout(engine.config.answer_timeout, task)).await {
        Ok(Ok(Ok(folded))) => return folded,
        Ok(Ok(Err(error))) => {
            let error = classify("fold the counters", Phase::BeforeCommit, error);
            tracing::warn!(error = %Chain(&error), "postgres.fold_failed");
        }
        Ok(Err(_)) => tracing::warn!("postgres.fold_timed_out"),
        Err(gone) => tracing::error!(error = %gone, "postgres.fold_panicked"),
    }
    Folded::None
}

async fn fold(engine: Arc<Engine>) -> Result<Folded, StepError> {
    let mut session = Session::begin(&engine).await?;
    // Lost in a crash, it is done again: the deltas are then still there.
    sqlx::raw_sql("SET LOCAL synchronous_commit = off").execute(session.conn()).await?;
    let ns = session.ns;
    let row = sqlx::query(FOLD).bind(ns).fetch_one(session.conn()).await?;
    let (moved, left): (i64, bool) = (row.try_get(0)?, row.try_get(1)?);
    session.commit().await?;
    Ok(match (moved, left) {
        (_, false) => Folded::All,
        (1.., true) => Folded::Some,
        (_, true) => Folded::None,
    })
}

/// A database that was restored into another cluster has deltas and a watermark of transactions that this one has yet to
/// see. The deltas are moved into the counters, since nobody else of this cluster can have written them, and the
/// watermark starts anew; it is then before all deltas that are left.
pub(crate) const RESET: &str = concat!(
    "WITH ahead AS MATERIALIZED (SELECT n.ns, x.xid FROM baldur.namespaces n, \
      pg_snapshot_xmax(pg_current_snapshot()) x(xid) \
      WHERE n.ns = $1 AND (n.folded_xid > x.xid OR EXISTS (SELECT FROM baldur.counter_deltas c \
       WHERE c.ns = $1 AND c.xid >= x.xid)) FOR NO KEY UPDATE OF n), \
     moved AS (DELETE FROM baldur.counter_deltas c USING ahead a WHERE c.ns = $1 AND c.xid >= a.xid \
      RETURNING c.facet_key, c.status, c.domain, c.n, c.unsealed), ",
    into_counters!(),
    " UPDATE baldur.namespaces n SET folded_xid = '0', live = n.live + s.live, \
      unsealed = n.unsealed + s.unsealed FROM ahead a, sums s WHERE n.ns = a.ns"
);

/// Makes the watermark right, if it is not of this cluster.
pub(crate) async fn reset(conn: &mut PgConnection, ns: i32) -> Result<(), StepError> {
    let reset = sqlx::query(RESET).bind(ns).execute(conn).await?;
    if reset.rows_affected() > 0 {
        tracing::info!(namespace = ns, "postgres.counters_of_another_cluster");
    }
    Ok(())
}
