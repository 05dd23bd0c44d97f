//! The server, and databases on it: each side of a figure has one of its own, so that neither meets what the other left.

use std::sync::atomic::{AtomicUsize, Ordering};

use baldur_services::{PostgresOptions, PostgresServer, postgres_url};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions,
};

use crate::ours::Failure;

/// Numbers the databases of this process.
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// A PostgreSQL.
#[derive(Debug)]
pub(super) struct Server {
    options: PgConnectOptions,
    /// Ours alone; dropped, it is gone.
    private: Option<PostgresServer>,
}

impl Server {
    /// The one that the environment names, or a new one.
    pub(super) async fn start() -> Result<Self, Failure> {
        if let Ok(url) = postgres_url() {
            return Ok(Self { options: url.expose_secret().parse()?, private: None });
        }
        let start = || PostgresServer::start(PostgresOptions::default());
        let private = tokio::task::spawn_blocking(start).await??;
        let options = private.url().expose_secret().parse()?;
        Ok(Self { options, private: Some(private) })
    }

    /// An empty database.
    pub(super) async fn database(&self) -> Result<Database, Failure> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("baldur_bench_{}_{number}", std::process::id());
        let mut conn = self.options.connect().await?;
        // Safe: the name is made here.
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut conn).await?;
        conn.close().await?;
        Ok(Database { server: self.options.clone(), name })
    }

    /// Ends the server if it is ours.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        if let Some(private) = self.private {
            tokio::task::spawn_blocking(move || drop(private)).await?;
        }
        Ok(())
    }
}

/// A database of a bench.
#[derive(Debug)]
pub(super) struct Database {
    server: PgConnectOptions,
    name: String,
}

impl Database {
    /// How others connect.
    pub(super) fn url(&self) -> SecretString {
        let url = self.server.clone().database(&self.name).to_url_lossy();
        SecretString::from(url.to_string())
    }

    pub(super) async fn connect(&self) -> Result<PgConnection, Failure> {
        Ok(self.server.clone().database(&self.name).connect().await?)
    }

    /// Gathers statistics, as the server does by itself within a minute.
    pub(super) async fn analyze(&self) -> Result<(), Failure> {
        let mut conn = self.connect().await?;
        sqlx::raw_sql("ANALYZE").execute(&mut conn).await?;
        Ok(conn.close().await?)
    }

    /// Removes it with all that is in it.
    pub(super) async fn remove(self) -> Result<(), Failure> {
        let mut conn = self.server.connect().await?;
        let sql = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        // Safe: the name was made here.
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await?;
        Ok(conn.close().await?)
    }
}
