//! The ports, each method handed to the writer or to a reader.

use async_trait::async_trait;
use baldur_core::{
    Count, EntryId, EntrySummary, EvidenceRecord, FacetScope, Facets, FailedOp, Filter, ListQuery,
    OpState, Page,
    command::{Act, Capture, ClaimBatch, Extend, Lapse, Settle},
    name::ServiceName,
    policy::Paced,
    port::{
        AdminError, BreakerStoreError, CaptureError, CaptureStore, Captured, CheckDepth,
        CheckReport, CircuitBreakerStore, ClaimBatchOutcome, ClaimError, ClaimStore, EntryReader,
        EvidenceBacklog, EvidenceError, EvidenceLog, ExportedEntry, Imported, Lapsed, PaceError,
        PaceStore, ReadError, SaveBreaker, Settled, SharedBreaker, StoreAdmin, TakePermits,
        check_breaker_limit,
    },
};

use crate::{
    check,
    error::closed,
    store::SqliteStore,
    writer::{
        Acting, Capturing, Claiming, Extending, Importing, Lapsing, Saving, Settling, Taking, Work,
    },
};

/// The answer to a single item.
fn only<T, E: From<baldur_core::BackendError>>(
    operation: &'static str,
    answers: Vec<Result<T, E>>,
) -> Result<T, E> {
    // One item has one answer; a missing one would mean that nobody took it.
    answers.into_iter().next().unwrap_or_else(|| Err(closed(operation).into()))
}

#[async_trait]
impl CaptureStore for SqliteStore {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        self.submit::<Capturing>(captures).await
    }
}

#[async_trait]
impl ClaimStore for SqliteStore {
    async fn claim_batch(&self, claim: ClaimBatch) -> Result<ClaimBatchOutcome, ClaimError> {
        claim.check().map_err(ClaimError::Invalid)?;
        only(Claiming::OPERATION, self.submit::<Claiming>(vec![claim]).await)
    }

    async fn extend(&self, extend: Extend) -> Vec<Result<(), ClaimError>> {
        let Extend { claims, lease } = extend;
        self.submit::<Extending>(claims.into_iter().map(|claim| (claim, lease)).collect()).await
    }

    async fn settle_batch(&self, settles: Vec<Settle>) -> Vec<Result<Settled, ClaimError>> {
        self.submit::<Settling>(settles).await
    }

    async fn lapse(&self, lapse: Lapse) -> Result<Lapsed, ClaimError> {
        only(Lapsing::OPERATION, self.submit::<Lapsing>(vec![lapse]).await)
    }

    async fn apply(&self, acts: Vec<Act>) -> Vec<Result<OpState, ClaimError>> {
        self.submit::<Acting>(acts).await
    }
}

#[async_trait]
impl EntryReader for SqliteStore {
    async fn find(&self, ids: Vec<EntryId>) -> Result<Vec<Option<FailedOp>>, ReadError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.reader("find")?.find(ids).await?)
    }

    async fn list(&self, query: ListQuery) -> Result<Page<EntrySummary>, ReadError> {
        if query.after.is_some_and(|after| after.order != query.order) {
            return Err(ReadError::Invalid("the cursor is of the other direction".to_owned()));
        }
        Ok(self.reader("list")?.list(query).await?)
    }

    async fn count(&self, filter: Filter, cap: u64) -> Result<Count, ReadError> {
        Ok(self.reader("count")?.count(filter, cap).await?)
    }

    async fn facets(&self, scope: FacetScope) -> Result<Facets, ReadError> {
        Ok(self.reader("facets")?.facets(scope).await?)
    }
}

#[async_trait]
impl EvidenceLog for SqliteStore {
    async fn trail(
        &self,
        entry: EntryId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EvidenceRecord>, EvidenceError> {
        Ok(self.reader("read the evidence")?.trail(entry, after, limit).await?)
    }

    async fn unsealed(&self, limit: usize) -> Result<Vec<EvidenceRecord>, EvidenceError> {
        Ok(self.reader("read the unsealed evidence")?.unsealed(limit).await?)
    }

    async fn backlog(&self) -> Result<EvidenceBacklog, EvidenceError> {
        Ok(self.reader("read the evidence backlog")?.backlog().await?)
    }
}

#[async_trait]
impl StoreAdmin for SqliteStore {
    async fn check(&self, depth: CheckDepth) -> Result<CheckReport, AdminError> {
        let settings = self.writer_settings().await?;
        Ok(check::check(self.reader("check")?, &settings, depth).await?)
    }

    async fn import_batch(&self, entries: Vec<ExportedEntry>) -> Vec<Result<Imported, AdminError>> {
        self.submit::<Importing>(entries).await
    }
}

#[async_trait]
impl CircuitBreakerStore for SqliteStore {
    async fn load(
        &self,
        names: Vec<ServiceName>,
    ) -> Result<Vec<Option<SharedBreaker>>, BreakerStoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.reader("load breakers")?.breakers(names, self.now()).await?)
    }

    async fn save(&self, save: SaveBreaker) -> Result<SharedBreaker, BreakerStoreError> {
        only(Saving::OPERATION, self.submit::<Saving>(vec![save]).await)
    }

    async fn list(
        &self,
        after: Option<ServiceName>,
        limit: usize,
    ) -> Result<Vec<SharedBreaker>, BreakerStoreError> {
        check_breaker_limit(limit)?;
        Ok(self.reader("list breakers")?.breakers_after(after, limit, self.now()).await?)
    }
}

#[async_trait]
impl PaceStore for SqliteStore {
    async fn take(&self, take: TakePermits) -> Result<Paced, PaceError> {
        only(Taking::OPERATION, self.submit::<Taking>(vec![take]).await)
    }
}
