//! Finding out at the start whether a pooler on the way loses prepared statements.
//!
//! The driver prepares each statement once for its connection and then names it. A pooler in transaction mode hands each
//! transaction to whichever server connection is free: unless it carries the statements over (PgBouncer from 1.21 on, with
//! `max_prepared_statements` above 0), a name is unknown there, or means another client's statement. The usual advice,
//! to switch the cache off, makes it worse, because the same names come again and again.
//!
//! So two connections prepare different statements and run them in transactions that overlap, in such an order that each
//! meets the other's server connection if there is one to meet. A pass proves that it went well with these: a pooler that
//! got its settings changed later, or has more hosts behind its name, may still fail.

use baldur_core::{BackendError, BackendKind};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use crate::error::{Phase, Sentence, StepError, classify, said, sqlstate};

/// How often the two change places.
const ROUNDS: i64 = 4;

/// What is wrong, and what to do.
const LOSES: &str = "a pooler on the way to the server loses prepared statements; use PgBouncer 1.21 or newer with \
     `max_prepared_statements` above 0, or session mode, or the server's own address";

/// Runs the probe over two connections of its own. Answers one of them.
///
/// # Errors
///
/// `Refused` for a pooler that loses statements; else as for connecting.
pub(crate) async fn probe(options: &PgConnectOptions) -> Result<PgConnection, BackendError> {
    let failed = |error| classify("open", Phase::BeforeCommit, StepError::Sql(error));
    let mut one = PgConnection::connect_with(options).await.map_err(failed)?;
    let mut two = PgConnection::connect_with(options).await.map_err(failed)?;
    let probed = rounds(&mut one, &mut two).await;
    // What is no longer needed did its work; how it ends changes nothing.
    let _ = two.close().await;
    match probed {
        Ok(()) => Ok(one),
        Err(error) => {
            let _ = one.close().await;
            Err(error)
        }
    }
}

async fn rounds(one: &mut PgConnection, two: &mut PgConnection) -> Result<(), BackendError> {
    for round in 0..ROUNDS {
        // Whoever begins first gets the server connection that was used last.
        let told = if round % 2 == 0 {
            begin(one).await?;
            begin(two).await?;
            (number(one, round).await, text(two, round).await)
        } else {
            begin(two).await?;
            begin(one).await?;
            let said = text(two, round).await;
            (number(one, round).await, said)
        };
        judge(told.0.map(|got| got == round * 2 + 1))?;
        judge(told.1.map(|got| got == format!("baldur {round}")))?;
        end(one).await?;
        end(two).await?;
    }
    Ok(())
}

async fn begin(conn: &mut PgConnection) -> Result<(), BackendError> {
    simple(conn, "BEGIN").await
}

async fn end(conn: &mut PgConnection) -> Result<(), BackendError> {
    simple(conn, "COMMIT").await
}

async fn simple(conn: &mut PgConnection, sql: &'static str) -> Result<(), BackendError> {
    let run = sqlx::raw_sql(sql).execute(conn).await;
    run.map(|_| ()).map_err(|error| classify("open", Phase::BeforeCommit, StepError::Sql(error)))
}

/// Both statements are the first of their connection, so the driver gives them one name.
async fn number(conn: &mut PgConnection, round: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT $1::bigint * 2 + 1").bind(round).fetch_one(conn).await
}

async fn text(conn: &mut PgConnection, round: i64) -> Result<String, sqlx::Error> {
    let name = round.to_string();
    sqlx::query_scalar("SELECT 'baldur ' || $1::text").bind(name).fetch_one(conn).await
}

/// A right answer passes. A wrong one, or one that can't be read, is another client's; and the server has words for a
/// name that it doesn't know, knows already, or knows with other parameters.
fn judge(answer: Result<bool, sqlx::Error>) -> Result<(), BackendError> {
    let error = match answer {
        Ok(true) => return Ok(()),
        Ok(false) => return Err(said("open", BackendKind::Refused, LOSES)),
        Err(error) => error,
    };
    let code = sqlstate(&error);
    // Nothing is wrong with the statements themselves, so whatever is said of one is said of another.
    let by_name = code.is_some_and(|code| {
        code == "08P01" || ["0A", "22", "26", "42"].iter().any(|class| code.starts_with(class))
    });
    let unreadable = matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_));
    if by_name || unreadable {
        let refused = BackendError::new(crate::error::BACKEND, "open", BackendKind::Refused);
        return Err(refused.not_applied().because(Sentence(format!("{LOSES} ({error})").into())));
    }
    Err(classify("open", Phase::BeforeCommit, StepError::Sql(error)))
}
