//! Handing out what hosts captured in their own transactions.

use async_trait::async_trait;
use baldur_core::{
    Timestamp,
    port::{Enlisted, EnlistedForm, Finished, Intake, IntakeError, IntakeStatus, TakeEnlisted},
    wire,
};
use sqlx::{PgConnection, Row as _, postgres::PgRow};

use crate::{
    columns::Columns,
    error::StepError,
    sql::{integer, limit},
    store::PostgresStore,
    writer::{Answers, Session, Work},
};

/// The first that wait and that nobody holds.
pub(crate) const TAKE: &str = "WITH first AS MATERIALIZED (SELECT i.pos FROM baldur.intake i \
      WHERE i.ns = $1 AND i.refused IS NULL AND i.held_until <= $2 \
      ORDER BY i.pos LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED), \
     held AS (UPDATE baldur.intake i SET held_until = $3 FROM first \
      WHERE i.ns = $1 AND i.pos = first.pos RETURNING i.id, i.pos, i.at, i.form, i.body) \
     SELECT id, pos, at, form, body FROM held ORDER BY pos";

pub(crate) const DONE: &str = "DELETE FROM baldur.intake WHERE ns = $1 AND pos = ANY($2)";

pub(crate) const REFUSE: &str = "UPDATE baldur.intake i SET refused = v.refused \
     FROM unnest($2::bigint[], $3::text[]) v(pos, refused) WHERE i.ns = $1 AND i.pos = v.pos";

/// What waits is short-lived, so counting it is cheap; what was put aside has an index of its own.
pub(crate) const STATUS: &str = "SELECT \
     (SELECT count(*) FROM baldur.intake WHERE ns = $1 AND refused IS NULL), \
     (SELECT min(at) FROM baldur.intake WHERE ns = $1 AND refused IS NULL), \
     (SELECT count(*) FROM baldur.intake WHERE ns = $1 AND refused IS NOT NULL)";

/// Takes operations.
struct Taking;

impl Work for Taking {
    type Item = TakeEnlisted;
    type Answer = Vec<Enlisted>;
    type Error = IntakeError;

    const OPERATION: &'static str = "take from the intake";

    async fn run(
        session: &mut Session,
        items: &[TakeEnlisted],
    ) -> Result<Answers<Self>, StepError> {
        let (ns, now) = (session.ns, session.now);
        let mut answers = Vec::with_capacity(items.len());
        for take in items {
            if let Err(error) = take.check() {
                answers.push(Err(error));
                continue;
            }
            let rows = sqlx::query(TAKE)
                .bind(ns)
                .bind(now.as_micros())
                .bind(now.saturating_add(take.hold).as_micros())
                .bind(limit(take.limit))
                .fetch_all(session.conn())
                .await?;
            answers.push(Ok(rows.iter().map(enlisted).collect::<Result<_, _>>()?));
        }
        Ok(answers)
    }
}

fn enlisted(row: &PgRow) -> Result<Enlisted, StepError> {
    let mut columns = Columns::of(row, "intake");
    let id = columns.id()?;
    let position = columns.unsigned("pos")?;
    let at = columns.time("at")?;
    let (form, body): (&str, &str) = (columns.get()?, columns.get()?);
    let form = match form {
        "described" => EnlistedForm::Described(body.to_owned()),
        // Written by this program or another version of it.
        _ => match wire::decode_spooled(body) {
            Ok((capture, _)) => EnlistedForm::Prepared(Box::new(capture)),
            Err(error) => EnlistedForm::Unreadable(error.to_string()),
        },
    };
    Ok(Enlisted { position, id, at, form })
}

/// Finishes operations.
struct Finishing;

impl Work for Finishing {
    type Item = Finished;
    type Answer = ();
    type Error = IntakeError;

    const OPERATION: &'static str = "finish in the intake";

    async fn run(session: &mut Session, items: &[Finished]) -> Result<Answers<Self>, StepError> {
        let ns = session.ns;
        let (refused, done): (Vec<_>, Vec<_>) =
            items.iter().partition(|finished| finished.refused.is_some());
        let positions = |of: &[&Finished]| -> Vec<i64> {
            of.iter().map(|finished| integer(finished.position)).collect()
        };
        if !done.is_empty() {
            let gone = sqlx::query(DONE).bind(ns).bind(positions(&done));
            gone.execute(session.conn()).await?;
        }
        if !refused.is_empty() {
            let reasons: Vec<Option<&str>> =
                refused.iter().map(|finished| finished.refused.as_deref()).collect();
            let put_aside = sqlx::query(REFUSE).bind(ns).bind(positions(&refused)).bind(reasons);
            put_aside.execute(session.conn()).await?;
        }
        Ok(items.iter().map(|_| Ok(())).collect())
    }
}

/// Counts operations.
struct Looking;

impl Work for Looking {
    type Item = ();
    type Answer = IntakeStatus;
    type Error = IntakeError;

    const OPERATION: &'static str = "look at the intake";

    async fn run(session: &mut Session, items: &[()]) -> Result<Answers<Self>, StepError> {
        let ns = session.ns;
        let status = status(session.conn(), ns).await?;
        Ok(items.iter().map(|()| Ok(status)).collect())
    }
}

/// How many operations of a namespace there are.
pub(crate) async fn status(conn: &mut PgConnection, ns: i32) -> Result<IntakeStatus, StepError> {
    let row = sqlx::query(STATUS).bind(ns).fetch_one(conn).await?;
    let count = |n: i64| u64::try_from(n).unwrap_or_default();
    let oldest: Option<i64> = row.try_get(1)?;
    Ok(IntakeStatus {
        waiting: count(row.try_get(0)?),
        oldest: oldest.and_then(|micros| Timestamp::from_micros(micros).ok()),
        refused: count(row.try_get(2)?),
    })
}

/// The answer to the one item of a write.
fn only<T>(answers: Vec<Result<T, IntakeError>>) -> Result<T, IntakeError> {
    // One item has one answer; a missing one would mean that nobody took it.
    let missing = || crate::error::closed("use the intake");
    answers.into_iter().next().unwrap_or_else(|| Err(missing().into()))
}

#[async_trait]
impl Intake for PostgresStore {
    async fn take(&self, take: TakeEnlisted) -> Result<Vec<Enlisted>, IntakeError> {
        take.check()?;
        only(self.write::<Taking>(vec![take]).await)
    }

    async fn finish(&self, finished: Vec<Finished>) -> Result<(), IntakeError> {
        self.write::<Finishing>(finished).await.into_iter().collect()
    }

    async fn status(&self) -> Result<IntakeStatus, IntakeError> {
        only(self.write::<Looking>(vec![()]).await)
    }
}
