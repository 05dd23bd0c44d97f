//! What is measured: the ports, as an embedding service calls them.

use std::{sync::Arc, time::Duration};

use baldur_core::{
    ClaimToken, Clock as _, Cursor, EntryId, Evidence, Filter, ListQuery, PageSize, ResolutionType,
    Status, SystemClock,
    command::{Capture, ClaimBatch, ClaimSelect, ClaimTerms, Settle, SettleOutcome},
    name::WorkerName,
    port::{CaptureStore, ClaimStore, EntryReader},
    query::FacetScope,
};

use crate::load;

/// What the figures of the services go by, in place of a store.
pub(crate) const APP: &str = "app";

/// Anything that goes wrong ends the run: a figure of a failing store is worth nothing.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The ports under measurement.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    pub(crate) capture: Arc<dyn CaptureStore>,
    pub(crate) reader: Arc<dyn EntryReader>,
    pub(crate) claims: Arc<dyn ClaimStore>,
}

impl Ports {
    /// All ports of one store.
    pub(crate) fn of<S: CaptureStore + EntryReader + ClaimStore + Clone>(store: &S) -> Self {
        Self {
            capture: Arc::new(store.clone()),
            reader: Arc::new(store.clone()),
            claims: Arc::new(store.clone()),
        }
    }

    /// Captures in batches of `rows`.
    pub(crate) async fn capture(
        &self,
        ops: Vec<Capture>,
        rows: usize,
    ) -> Result<Duration, Failure> {
        let start = SystemClock.mono();
        let mut ops = ops.into_iter();
        loop {
            let batch: Vec<Capture> = ops.by_ref().take(rows).collect();
            if batch.is_empty() {
                return Ok(SystemClock.mono().saturating_sub(start));
            }
            for answer in self.capture.capture_batch(batch).await {
                answer?;
            }
        }
    }

    /// Captures one by one from `clients` callers at once.
    pub(crate) async fn capture_concurrently(
        &self,
        ops: Vec<Capture>,
        clients: usize,
    ) -> Result<Duration, Failure> {
        let mut shares: Vec<Vec<Capture>> = (0..clients).map(|_| Vec::new()).collect();
        for (n, op) in ops.into_iter().enumerate() {
            shares[n % clients].push(op);
        }
        let start = SystemClock.mono();
        let callers: Vec<_> = shares
            .into_iter()
            .map(|share| {
                let ports = self.clone();
                tokio::spawn(async move { ports.capture(share, 1).await })
            })
            .collect();
        for caller in callers {
            caller.await??;
        }
        Ok(SystemClock.mono().saturating_sub(start))
    }

    /// Claims and settles due entries in batches until `count` are done.
    pub(crate) async fn claim_and_settle(
        &self,
        count: usize,
        batch: usize,
    ) -> Result<Duration, Failure> {
        let start = SystemClock.mono();
        let mut done = 0;
        while done < count {
            let claimed = self.claim(batch.min(count - done)).await?;
            if claimed.is_empty() {
                return Err(format!("only {done} of {count} entries were due").into());
            }
            done += claimed.len();
            let settles = claimed.into_iter().map(|(id, token)| settle(id, token)).collect();
            for answer in self.claims.settle_batch(settles).await {
                if answer?.status != Status::Resolved {
                    return Err("a settled entry is not resolved".into());
                }
            }
        }
        Ok(SystemClock.mono().saturating_sub(start))
    }

    async fn claim(&self, limit: usize) -> Result<Vec<(EntryId, ClaimToken)>, Failure> {
        let outcome = self
            .claims
            .claim_batch(ClaimBatch {
                select: ClaimSelect::Due { domains: load::domains(), dependency: None, limit },
                terms: ClaimTerms {
                    holder: WorkerName::parse("bench")?,
                    lease: Duration::from_mins(1),
                    force: false,
                    unchanged_since: None,
                    evidence: evidence(),
                },
            })
            .await?;
        Ok(outcome.claimed.iter().map(|c| (c.op.id, c.op.state.claim_token)).collect())
    }

    /// Reads one page; returns where the next begins.
    pub(crate) async fn page(
        &self,
        filter: Filter,
        after: Option<Cursor>,
        limit: PageSize,
    ) -> Result<Option<Cursor>, Failure> {
        let query = ListQuery { filter, after, limit, ..ListQuery::default() };
        Ok(self.reader.list(query).await?.next)
    }

    pub(crate) async fn count(&self) -> Result<(), Failure> {
        let filter = Filter { statuses: vec![Status::Pending], ..Filter::default() };
        self.reader.count(filter, 1_000).await?;
        Ok(())
    }

    pub(crate) async fn facets(&self) -> Result<(), Failure> {
        self.reader.facets(FacetScope::default()).await?;
        Ok(())
    }
}

fn settle(id: EntryId, token: ClaimToken) -> Settle {
    Settle {
        id,
        token,
        outcome: SettleOutcome::Succeeded { note: String::new() },
        trigger: ResolutionType::ManualReplay,
        evidence: evidence(),
    }
}

fn evidence() -> Evidence {
    Evidence::new(load::actor(), SystemClock.now())
}
