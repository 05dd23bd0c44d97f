//! Reads end in time, at the server too.

use std::time::Duration;

use baldur_core::{
    BackendKind, Chain, Filter, ListQuery,
    name::Namespace,
    port::{EntryReader, ReadError},
};
use baldur_postgres::{PostgresConfig, PostgresStore};
use sqlx::PgConnection;

use crate::database::{Database, run, seed};

/// How long a test waits for what must come.
const SOON: Duration = Duration::from_secs(30);

async fn open(database: &Database, set: impl FnOnce(&mut PostgresConfig)) -> PostgresStore {
    let url = database.url().parse().expect("a URL");
    let mut config = PostgresConfig::new(url, Namespace::parse("lab").expect("a namespace"));
    set(&mut config);
    PostgresStore::open(config).await.expect("it opens")
}

/// Statements of stores that run at the server now.
async fn running(conn: &mut PgConnection) -> i64 {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
         AND pid <> pg_backend_pid() AND state = 'active' AND backend_type = 'client backend'";
    sqlx::query_scalar(sql).fetch_one(conn).await.expect("a number")
}

/// Waits until so many statements run.
async fn until_running(conn: &mut PgConnection, wanted: i64) {
    let reached = async {
        while running(conn).await != wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, reached).await.expect("it comes to that");
}

/// A table that nobody can read for now.
async fn locked(database: &Database) -> PgConnection {
    let mut holder = database.connect().await;
    run(&mut holder, "BEGIN; LOCK TABLE baldur.entries IN ACCESS EXCLUSIVE MODE").await;
    holder
}

#[tokio::test]
async fn the_server_stops_a_read_that_takes_too_long() {
    let database = Database::fresh().await;
    let store = open(&database, |config| {
        config.lock_timeout = Duration::from_millis(50);
        config.statement_timeout = Duration::from_millis(200);
    })
    .await;
    let mut holder = locked(&database).await;
    let error = store.list(ListQuery::default()).await.expect_err("it can't be read");
    let ReadError::Backend(error) = error else { panic!("{error:?}") };
    assert_eq!(error.kind(), BackendKind::Timeout, "{error:?}");
    let text = Chain(&error).to_string();
    assert!(text.contains("due to statement timeout"), "the server says so: {text}");
    run(&mut holder, "ROLLBACK").await;
    // The connection is as good as before.
    assert!(store.list(ListQuery::default()).await.expect("a page").items.is_empty());
    store.close().await;
    database.remove().await;
}

#[tokio::test]
async fn a_read_whose_caller_went_away_ends_at_the_server_too() {
    let database = Database::fresh().await;
    let store = open(&database, |config| {
        config.max_connections = 2;
        config.lock_timeout = Duration::from_millis(50);
        config.statement_timeout = Duration::from_secs(2);
    })
    .await;
    let mut watcher = database.connect().await;
    let mut holder = locked(&database).await;
    for _ in 0..2 {
        let reading = store.clone();
        let read = tokio::spawn(async move { reading.list(ListQuery::default()).await });
        until_running(&mut watcher, 1).await;
        read.abort();
        assert!(read.await.expect_err("it was cancelled").is_cancelled());
        // The table is still locked: only the server's own timeout ends it.
        until_running(&mut watcher, 0).await;
    }
    run(&mut holder, "ROLLBACK").await;
    // Nobody gets a connection in the middle of a transaction.
    for _ in 0..4 {
        let page = store.list(ListQuery::default()).await.expect("a page");
        assert!(page.items.is_empty());
    }
    store.close().await;
    database.remove().await;
}

#[tokio::test]
async fn a_caller_waits_no_longer_than_the_answer_timeout() {
    let database = Database::fresh().await;
    let store = open(&database, |config| {
        // Opening the store has to be done in it too.
        config.answer_timeout = Duration::from_secs(3);
        config.statement_timeout = Duration::from_secs(8);
    })
    .await;
    let mut watcher = database.connect().await;
    let mut holder = locked(&database).await;
    let error = store.count(Filter::default(), 10).await;
    // Counters are in other tables.
    error.expect("a count");
    let error = store.list(ListQuery::default()).await.expect_err("it can't be read");
    let ReadError::Backend(error) = error else { panic!("{error:?}") };
    assert_eq!(error.kind(), BackendKind::Timeout, "{error:?}");
    until_running(&mut watcher, 0).await;
    run(&mut holder, "ROLLBACK").await;
    store.close().await;
    database.remove().await;
}

/// Pages, counts and facets of a namespace that was made by SQL agree with one another.
#[tokio::test]
async fn pages_counts_and_facets_agree() {
    let database = Database::fresh().await;
    open(&database, |_| {}).await.close().await;
    let mut conn = database.connect().await;
    run(&mut conn, "DELETE FROM baldur.namespaces").await;
    seed(&mut conn, "other", 300).await;
    seed(&mut conn, "lab", 600).await;
    let store = open(&database, |_| {}).await;
    let facets = store.facets(baldur_core::FacetScope::default()).await.expect("facets");
    for (status, count) in &facets.by_status {
        let filter = Filter { statuses: vec![*status], ..Filter::default() };
        let counted = store.count(filter.clone(), 10).await.expect("a count");
        assert_eq!(counted, baldur_core::Count::Exactly(*count));
        let limit = baldur_core::PageSize::new(7).expect("a page size");
        let mut query = ListQuery { filter, limit, ..ListQuery::default() };
        let mut walked = Vec::new();
        loop {
            let page = store.list(query.clone()).await.expect("a page");
            assert!(page.items.iter().all(|item| item.status == *status));
            walked.extend(page.items.iter().map(|item| (item.created_at, item.id)));
            let Some(next) = page.next else { break };
            query.after = Some(next);
        }
        assert_eq!(u64::try_from(walked.len()), Ok(*count));
        assert!(walked.is_sorted_by(|one, other| one > other));
    }
    assert_eq!(facets.by_status.values().sum::<u64>(), 600);
    store.close().await;
    database.remove().await;
}
