//! Databases of a test's own, on the server that the environment names. Also used by the tests inside the crate.

use baldur_services::postgres_url;
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions};

/// A namespace with a past, made by SQL: `seed.name` and `seed.rows` say which and how large.
const SEED: &str = include_str!("../seed.sql");

/// An empty database.
pub(crate) struct Database {
    server: PgConnectOptions,
    pub(crate) name: String,
}

impl Database {
    /// Makes one.
    pub(crate) async fn fresh() -> Self {
        let url: SecretString = postgres_url().expect("a server");
        let server: PgConnectOptions = url.expose_secret().parse().expect("a URL");
        let mut conn = server.connect().await.expect("the server answers");
        let name = "SELECT 'baldur_test_' || replace(gen_random_uuid()::text, '-', '')";
        let name: String =
            sqlx::query_scalar(name).fetch_one(&mut conn).await.expect("a random name");
        run(&mut conn, &format!("CREATE DATABASE {name}")).await;
        Self { server, name }
    }

    /// A connection as the owner.
    pub(crate) async fn connect(&self) -> PgConnection {
        let options = self.server.clone().database(&self.name);
        options.connect().await.expect("the server answers")
    }

    /// Its URL, with the password.
    pub(crate) fn url(&self) -> String {
        self.server.clone().database(&self.name).to_url_lossy().to_string()
    }

    /// The URL for another role.
    pub(crate) fn url_as(&self, role: &str, password: &str) -> String {
        let options = self.server.clone().database(&self.name).username(role);
        options.password(password).to_url_lossy().to_string()
    }

    /// Removes it, and whoever is connected.
    pub(crate) async fn remove(self) {
        let mut conn = self.server.connect().await.expect("the server answers");
        run(&mut conn, &format!("DROP DATABASE {} WITH (FORCE)", self.name)).await;
    }
}

/// Runs statements that give nothing back.
pub(crate) async fn run(conn: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// Adds a namespace with so many entries, and nothing wrong.
pub(crate) async fn seed(conn: &mut PgConnection, name: &str, rows: u32) {
    let set = format!("BEGIN; SET LOCAL seed.name = '{name}'; SET LOCAL seed.rows = {rows}; ");
    run(conn, &format!("{set}{SEED}COMMIT")).await;
}
