//! Connections, and the pool of them.

use std::{borrow::Cow, time::Duration};

use baldur_core::{BackendError, BackendKind};
use sqlx::{
    ConnectOptions, Connection as _, PgConnection, PgPool, Postgres,
    pool::PoolConnection,
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

/// How long a connection may take to show that it lives. A network that forgot it says nothing at all.
const LIFE_SIGN: Duration = Duration::from_secs(1);

/// The pool. It connects when it has to.
pub(crate) fn pool(config: &PostgresConfig) -> PgPool {
    // Enough remains of the acquire timeout for making another one.
    let life_sign = LIFE_SIGN.min(config.acquire_timeout / 4);
    PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(config.acquire_timeout)
        // The pool's own test waits for ever.
        .test_before_acquire(false)
        .before_acquire(move |conn, _| {
            Box::pin(async move { Ok(matches!(timeout(life_sign, conn.ping()).await, Ok(Ok(())))) })
        })
        .connect_lazy_with(options(&config.url))
}

/// Gives a connection back to its pool, which asks it for a sign of life. Without one it is closed: the pool itself
/// would wait for ever, with one place less.
pub(crate) fn give_back(conn: &mut PoolConnection<Postgres>) {
    let returned = conn.return_to_pool();
    tokio::spawn(timeout(LIFE_SIGN, returned));
}

/// One connection of its own, straight to the server.
pub(crate) async fn direct(config: &PostgresConfig) -> Result<PgConnection, BackendError> {
    let options = options(config.direct());
    let failed = |error| classify("open", Phase::BeforeCommit, StepError::Sql(error));
    let connected = timeout(config.acquire_timeout, options.connect()).await;
    let late = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    connected.unwrap_or_else(|_| Err(late())).map_err(failed)
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

/// What "stored" means on a server.
#[derive(Debug)]
pub(crate) struct Level {
    /// What our transactions set `synchronous_commit` to, so that the text stays true when a role or the server is set up
    /// anew while we run.
    pub(crate) commit: &'static str,
    /// The text, such as `postgres synchronous_commit=on`.
    pub(crate) text: Cow<'static, str>,
}

/// What "stored" means on this server, as it is set up.
///
/// A role or database may have `synchronous_commit=off`, by which an acknowledged commit can be lost in a crash. Our
/// transactions use `local` then. Without `fsync` there is nothing that they could do, so the text says so.
pub(crate) async fn level(conn: &mut PgConnection) -> Result<Level, BackendError> {
    let failed = |error| classify("open", Phase::BeforeCommit, StepError::Sql(error));
    let (commit, fsync): (String, String) =
        sqlx::query_as("SELECT current_setting('synchronous_commit'), current_setting('fsync')")
            .fetch_one(conn)
            .await
            .map_err(failed)?;
    let commit = match commit.as_str() {
        "off" | "local" => "local",
        "remote_write" => "remote_write",
        "remote_apply" => "remote_apply",
        // The server's own default, also for what later versions may bring.
        _ => "on",
    };
    let unsafe_server = if fsync == "on" { "" } else { ", fsync=off" };
    let text = format!("postgres synchronous_commit={commit}{unsafe_server}").into();
    Ok(Level { commit, text })
}
