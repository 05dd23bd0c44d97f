//! Reading: entries and evidence.

use async_trait::async_trait;
use baldur_core::{
    BackendError, Count, EntryId, EntrySummary, EvidenceRecord, FacetScope, Facets, FailedOp,
    Filter, ListQuery, Page,
    port::{EntryReader, EvidenceBacklog, EvidenceError, EvidenceLog, ReadError},
};

use crate::{reader::Reader, store::PostgresStore};

impl PostgresStore {
    /// The readers, unless the store is closed.
    pub(crate) async fn reader(&self, operation: &'static str) -> Result<Reader<'_>, BackendError> {
        Ok(Reader::new(self.engine(operation).await?))
    }
}

#[async_trait]
impl EntryReader for PostgresStore {
    async fn find(&self, ids: Vec<EntryId>) -> Result<Vec<Option<FailedOp>>, ReadError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.reader("find").await?.find(ids).await?)
    }

    async fn list(&self, query: ListQuery) -> Result<Page<EntrySummary>, ReadError> {
        if query.after.is_some_and(|after| after.order != query.order) {
            return Err(ReadError::Invalid("the cursor is of the other direction".to_owned()));
        }
        Ok(self.reader("list").await?.list(query).await?)
    }

    async fn count(&self, filter: Filter, cap: u64) -> Result<Count, ReadError> {
        Ok(self.reader("count").await?.count(filter, cap).await?)
    }

    async fn facets(&self, scope: FacetScope) -> Result<Facets, ReadError> {
        Ok(self.reader("facets").await?.facets(scope).await?)
    }
}

#[async_trait]
impl EvidenceLog for PostgresStore {
    async fn trail(
        &self,
        entry: EntryId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EvidenceRecord>, EvidenceError> {
        Ok(self.reader("read the evidence").await?.trail(entry, after, limit).await?)
    }

    async fn unsealed(&self, limit: usize) -> Result<Vec<EvidenceRecord>, EvidenceError> {
        Ok(self.reader("read the unsealed evidence").await?.unsealed(limit).await?)
    }

    async fn backlog(&self) -> Result<EvidenceBacklog, EvidenceError> {
        Ok(self.reader("read the evidence backlog").await?.backlog().await?)
    }
}
