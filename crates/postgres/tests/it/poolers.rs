//! Poolers between the store and the server.

use baldur_core::{BackendKind, Chain};
use baldur_postgres::PostgresStore;
use baldur_services::{PgBouncer, PgBouncerOptions};
use secrecy::ExposeSecret;

use crate::support::{config, own_server};

/// Debian 12 has PgBouncer 1.18, which loses prepared statements in transaction mode.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_loses_statements_is_refused() {
    let server = own_server().await;
    let pooler = PgBouncer::start(&server, PgBouncerOptions::default()).expect("it starts");
    let url = pooler.url().clone();
    let mut config = config(&url);
    config.direct_url = Some(server.url().expose_secret().parse().expect("a URL"));
    let opened = PostgresStore::open(config).await;
    if pooler.version() >= (1, 21) {
        opened.expect("it keeps statements").close().await;
        return;
    }
    let error = opened.expect_err("it loses statements");
    let told = Chain(&error).to_string();
    assert_eq!(error.kind(), BackendKind::Refused, "{told}");
    assert!(told.contains("max_prepared_statements"), "{told}");
    assert!(!told.contains(server.password().expose_secret()), "{told}");
}

/// With the statements off, newer ones lose them too.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_without_prepared_statements_is_refused() {
    let server = own_server().await;
    let options = PgBouncerOptions { max_prepared_statements: 0, ..PgBouncerOptions::default() };
    let pooler = PgBouncer::start(&server, options).expect("it starts");
    let error = PostgresStore::open(config(pooler.url())).await.expect_err("it loses statements");
    assert_eq!(error.kind(), BackendKind::Refused, "{}", Chain(&error));
}

/// One server connection behind the pooler is never changed, so nothing is lost by the change.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_its_own_passes() {
    let server = own_server().await;
    let store = PostgresStore::open(config(server.url())).await.expect("it opens");
    assert_eq!(store.level(), Some("postgres synchronous_commit=on"));
    store.close().await;
}
