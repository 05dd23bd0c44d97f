//! Connections, and the pool of them.

use std::borrow::Cow;

use baldur_core::{BackendError, BackendKind};
use sqlx::{
    ConnectOptions, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use crate::{
    config::{PostgresConfig, PostgresUrl},
    error::{Phase, StepError, classify, said},
};

/// What the server's lists of connections call us.
const APPLICATION: &str = "baldur/postgres";

/// How to connect. Nothing is asked of the session at its start, since poolers refuse that.
pub(crate) fn options(url: &PostgresUrl) -> PgConnectOptions {
    let options = url.options().clone().extra_float_digits(None);
    if options.get_application_name().is_some() {
        options
    } else {
        options.application_name(APPLICATION)
    }
}

/// The pool. It connects when it has to.
pub(crate) fn pool(config: &PostgresConfig) -> PgPool {
    PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(config.acquire_timeout)
        // A connection that broke is noticed by the statement that meets it; writes begin with one that can be repeated.
        .test_before_acquire(true)
        .connect_lazy_with(options(&config.url))
}

/// One connection of its own, straight to the server.
pub(crate) async fn direct(config: &PostgresConfig) -> Result<PgConnection, BackendError> {
    let options = options(config.direct());
    let failed = |error| classify("open", Phase::BeforeCommit, StepError::Sql(error));
    match timeout(config.acquire_timeout, options.connect()).await {
        Ok(connected) => connected.map_err(failed),
        Err(_) => {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            Err(failed(sqlx::Error::Io(late)))
        }
    }
}

/// Refuses a database that can't hold every text: it would refuse captures one by one, for a letter in a name.
pub(crate) async fn check_encoding(conn: &mut PgConnection) -> Result<(), BackendError> {
    let failed = |error| classify("open", Phase::BeforeCommit, StepError::Sql(error));
    let encoding: String = sqlx::query_scalar("SELECT current_setting('server_encoding')")
        .fetch_one(conn)
        .await
        .map_err(failed)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    let sentence =
        format!("the database has the encoding {encoding}; make one with ENCODING 'UTF8'");
    Err(said("open", BackendKind::Refused, sentence))
}

/// What "stored" means on this server, as it is set up: such as `postgres, synchronous_commit=on`.
///
/// A role or database may have `synchronous_commit=off`, by which an acknowledged commit can be lost in a crash. Writers
/// then turn it on for their transactions, so that the level is at least `local`.
pub(crate) async fn level(conn: &mut PgConnection) -> Result<Cow<'static, str>, BackendError> {
    let failed = |error| classify("open", Phase::BeforeCommit, StepError::Sql(error));
    let (commit, fsync): (String, String) =
        sqlx::query_as("SELECT current_setting('synchronous_commit'), current_setting('fsync')")
            .fetch_one(conn)
            .await
            .map_err(failed)?;
    let commit = if commit == "off" { "local" } else { commit.as_str() };
    let unsafe_server = if fsync == "on" { "" } else { ", fsync=off" };
    Ok(format!("postgres synchronous_commit={commit}{unsafe_server}").into())
}
