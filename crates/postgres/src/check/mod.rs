//! Looking a store over: what can be told at once, and what takes reading everything.

mod content;
mod questions;
mod rights;
mod schema;
#[cfg(test)]
mod tests;

use baldur_core::{
    BackendError,
    port::{CheckDepth, CheckReport},
};
use sqlx::{PgConnection, Row};

use crate::{
    error::StepError,
    migrate,
    reader::{Reader, Snapshot},
};

/// Checks the store from one snapshot. A deep check takes as long as there is to read; each of its statements is short.
pub(crate) async fn check(
    reader: &Reader<'_>,
    depth: CheckDepth,
) -> Result<CheckReport, BackendError> {
    let quick = reader.within("check", async {
        let mut snapshot = reader.begin_scan().await?;
        let mut report = CheckReport::default();
        let looked = look(&mut snapshot, reader, &mut report).await;
        snapshot.end(looked).await?;
        Ok(report)
    });
    let mut report = quick.await?;
    // The questions of a deep check need the whole schema.
    if depth == CheckDepth::Deep && report.problems.is_empty() {
        content::check(reader, &mut report).await?;
    }
    Ok(report)
}

async fn look(
    snapshot: &mut Snapshot,
    reader: &Reader<'_>,
    report: &mut CheckReport,
) -> Result<(), StepError> {
    let conn = snapshot.conn();
    check_settings(conn, reader.level(), report).await?;
    rights::check(conn, report).await?;
    if report.problems.is_empty() {
        report.checked.push(format!("schema version {}, tables and indexes", migrate::NEWEST));
        report.problems.extend(migrate::problems(conn).await?);
        schema::check(conn, report).await?;
    }
    if report.problems.is_empty() {
        check_watermark(conn, reader.ns(), report).await?;
    }
    Ok(())
}

const SETTINGS: &str = "SELECT current_setting('server_version'), current_setting('fsync'), \
     current_setting('full_page_writes'), current_setting('synchronous_commit'), \
     current_setting('default_transaction_read_only'), pg_is_in_recovery()";

/// What makes an acknowledged write less than one.
async fn check_settings(
    conn: &mut PgConnection,
    level: &str,
    report: &mut CheckReport,
) -> Result<(), StepError> {
    let row = sqlx::query(SETTINGS).fetch_one(conn).await?;
    let setting = |n: usize| row.try_get::<String, _>(n);
    let (version, fsync, full_pages) = (setting(0)?, setting(1)?, setting(2)?);
    let (commit, read_only, standby) = (setting(3)?, setting(4)?, row.try_get::<bool, _>(5)?);
    report.checked.push(format!(
        "server {version}: fsync={fsync}, full_page_writes={full_pages}, \
         synchronous_commit={commit}"
    ));
    let mut wrong = |is: bool, problem: &str| {
        if is {
            report.problems.push(problem.to_owned());
        }
    };
    wrong(fsync == "off", "`fsync` is off: a crash of the machine loses what was acknowledged");
    wrong(
        full_pages == "off",
        "`full_page_writes` is off: a crash of the machine may damage the database",
    );
    // At the start it is seen, and writers then turn it on for their transactions.
    wrong(
        commit == "off" && !level.contains("local"),
        "`synchronous_commit` was turned off after the store was opened: a crash loses what was \
         acknowledged; open the store again",
    );
    wrong(standby, "the server is a standby: nothing can be written");
    wrong(
        read_only == "on",
        "`default_transaction_read_only` is on for this role or database: nothing can be written",
    );
    Ok(())
}

const WATERMARK: &str = "SELECT \
     n.folded_xid > pg_snapshot_xmax(pg_current_snapshot()), \
     EXISTS (SELECT 1 FROM baldur.counter_deltas d WHERE d.ns = n.ns AND d.xid < n.folded_xid) \
     FROM baldur.namespaces n WHERE n.ns = $1";

/// Deltas are counted from a transaction on. Numbers of transactions begin anew in another cluster.
async fn check_watermark(
    conn: &mut PgConnection,
    ns: i32,
    report: &mut CheckReport,
) -> Result<(), StepError> {
    report.checked.push("watermark of the counters".to_owned());
    let row = sqlx::query(WATERMARK).bind(ns).fetch_optional(conn).await?;
    let Some(row) = row else {
        report.problems.push("the namespace is not there any more".to_owned());
        return Ok(());
    };
    let (ahead, passed): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    if ahead {
        report.problems.push(
            "counters are folded up to a transaction that the server has not come to, as after a \
             restore into another server: open the store again"
                .to_owned(),
        );
    }
    if passed {
        report
            .problems
            .push("changes of counters are not counted: they lie before the watermark".to_owned());
    }
    Ok(())
}
