//! What an entry costs the server: write-ahead log, old versions of rows, and room on disk.

use sqlx::{PgConnection, Row as _};

use super::{BATCH, CLAIM, Limit, Ours, STORE, server::Server};
use crate::{
    args::Plan,
    figures::{Figure, Rounds},
    load::Load,
    ours::Failure,
};

/// What the names of the figures begin with.
pub(super) const NAME: &str = "WAL";

/// What the server counted.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Bytes of the log, of the whole server.
    wal: f64,
    /// Whole pages in it: one for each page that changes for the first time after a checkpoint.
    pages: f64,
}

/// The log for a capture, and for a claim and a settle, beside that of the raw side.
pub(super) async fn run(server: &Server, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let mut captures =
        Rounds::bytes(STORE, "WAL of a capture, batches of 500", "raw INSERT … UNNEST");
    let mut claims = Rounds::bytes(
        STORE,
        "WAL of a claim and a settle, 100 at a time",
        "a bare UPDATE … RETURNING for each",
    );
    let count = plan.batch_ops;
    let mut told = (String::new(), String::new());
    for _ in 0..plan.rounds {
        let mut load = Load::new();
        let ours = Ours::fresh(server).await?;
        let mut limit = Limit::fresh(server).await?;
        let mut db = ours.database.connect().await?;
        let before = seen(&mut db).await?;
        ours.ports().capture(load.take(count), BATCH).await?;
        let after_captures = seen(&mut db).await?;
        let sizes = sizes(&mut db, count).await?;
        ours.ports().claim_and_settle(count, CLAIM).await?;
        let settled = seen(&mut db).await?;
        limit.raw.capture(&load.take(count), BATCH).await?;
        let raw_captured = seen(&mut db).await?;
        limit.raw.claim_and_settle(count, CLAIM).await?;
        let raw_settled = seen(&mut db).await?;
        captures.add(
            each(after_captures.wal - before.wal, count),
            each(raw_captured.wal - settled.wal, count),
        );
        claims.add(
            each(settled.wal - after_captures.wal, count),
            each(raw_settled.wal - raw_captured.wal, count),
        );
        let pages = (after_captures.pages - before.pages, settled.pages - after_captures.pages);
        let pages = (each(pages.0, count), each(pages.1, count));
        // The server counts the rows of a connection for good when it ends.
        ours.store.close().await;
        let dead = dead_rows(&mut db, count).await?;
        told.0 = format!("{:.3} whole pages an entry; bytes an entry on disk: {sizes}", pages.0);
        told.1 =
            format!("{:.3} whole pages an entry; old versions of rows an entry: {dead}", pages.1);
        ours.close().await?;
        limit.close().await?;
    }
    captures.note(told.0);
    claims.note(told.1);
    Ok(vec![captures.done(), claims.done()])
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn each(value: f64, count: usize) -> f64 {
    value / count as f64
}

async fn seen(db: &mut PgConnection) -> Result<Seen, Failure> {
    let row = sqlx::query(
        "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8, (SELECT wal_fpi::float8 FROM pg_stat_wal)",
    )
    .fetch_one(db)
    .await?;
    Ok(Seen { wal: row.try_get(0)?, pages: row.try_get(1)? })
}

/// Bytes of each table, with its indexes, for one entry.
async fn sizes(db: &mut PgConnection, count: usize) -> Result<String, Failure> {
    let rows = sqlx::query(
        "SELECT c.relname, pg_table_size(c.oid)::float8, pg_indexes_size(c.oid)::float8 FROM pg_class c
         WHERE c.relnamespace = 'baldur'::regnamespace AND c.relkind = 'r' AND c.reltuples <> 0
         AND pg_total_relation_size(c.oid) > 1000000
         ORDER BY pg_total_relation_size(c.oid) DESC",
    )
    .fetch_all(db)
    .await?;
    let mut total = 0.0;
    let mut parts = Vec::new();
    for row in rows {
        let (name, table, indexes): (String, f64, f64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        total += each(table + indexes, count);
        parts.push(format!("{name} {:.0} + {:.0}", each(table, count), each(indexes, count)));
    }
    Ok(format!("{total:.0} ({}, each table + indexes)", parts.join(", ")))
}

/// How many versions of rows were replaced or deleted, and how many of them without touching an index.
async fn dead_rows(db: &mut PgConnection, count: usize) -> Result<String, Failure> {
    let rows = sqlx::query(
        "SELECT relname, (n_tup_upd + n_tup_del)::float8, n_tup_hot_upd::float8 FROM pg_stat_user_tables
         WHERE schemaname = 'baldur' AND n_tup_upd + n_tup_del > 0 ORDER BY 2 DESC",
    )
    .fetch_all(db)
    .await?;
    let mut parts = Vec::new();
    for row in rows {
        let (name, dead, hot): (String, f64, f64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        parts.push(format!("{name} {:.3} (heap-only {:.3})", each(dead, count), each(hot, count)));
    }
    Ok(parts.join(", "))
}
