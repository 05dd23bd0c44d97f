//! Reading evidence.

use async_trait::async_trait;
use baldur_core::{
    EntryId, EvidenceRecord,
    port::{EvidenceBacklog, EvidenceError, EvidenceLog},
};

use crate::MemoryStore;

#[async_trait]
impl EvidenceLog for MemoryStore {
    async fn trail(
        &self,
        entry: EntryId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EvidenceRecord>, EvidenceError> {
        let trail = self.step("read the evidence", |table| {
            let records = table.evidence(entry);
            // Counters run from 1 without gaps, so the record after counter n is at index n.
            let after = usize::try_from(after).unwrap_or(usize::MAX);
            records.iter().skip(after).take(limit).cloned().collect()
        })?;
        Ok(trail)
    }

    async fn unsealed(&self, limit: usize) -> Result<Vec<EvidenceRecord>, EvidenceError> {
        let records = self.step("read the unsealed evidence", |table| {
            table.all_evidence().take(limit).cloned().collect()
        })?;
        Ok(records)
    }

    async fn backlog(&self) -> Result<EvidenceBacklog, EvidenceError> {
        let (unsealed, oldest) =
            self.step("read the evidence backlog", |table| table.evidence_backlog())?;
        Ok(EvidenceBacklog { unsealed, oldest })
    }
}
