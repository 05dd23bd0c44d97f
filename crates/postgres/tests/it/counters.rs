//! Counters: deltas, their fold, and reads that are exact at every moment.

use std::time::Duration;

use baldur_core::port::CaptureStore;
use futures_util::future::join_all;
use sqlx::{Connection, PgConnection, Row};
use tokio::time::Instant;

use crate::lab::Lab;

/// By the counters, and by the rows: entries of each combination and status, live ones of each domain and in all,
/// evidence that waits.
const COUNTERS: &str = "WITH n AS (SELECT * FROM baldur.namespaces WHERE ns = $1), \
     d AS MATERIALIZED (SELECT c.* FROM baldur.counter_deltas c \
      WHERE c.ns = $1 AND c.xid >= (SELECT folded_xid FROM n)), \
     live AS MATERIALIZED (SELECT * FROM d WHERE status IN \
      ('pending', 'replaying', 'reviewing', 'requires_review')) \
     SELECT 'all' AS what, (SELECT live FROM n) + coalesce((SELECT sum(n) FROM live), 0) AS n \
     UNION ALL SELECT 'unsealed', (SELECT unsealed FROM n) + coalesce((SELECT sum(unsealed) FROM d), 0) \
     UNION ALL SELECT 'domain ' || x.domain, sum(x.n) FROM \
      (SELECT domain, n FROM live UNION ALL \
       SELECT domain, n FROM baldur.live_domains WHERE ns = $1) x GROUP BY x.domain HAVING sum(x.n) <> 0 \
     UNION ALL SELECT x.facet_key || ' ' || x.status, sum(x.n) FROM \
      (SELECT facet_key, status, n FROM d WHERE facet_key IS NOT NULL UNION ALL \
       SELECT c.facet_key, c.status, c.n FROM baldur.counters c \
       JOIN baldur.facet_keys f ON f.facet_key = c.facet_key AND f.ns = $1) x \
      GROUP BY x.facet_key, x.status HAVING sum(x.n) <> 0 ORDER BY 1";

const ROWS: &str = "WITH live AS (SELECT * FROM baldur.states WHERE ns = $1 AND status IN \
      ('pending', 'replaying', 'reviewing', 'requires_review')) \
     SELECT 'all' AS what, count(*)::numeric AS n FROM live \
     UNION ALL SELECT 'unsealed', count(*) FROM baldur.unsealed WHERE ns = $1 \
     UNION ALL SELECT 'domain ' || domain, count(*) FROM live GROUP BY domain \
     UNION ALL SELECT facet_key || ' ' || status, count(*) FROM baldur.states WHERE ns = $1 \
      GROUP BY facet_key, status ORDER BY 1";

/// Both, as one snapshot has them.
async fn both(conn: &mut PgConnection, ns: i32) -> (Vec<(String, String)>, Vec<(String, String)>) {
    let mut snapshot = conn.begin().await.expect("a transaction");
    sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .execute(&mut *snapshot)
        .await
        .expect("a snapshot");
    let mut read = Vec::new();
    for sql in [COUNTERS, ROWS] {
        let sql = format!("SELECT what, n::text FROM ({sql}) x ORDER BY 1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(ns)
            .fetch_all(&mut *snapshot)
            .await
            .expect("a read");
        read.push(rows.iter().map(|row| (row.get(0), row.get(1))).collect());
    }
    snapshot.rollback().await.expect("it ends");
    let rows = read.pop().unwrap_or_default();
    (read.pop().unwrap_or_default(), rows)
}

async fn deltas(conn: &mut PgConnection, ns: i32) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM baldur.counter_deltas WHERE ns = $1")
        .bind(ns)
        .fetch_one(conn)
        .await
        .expect("a count")
}

/// Waits until no more than these are left.
async fn until_folded(conn: &mut PgConnection, ns: i32, most: i64) {
    let late = Instant::now() + Duration::from_secs(30);
    while deltas(conn, ns).await > most {
        assert!(Instant::now() < late, "the deltas are never folded");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_exact_at_every_moment() {
    let lab = Lab::new().await;
    let other = lab.another().await;
    let mut tasks = Vec::new();
    for task in 0..16 {
        let store = if task % 2 == 0 { lab.store.clone() } else { other.clone() };
        let domain = format!("domain{}", task % 3);
        let batches: Vec<_> = (0..30)
            .map(|n| {
                let one = || lab.captures.an_op().domain(&domain).build();
                (0..=n % 4).map(|_| one()).collect::<Vec<_>>()
            })
            .collect();
        tasks.push(tokio::spawn(async move {
            for batch in batches {
                for kept in store.capture_batch(batch).await {
                    kept.expect("a capture");
                }
            }
        }));
    }
    let ns = lab.ns().await;
    let mut conn = lab.raw().await;
    let mut all = std::pin::pin!(join_all(tasks));
    let mut looks = 0;
    let done = loop {
        tokio::select! {
            done = &mut all => break done,
            (counters, rows) = both(&mut conn, ns) => {
                assert_eq!(counters, rows);
                looks += 1;
            }
        }
    };
    for done in done {
        done.expect("no panic");
    }
    assert!(looks > 0);
    // The look that was cut off has a transaction open.
    let mut conn = lab.raw().await;
    until_folded(&mut conn, ns, 0).await;
    let (counters, rows) = both(&mut conn, ns).await;
    assert_eq!(counters, rows);
    other.close().await;
    lab.store.close().await;
}

#[tokio::test]
async fn a_transaction_that_holds_the_horizon_harms_nothing() {
    let lab = Lab::new().await;
    let ns = lab.ns().await;
    let mut conn = lab.raw().await;
    let mut long = lab.raw().await;
    let mut held = long.begin().await.expect("a transaction");
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *held).await.expect("a number");
    for _ in 0..5 {
        lab.keep(lab.captures.an_op().build()).await.expect("a capture");
        let (counters, rows) = both(&mut conn, ns).await;
        assert_eq!(counters, rows);
    }
    assert_eq!(deltas(&mut conn, ns).await, 5, "none is before the horizon");
    held.rollback().await.expect("it ends");
    until_folded(&mut conn, ns, 0).await;
    let (counters, rows) = both(&mut conn, ns).await;
    assert_eq!(counters, rows);
    lab.store.close().await;
}

/// As after `pg_restore`, where the transactions of the other cluster have numbers that this one has yet to reach.
#[tokio::test]
async fn a_watermark_of_another_cluster_starts_anew() {
    let lab = Lab::new().await;
    let ns = lab.ns().await;
    let mut conn = lab.raw().await;
    for capture in lab.captures.ops(3) {
        lab.keep(capture).await.expect("a capture");
    }
    until_folded(&mut conn, ns, 0).await;
    lab.keep(lab.captures.an_op().build()).await.expect("a capture");
    lab.store.close().await;
    for sql in [
        "UPDATE baldur.namespaces SET folded_xid = '1000000000000' WHERE ns = $1",
        "UPDATE baldur.counter_deltas SET xid = '1000000000007' WHERE ns = $1",
    ] {
        sqlx::query(sql).bind(ns).execute(&mut conn).await.expect("an update");
    }
    let store = lab.another().await;
    for capture in lab.captures.ops(2) {
        store.capture_batch(vec![capture]).await.pop().expect("an answer").expect("a capture");
    }
    let (counters, rows) = both(&mut conn, ns).await;
    assert_eq!(counters, rows);
    assert_eq!(counters.iter().find(|(what, _)| what == "all").expect("it is there").1, "6");
    until_folded(&mut conn, ns, 0).await;
    let (counters, rows) = both(&mut conn, ns).await;
    assert_eq!(counters, rows);
    store.close().await;
}

/// Somebody else changes the row of the namespace while it is being folded: the fold waits, and goes on with what is there
/// then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fold_that_had_to_wait_counts_once() {
    let lab = Lab::new().await;
    let (mut host, mut witness, ns) = (lab.raw().await, lab.raw().await, lab.ns().await);
    let waits =
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid)))";
    let pid = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut host).await;
    let pid: i32 = pid.expect("a number");
    let late = Instant::now() + Duration::from_secs(30);
    let mut waited = false;
    while !waited {
        assert!(Instant::now() < late, "no fold ever comes while the row is held");
        // It is folded soon, and before that the row is held by a later transaction, which does not hold it back.
        lab.keep(lab.captures.an_op().build()).await.expect("a capture");
        let mut transaction = host.begin().await.expect("it begins");
        let touch = "UPDATE baldur.namespaces SET live = live WHERE ns = $1";
        sqlx::query(touch).bind(ns).execute(&mut *transaction).await.expect("a row");
        while !waited && deltas(&mut witness, ns).await > 0 && Instant::now() < late {
            let asked = sqlx::query_scalar(waits).bind(pid).fetch_one(&mut witness).await;
            waited = asked.expect("an answer");
        }
        transaction.commit().await.expect("it commits");
    }
    until_folded(&mut witness, ns, 0).await;
    let (counted, rows) = both(&mut witness, ns).await;
    assert_eq!(counted, rows);
    lab.store.close().await;
}
