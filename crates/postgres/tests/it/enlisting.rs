//! Captures inside a host's own transaction.

use std::time::Duration;

use baldur_core::{
    BackendKind,
    port::{CaptureError, Captured, Durability},
};
use baldur_postgres::{PostgresStore, sqlx::Postgres};
use secrecy::SecretString;
use sqlx::{Connection, PgConnection, Transaction};
use tokio::time::Instant;

use crate::{database::Database, lab::Lab};

async fn enlist(
    lab: &Lab,
    transaction: &mut Transaction<'_, Postgres>,
) -> Result<Captured, CaptureError> {
    let capture = lab.captures.an_op().build();
    lab.store.capture_in(transaction, vec![capture]).await.pop().expect("one answer")
}

async fn waiting(conn: &mut PgConnection, ns: i32) -> i64 {
    let count = "SELECT count(*) FROM baldur.intake WHERE ns = $1";
    sqlx::query_scalar(count).bind(ns).fetch_one(conn).await.expect("a count")
}

/// Each row of the intake locks the namespace's, which the fold changes: a host whose transactions see one snapshot must
/// not be told that it can't be serialised.
#[tokio::test(flavor = "multi_thread")]
async fn a_fold_does_not_end_a_serializable_transaction_of_a_host() {
    let lab = Lab::new().await;
    let (mut host, mut witness, ns) = (lab.raw().await, lab.raw().await, lab.ns().await);
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let mut transaction = host.begin().await.expect("it begins");
        let set = format!("SET TRANSACTION ISOLATION LEVEL {level}; SELECT 1");
        sqlx::raw_sql(sqlx::AssertSqlSafe(set))
            .execute(&mut *transaction)
            .await
            .expect("a snapshot");
        let before = folded(&mut witness, ns).await;
        lab.keep(lab.captures.an_op().build()).await.expect("a capture");
        let late = Instant::now() + Duration::from_secs(30);
        while folded(&mut witness, ns).await == before {
            assert!(Instant::now() < late, "nothing is ever folded");
            tokio::task::yield_now().await;
        }
        let captured = enlist(&lab, &mut transaction).await.expect("it is taken");
        assert_eq!(captured.durability, Durability::Enlisted, "{level}");
        transaction.commit().await.expect("it commits");
    }
    assert_eq!(waiting(&mut witness, ns).await, 2);
    lab.store.close().await;
}

async fn folded(conn: &mut PgConnection, ns: i32) -> String {
    let mark = "SELECT folded_xid::text FROM baldur.namespaces WHERE ns = $1";
    sqlx::query_scalar(mark).bind(ns).fetch_one(conn).await.expect("a mark")
}

/// There the number of the namespace means another one, or none.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_on_another_database_is_refused() {
    let (one, two) = (Database::fresh().await, Database::fresh().await);
    let lab = Lab::on(SecretString::from(one.url()), |config| config).await;
    let other = Lab::on(SecretString::from(two.url()), |config| config).await;
    let mut elsewhere = two.connect().await;
    let mut transaction = elsewhere.begin().await.expect("it begins");
    let error = enlist(&lab, &mut transaction).await.expect_err("it is another database");
    let CaptureError::Backend(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), BackendKind::Refused);
    // Its own store may still use it.
    enlist(&other, &mut transaction).await.expect("it is taken");
    transaction.commit().await.expect("it commits");
    assert_eq!(waiting(&mut elsewhere, other.ns().await).await, 1);
    drop(elsewhere);
    let stores: [PostgresStore; 2] = [lab.store, other.store];
    for store in stores {
        store.close().await;
    }
    one.remove().await;
    two.remove().await;
}
