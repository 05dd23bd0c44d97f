//! Taking entries over from another store.

use std::collections::HashSet;

use baldur_core::{
    BackendError, Chain, EntryId,
    port::{AdminError, ExportedEntry, Imported},
};

use super::{Answers, Session, Work, capture::known_ids, effects::Effects};
use crate::error::StepError;

/// Imports.
pub(crate) struct Importing;

impl Work for Importing {
    type Item = ExportedEntry;
    type Answer = Imported;
    type Error = AdminError;

    const OPERATION: &'static str = "import";

    async fn run(
        session: &mut Session,
        items: &[ExportedEntry],
    ) -> Result<Answers<Self>, StepError> {
        let namespace = session.namespace().clone();
        let known = known_ids(session, items.iter().map(|entry| entry.op.id)).await?;
        let mut present: HashSet<EntryId> = known.into_keys().collect();
        let mut effects = Effects::default();
        let answers = items
            .iter()
            .map(|entry| {
                entry.check(&namespace).map_err(AdminError::Invalid)?;
                if !present.insert(entry.op.id) {
                    return Ok(Imported::Present);
                }
                effects.insert(session, entry.op.clone(), entry.evidence.iter().cloned());
                Ok(Imported::New)
            })
            .collect();
        effects.write(session).await?;
        Ok(answers)
    }

    fn refuse(error: BackendError) -> AdminError {
        AdminError::Invalid(Chain(&error).to_string())
    }
}
