//! Taking entries over from another store.

use std::collections::{BTreeSet, HashSet};

use baldur_core::{
    BackendError, Chain, EntryId, FailedOp,
    port::{AdminError, ExportedEntry, Imported},
};

use super::{Answers, Session, Work, capture::keys, effects::Effects, locks, look::look};
use crate::error::StepError;

/// Imports.
pub(crate) struct Importing;

impl Work for Importing {
    type Item = ExportedEntry;
    type Answer = Imported;
    type Error = AdminError;

    const OPERATION: &'static str = "import";
    const IN_ORDER: bool = true;

    async fn run(
        session: &mut Session,
        items: &[ExportedEntry],
    ) -> Result<Answers<Self>, StepError> {
        let namespace = session.namespace().clone();
        let ns = session.ns;
        let locked = items.iter().flat_map(|entry| keys(&entry.op));
        locks::keys(session.conn(), ns, locked).await?;
        let ids = items.iter().map(|entry| entry.op.id);
        let found = look(session, ids, &BTreeSet::new(), &BTreeSet::new()).await?;
        let mut present: HashSet<EntryId> = found.known.into_keys().collect();
        let mut effects = Effects::default();
        let answers = items
            .iter()
            .map(|entry| {
                entry.check(&namespace).map_err(AdminError::Invalid)?;
                check_range(&entry.op)?;
                if !present.insert(entry.op.id) {
                    return Ok(Imported::Present);
                }
                effects.insert(entry.op.clone(), entry.evidence.iter().cloned());
                Ok(Imported::New)
            })
            .collect();
        effects.write(session).await?;
        Ok(answers)
    }

    fn chunks(items: &[ExportedEntry]) -> Vec<usize> {
        locks::chunks(items, |entry| keys(&entry.op).collect())
    }

    fn refuse(error: BackendError) -> AdminError {
        AdminError::Invalid(Chain(&error).to_string())
    }
}

/// PostgreSQL's integers have 63 bits for what is never negative. No real entry needs more.
fn check_range(op: &FailedOp) -> Result<(), AdminError> {
    let state = &op.state;
    let numbers = [state.claim_token.0, state.previous_total_retries, state.occurrences];
    if numbers.into_iter().all(|number| i64::try_from(number).is_ok()) {
        Ok(())
    } else {
        Err(AdminError::Invalid("a number of its state is too large for this store".to_owned()))
    }
}
