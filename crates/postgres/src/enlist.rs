//! Capturing inside a host's own transaction.

use baldur_core::{
    BackendKind,
    command::Capture,
    port::{CaptureError, Captured, Disposition, Durability},
    wire,
};
use sqlx::{Postgres, Transaction};

use crate::{
    error::{Phase, StepError, classify, said},
    sql::uuids,
    store::PostgresStore,
};

/// Adds operations to the intake, if the namespace has the number here that it has in the store's database. One statement,
/// so a failure leaves none of them.
const ENLIST: &str = "INSERT INTO baldur.intake (ns, id, at, form, body) \
     SELECT $1, v.id, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + v.n - 1, 'prepared', v.body \
     FROM unnest($2::uuid[], $3::text[]) WITH ORDINALITY v(id, body, n) \
     WHERE EXISTS (SELECT FROM baldur.namespaces n WHERE n.ns = $1 AND n.name = $4) ORDER BY v.n";

/// Nothing was added, and the host's transaction goes on.
const ELSEWHERE: &str =
    "the transaction is not on the database of the store, or began before that was first opened";

impl PostgresStore {
    /// Captures operations in a transaction of the host's own, on the database of this store: they exist if it commits, and
    /// only then. The answers say [`Durability::Enlisted`].
    ///
    /// They become entries soon after the commit, when a process that runs the intake (such as `baldur serve`) takes them: limits,
    /// dedup keys and ids that are there already count then. Until that they are in no list, and nobody replays them. The
    /// host's transaction waits for nobody here, and takes no lock but those of its own rows.
    ///
    /// # Errors
    ///
    /// Each item by itself for [`CaptureError::Invalid`], which changes nothing. When the database refuses, all others
    /// fail together, and the transaction can only be rolled back; but `Refused` on the database of another store, where
    /// the transaction can go on.
    pub async fn capture_in(
        &self,
        transaction: &mut Transaction<'_, Postgres>,
        captures: Vec<Capture>,
    ) -> Vec<Result<Captured, CaptureError>> {
        let engine = match self.engine("enlist").await {
            Ok(engine) => engine,
            Err(error) => return captures.iter().map(|_| Err(error.clone().into())).collect(),
        };
        let namespace = self.namespace();
        let mut answers: Vec<Result<Captured, CaptureError>> = captures
            .iter()
            .map(|capture| {
                capture.check(namespace).map_err(CaptureError::Invalid)?;
                Ok(Captured::new(capture.op.id, Durability::Enlisted, 1, Disposition::New))
            })
            .collect();
        let valid: Vec<&Capture> = captures
            .iter()
            .zip(&answers)
            .filter_map(|(capture, answer)| answer.as_ref().ok().map(|_| capture))
            .collect();
        if valid.is_empty() {
            return answers;
        }
        let bodies: Vec<String> = valid
            .iter()
            .map(|capture| wire::encode_spooled(capture, capture.op.created_at))
            .collect();
        let enlisted = sqlx::query(ENLIST)
            .bind(engine.ns)
            .bind(uuids(valid.iter().map(|capture| capture.op.id)))
            .bind(&bodies[..])
            .bind(namespace.as_str())
            .execute(&mut **transaction)
            .await;
        let failed = match enlisted {
            Ok(added) if added.rows_affected() == 0 => {
                Some(said("enlist", BackendKind::Refused, ELSEWHERE))
            }
            Ok(_) => None,
            // The host's transaction is over, so whatever it did is not applied.
            Err(error) => Some(classify("enlist", Phase::BeforeCommit, StepError::from(error))),
        };
        if let Some(error) = failed {
            for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                *answer = Err(error.clone().into());
            }
        }
        answers
    }
}
