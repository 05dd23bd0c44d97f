//! What the tests share.

use std::time::Duration;

use baldur_core::name::Namespace;
use baldur_postgres::{PostgresConfig, PostgresUrl};
use baldur_services::{PostgresOptions, PostgresServer};
use secrecy::{ExposeSecret, SecretString};

/// A server of the test's own. Starting one blocks for a second or two.
pub(crate) async fn own_server() -> PostgresServer {
    own_server_with(PostgresOptions::default()).await
}

/// A server of the test's own, with these options.
pub(crate) async fn own_server_with(options: PostgresOptions) -> PostgresServer {
    tokio::task::spawn_blocking(move || PostgresServer::start(options))
        .await
        .expect("it does not panic")
        .expect("a server starts; see `cargo xtask services`")
}

/// The settings for a store at a URL.
pub(crate) fn config(url: &SecretString) -> PostgresConfig {
    let url: PostgresUrl = url.expose_secret().parse().expect("a URL");
    let mut config = PostgresConfig::new(url, Namespace::default_namespace());
    config.acquire_timeout = Duration::from_secs(20);
    config
}
