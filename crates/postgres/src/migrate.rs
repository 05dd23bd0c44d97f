//! The schema: migrations that are only ever added to, run by whoever opens a database first.

use baldur_core::{BackendError, BackendKind, Digest};
use sqlx::{Connection, PgConnection, Row};

use crate::error::{Phase, Sentence, StepError, classify, said};

/// One step of the schema.
#[derive(Debug)]
struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

/// All of them, in order. A released one is never edited: its digest is stored in each database that it ran on.
const MIGRATIONS: [Migration; 2] = [
    Migration { version: 1, name: "entries", sql: include_str!("../migrations/0001_entries.sql") },
    Migration { version: 2, name: "intake", sql: include_str!("../migrations/0002_intake.sql") },
];

/// The version of the schema that this program works with.
pub(crate) const NEWEST: i64 = 2;

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS baldur.migrations (
    version    bigint PRIMARY KEY,
    name       text   NOT NULL,
    digest     text   NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)";

/// Whoever migrates holds this advisory lock, `baldur` in ASCII: starters that come at the same time wait for one
/// another. It ends with the transaction, so no session state is left behind a pooler.
const LOCK: &str = "SELECT pg_advisory_xact_lock(108170603063666)";

fn failed(error: sqlx::Error) -> BackendError {
    classify("open", Phase::BeforeCommit, StepError::from(error))
}

/// Brings the schema to [`NEWEST`], in one transaction.
pub(crate) async fn migrate(conn: &mut PgConnection) -> Result<(), BackendError> {
    if applied(conn).await.map_err(failed)?.is_some_and(|applied| check(&applied) == Ok(NEWEST)) {
        return Ok(());
    }
    // Whatever the default is: what is read after the lock must be as new as that.
    let begin = "BEGIN ISOLATION LEVEL READ COMMITTED";
    let mut transaction = conn.begin_with(begin).await.map_err(failed)?;
    run(&mut transaction).await?;
    transaction
        .commit()
        .await
        .map_err(|error| classify("open", Phase::Commit, StepError::from(error)))
}

async fn run(conn: &mut PgConnection) -> Result<(), BackendError> {
    sqlx::query(LOCK).execute(&mut *conn).await.map_err(failed)?;
    // `IF NOT EXISTS` still asks for the right to create it, which an administrator may have used already.
    let exists: bool = sqlx::query_scalar("SELECT to_regnamespace('baldur') IS NOT NULL")
        .fetch_one(&mut *conn)
        .await
        .map_err(failed)?;
    if !exists {
        sqlx::query("CREATE SCHEMA baldur").execute(&mut *conn).await.map_err(failed)?;
    }
    sqlx::query(CREATE_TABLE).execute(&mut *conn).await.map_err(failed)?;
    let applied = applied(conn).await.map_err(failed)?.unwrap_or_default();
    let version = check(&applied)
        .map_err(|Sentence(sentence)| said("open", BackendKind::Corrupt, sentence))?;
    for Migration { version, name, sql } in MIGRATIONS.iter().filter(|m| m.version > version) {
        sqlx::raw_sql(*sql).execute(&mut *conn).await.map_err(failed)?;
        sqlx::query("INSERT INTO baldur.migrations (version, name, digest) VALUES ($1, $2, $3)")
            .bind(*version)
            .bind(*name)
            .bind(Digest::of(sql.as_bytes()).to_string())
            .execute(&mut *conn)
            .await
            .map_err(failed)?;
    }
    Ok(())
}

/// A migration that ran: version, name, digest.
type Applied = (i64, String, String);

/// What ran; `None` when the table of migrations is not there. Asks first: an error would end the transaction.
async fn applied(conn: &mut PgConnection) -> Result<Option<Vec<Applied>>, sqlx::Error> {
    let there = "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace \
         WHERE s.nspname = 'baldur' AND c.relname = 'migrations')";
    if !sqlx::query_scalar::<_, bool>(there).fetch_one(&mut *conn).await? {
        return Ok(None);
    }
    let read = "SELECT version, name, digest FROM baldur.migrations ORDER BY version";
    let rows = sqlx::query(read).fetch_all(conn).await?;
    let read =
        |row: &sqlx::postgres::PgRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
    rows.iter().map(read).collect::<Result<_, _>>().map(Some)
}

/// Compares what ran with what this program knows. Answers the version of the schema.
fn check(applied: &[Applied]) -> Result<i64, Sentence> {
    for (expected, (version, name, digest)) in (1..).zip(applied) {
        if *version != expected {
            return Err(Sentence(format!("migration {expected} is missing").into()));
        }
        let Some(known) = MIGRATIONS.iter().find(|m| m.version == *version) else {
            return Err(Sentence(
                format!(
                    "the database has schema version {newest}, this program knows up to \
                     {NEWEST}: use a newer program",
                    newest = applied.len()
                )
                .into(),
            ));
        };
        if known.name != name || Digest::of(known.sql.as_bytes()).to_string() != *digest {
            return Err(Sentence(
                format!(
                    "migration {version} (`{name}`) of the database is not the one of this program"
                )
                .into(),
            ));
        }
    }
    Ok(i64::try_from(applied.len()).unwrap_or(i64::MAX))
}

/// What is wrong with the version of the schema.
pub(crate) async fn problems(conn: &mut PgConnection) -> Result<Vec<String>, StepError> {
    let Some(applied) = applied(conn).await? else {
        return Ok(vec!["the schema `baldur` is not there".to_owned()]);
    };
    Ok(match check(&applied) {
        Ok(NEWEST) => Vec::new(),
        Ok(version) => {
            vec![format!("the schema has version {version}, this program expects {NEWEST}")]
        }
        Err(Sentence(sentence)) => vec![sentence.into_owned()],
    })
}

/// The number of the namespace, given at its first use. Numbers stay: rows refer to them.
pub(crate) async fn namespace(conn: &mut PgConnection, name: &str) -> Result<i32, BackendError> {
    if let Some(ns) = number(conn, name).await? {
        return Ok(ns);
    }
    sqlx::query("INSERT INTO baldur.namespaces (name) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(name)
        .execute(&mut *conn)
        .await
        .map_err(failed)?;
    number(conn, name).await?.ok_or_else(|| failed(sqlx::Error::RowNotFound))
}

/// The number of the namespace, if it was ever used.
pub(crate) async fn number(
    conn: &mut PgConnection,
    name: &str,
) -> Result<Option<i32>, BackendError> {
    let find = "SELECT ns FROM baldur.namespaces WHERE name = $1";
    sqlx::query_scalar(find).bind(name).fetch_optional(conn).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use baldur_services::{PgBouncer, PgBouncerOptions, PostgresOptions, PostgresServer};
    use secrecy::ExposeSecret;
    use sqlx::{ConnectOptions, Executor, postgres::PgConnectOptions};

    use super::*;

    /// Behind a pooler in transaction mode a lock of the session would stay with the server connection, and whoever got
    /// that next would pass it.
    #[tokio::test(flavor = "multi_thread")]
    async fn the_lock_holds_behind_a_pooler_and_ends_with_its_transaction() {
        let start = tokio::task::spawn_blocking(|| {
            let server = PostgresServer::start(PostgresOptions::default()).expect("it starts");
            let pooler = PgBouncer::start(&server, PgBouncerOptions::default()).expect("it starts");
            (server, pooler)
        });
        let (server, pooler) = start.await.expect("no panic");
        let options = |url: &str| -> PgConnectOptions {
            url.parse::<PgConnectOptions>().expect("a URL").extra_float_digits(None)
        };
        let behind = options(pooler.url().expose_secret());
        let (mut one, mut two) = (behind.connect().await, behind.connect().await);
        let (one, two) = (one.as_mut().expect("connected"), two.as_mut().expect("connected"));
        let mut watcher = options(server.url().expose_secret()).connect().await.expect("connected");
        let waiting = async |conn: &mut PgConnection, granted: bool| -> i64 {
            let locks =
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted = $1";
            sqlx::query_scalar(locks).bind(granted).fetch_one(conn).await.expect("a number")
        };
        for conn in [&mut *one, &mut *two] {
            conn.execute(sqlx::raw_sql("BEGIN")).await.expect("it begins");
        }
        one.execute(sqlx::raw_sql(LOCK)).await.expect("nobody has it");
        {
            let lock = two.execute(sqlx::raw_sql(LOCK));
            let waits = async {
                while waiting(&mut watcher, false).await == 0 {
                    tokio::task::yield_now().await;
                }
                one.execute(sqlx::raw_sql("COMMIT")).await.expect("it ends");
            };
            let both = async { tokio::join!(lock, waits) };
            let limit = std::time::Duration::from_secs(30);
            let (locked, ()) =
                tokio::time::timeout(limit, both).await.expect("it waits, and gets it");
            locked.expect("it has it");
        }
        assert_eq!(waiting(&mut watcher, true).await, 1);
        two.execute(sqlx::raw_sql("COMMIT")).await.expect("it ends");
        assert_eq!(waiting(&mut watcher, true).await, 0);
    }

    #[test]
    fn migrations_are_numbered_from_one_to_the_newest() {
        let versions: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=NEWEST).collect::<Vec<_>>());
    }
}
