//! The schema: migrations that are only ever added to, run by whoever opens a file first.

use baldur_core::{BackendError, BackendKind, Digest};
use sqlx::{Row, SqliteConnection};

use crate::error::{Phase, Sentence, StepError, classify, said};

/// One step of the schema.
#[derive(Debug)]
struct Migration {
    version: i64,
    name: &'static str,
    sql: &'static str,
}

/// All of them, in order. A released one is never edited: its digest is stored with each file that it ran on.
const MIGRATIONS: [Migration; 3] = [
    Migration { version: 1, name: "entries", sql: include_str!("../migrations/0001_entries.sql") },
    Migration {
        version: 2,
        name: "live_limits",
        sql: include_str!("../migrations/0002_live_limits.sql"),
    },
    Migration {
        version: 3,
        name: "coordination",
        sql: include_str!("../migrations/0003_coordination.sql"),
    },
];

/// The version of the schema that this program works with.
pub(crate) const NEWEST: i64 = 3;

const CREATE_TABLE: &str = "CREATE TABLE IF NOT EXISTS baldur_migrations (
    version INTEGER PRIMARY KEY,
    name    TEXT    NOT NULL,
    digest  TEXT    NOT NULL
) STRICT";

/// Brings the schema of a file to [`NEWEST`], in one transaction. Starters that come at the same time wait for
/// one another.
pub(crate) async fn migrate(conn: &mut SqliteConnection) -> Result<(), BackendError> {
    let failed = |error: sqlx::Error| classify("open", Phase::BeforeCommit, StepError::from(error));
    // Most starts have nothing to do and need no lock.
    if applied(conn).await.is_ok_and(|applied| check(&applied) == Ok(NEWEST)) {
        return Ok(());
    }
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await.map_err(failed)?;
    match run(conn).await {
        Ok(()) => sqlx::query("COMMIT").execute(conn).await.map(|_| ()).map_err(failed),
        Err(error) => {
            // The error at hand says more than a failed rollback would; the connection is dropped with either.
            let _ = sqlx::query("ROLLBACK").execute(conn).await;
            Err(error)
        }
    }
}

async fn run(conn: &mut SqliteConnection) -> Result<(), BackendError> {
    let failed = |error: sqlx::Error| classify("open", Phase::BeforeCommit, StepError::from(error));
    refuse_foreign(conn).await?;
    sqlx::query(CREATE_TABLE).execute(&mut *conn).await.map_err(failed)?;
    let applied = applied(conn).await.map_err(failed)?;
    let version = check(&applied)
        .map_err(|Sentence(sentence)| said("open", BackendKind::Corrupt, sentence))?;
    apply_after(conn, version).await.map_err(failed)
}

/// Makes the newest schema in an empty database.
pub(crate) async fn apply_all(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    sqlx::query(CREATE_TABLE).execute(&mut *conn).await?;
    apply_after(conn, 0).await
}

async fn apply_after(conn: &mut SqliteConnection, version: i64) -> Result<(), sqlx::Error> {
    for Migration { version, name, sql } in MIGRATIONS.iter().filter(|m| m.version > version) {
        sqlx::raw_sql(*sql).execute(&mut *conn).await?;
        sqlx::query("INSERT INTO baldur_migrations (version, name, digest) VALUES (?, ?, ?)")
            .bind(*version)
            .bind(*name)
            .bind(Digest::of(sql.as_bytes()).to_string())
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}

/// A file with tables but without our migrations belongs to somebody else.
async fn refuse_foreign(conn: &mut SqliteConnection) -> Result<(), BackendError> {
    let (tables, ours): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE name = 'baldur_migrations') \
         FROM sqlite_schema WHERE type = 'table'",
    )
    .fetch_one(conn)
    .await
    .map_err(|error| classify("open", Phase::BeforeCommit, StepError::from(error)))?;
    if tables > 0 && ours == 0 {
        let sentence = "the file holds another program's tables; give the store a file of its own";
        return Err(said("open", BackendKind::Corrupt, sentence));
    }
    Ok(())
}

/// A migration that ran on a file: version, name, digest.
type Applied = (i64, String, String);

async fn applied(conn: &mut SqliteConnection) -> Result<Vec<Applied>, sqlx::Error> {
    sqlx::query("SELECT version, name, digest FROM baldur_migrations ORDER BY version")
        .fetch_all(conn)
        .await?
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)))
        .collect()
}

/// Compares what ran with what this program knows. Answers the version of the file.
fn check(applied: &[Applied]) -> Result<i64, Sentence> {
    for (expected, (version, name, digest)) in (1..).zip(applied) {
        if *version != expected {
            return Err(Sentence(format!("migration {expected} is missing in the file").into()));
        }
        let Some(known) = MIGRATIONS.iter().find(|m| m.version == *version) else {
            return Err(Sentence(
                format!(
                    "the file has schema version {newest}, this program knows up to {NEWEST}: \
                     use a newer program",
                    newest = applied.len()
                )
                .into(),
            ));
        };
        if known.name != name || Digest::of(known.sql.as_bytes()).to_string() != *digest {
            return Err(Sentence(
                format!(
                    "migration {version} (`{name}`) of the file is not the one of this program"
                )
                .into(),
            ));
        }
    }
    Ok(i64::try_from(applied.len()).unwrap_or(i64::MAX))
}

/// What is wrong with the schema version of an open file, for checks.
pub(crate) async fn problems(conn: &mut SqliteConnection) -> Result<Vec<String>, StepError> {
    let applied = applied(conn).await?;
    Ok(match check(&applied) {
        Ok(NEWEST) => Vec::new(),
        Ok(version) => {
            vec![format!("the schema has version {version}, this program expects {NEWEST}")]
        }
        Err(Sentence(sentence)) => vec![sentence.into_owned()],
    })
}

/// The number of the namespace, given at its first use. Numbers stay: rows refer to them.
pub(crate) async fn namespace(
    conn: &mut SqliteConnection,
    name: &str,
) -> Result<i64, BackendError> {
    let found = async |conn: &mut SqliteConnection| {
        sqlx::query_scalar::<_, i64>("SELECT ns FROM namespaces WHERE name = ?")
            .bind(name.to_owned())
            .fetch_optional(conn)
            .await
    };
    let ns = async {
        if let Some(ns) = found(&mut *conn).await? {
            return Ok(Some(ns));
        }
        sqlx::query("INSERT INTO namespaces (name) VALUES (?) ON CONFLICT DO NOTHING")
            .bind(name.to_owned())
            .execute(&mut *conn)
            .await?;
        found(&mut *conn).await
    };
    ns.await
        .map_err(|error: sqlx::Error| {
            classify("open", Phase::BeforeCommit, StepError::from(error))
        })?
        .ok_or_else(|| said("open", BackendKind::Corrupt, "the namespace can't be kept"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_numbered_from_one_to_the_newest() {
        let versions: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        assert_eq!(versions, (1..=NEWEST).collect::<Vec<_>>());
    }
}
