//! The schema, and who makes it.

use baldur_core::{BackendError, BackendKind, Chain, name::Namespace, port::EvidenceLog};
use baldur_postgres::{PostgresConfig, PostgresStore};
use sqlx::PgConnection;

use crate::database::{Database, run};

fn config(url: &str) -> PostgresConfig {
    PostgresConfig::new(url.parse().expect("a URL"), Namespace::default_namespace())
}

/// What is told when a store can't be opened.
async fn refusal(config: PostgresConfig) -> (BackendError, String) {
    let error = PostgresStore::open(config).await.expect_err("it is refused");
    let text = Chain(&error).to_string();
    (error, text)
}

async fn opened(database: &Database) -> PgConnection {
    PostgresStore::open(config(&database.url())).await.expect("it opens").close().await;
    database.connect().await
}

async fn number(conn: &mut PgConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(conn).await.expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starters_at_the_same_time_make_one_schema() {
    let database = Database::fresh().await;
    let starters: Vec<_> = (0..8)
        .map(|_| {
            let config = config(&database.url());
            tokio::spawn(async move { PostgresStore::open(config).await })
        })
        .collect();
    for starter in starters {
        let store = starter.await.expect("no panic").expect("each opens");
        store.backlog().await.expect("it works");
        store.close().await;
    }
    let mut conn = database.connect().await;
    assert_eq!(number(&mut conn, "SELECT count(*) FROM baldur.migrations").await, 2);
    assert_eq!(number(&mut conn, "SELECT count(*) FROM baldur.namespaces").await, 1);
    database.remove().await;
}

#[tokio::test]
async fn opening_again_changes_nothing() {
    let database = Database::fresh().await;
    let mut conn = opened(&database).await;
    let state = "SELECT max(xmin::text::bigint) FROM (SELECT xmin FROM baldur.migrations \
         UNION ALL SELECT xmin FROM baldur.namespaces UNION ALL SELECT xmin FROM pg_class) x";
    let before = number(&mut conn, state).await;
    opened(&database).await;
    assert_eq!(number(&mut conn, state).await, before);
    database.remove().await;
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_a_clear_text() {
    let database = Database::fresh().await;
    run(&mut opened(&database).await, "INSERT INTO baldur.migrations VALUES (3, 'later', 'x')")
        .await;
    for migrate in [true, false] {
        let mut config = config(&database.url());
        config.migrate = migrate;
        let (error, text) = refusal(config).await;
        assert_eq!(error.kind(), BackendKind::Corrupt);
        assert!(text.contains("schema version 3, this program knows up to 2"), "{text}");
    }
    database.remove().await;
}

#[tokio::test]
async fn an_edited_migration_is_refused() {
    let database = Database::fresh().await;
    run(&mut opened(&database).await, "UPDATE baldur.migrations SET digest = 'x'").await;
    let (error, text) = refusal(config(&database.url())).await;
    assert_eq!(error.kind(), BackendKind::Corrupt);
    assert!(text.contains("migration 1 (`entries`) of the database is not the one"), "{text}");
    database.remove().await;
}

/// A role without rights on the database, but with a schema that an administrator made for it.
#[tokio::test]
async fn a_role_that_owns_the_schema_needs_no_right_on_the_database() {
    let database = Database::fresh().await;
    let mut conn = database.connect().await;
    let (name, role) = (&database.name, format!("{}_role", database.name));
    run(
        &mut conn,
        &format!(
            "CREATE ROLE {role} LOGIN PASSWORD 'p'; REVOKE ALL ON DATABASE {name} FROM PUBLIC; \
         GRANT CONNECT ON DATABASE {name} TO {role}"
        ),
    )
    .await;
    let url = database.url_as(&role, "p");
    let (error, text) = refusal(config(&url)).await;
    assert_eq!(error.kind(), BackendKind::Unavailable, "{text}");
    assert!(text.contains("permission denied for database"), "{text}");
    run(&mut conn, &format!("CREATE SCHEMA baldur AUTHORIZATION {role}")).await;
    let store = PostgresStore::open(config(&url)).await.expect("the schema is its own");
    store.backlog().await.expect("it works");
    store.close().await;
    run(&mut conn, &format!("DROP OWNED BY {role} CASCADE; DROP ROLE {role}")).await;
    database.remove().await;
}

#[tokio::test]
async fn without_migrating_what_is_missing_is_named() {
    let database = Database::fresh().await;
    let config = || {
        let mut config = config(&database.url());
        config.migrate = false;
        config
    };
    let (error, text) = refusal(config()).await;
    assert_eq!(error.kind(), BackendKind::Corrupt);
    assert!(text.contains("the schema `baldur` is not there"), "{text}");
    let mut conn = database.connect().await;
    run(
        &mut conn,
        "CREATE SCHEMA baldur; CREATE TABLE baldur.migrations \
         (version bigint, name text, digest text)",
    )
    .await;
    let (_, text) = refusal(config()).await;
    assert!(text.contains("the schema has version 0, this program expects 2"), "{text}");
    database.remove().await;
}
