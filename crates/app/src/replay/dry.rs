//! The dry run: what a run would do, without claiming anything.

use std::{
    collections::{BTreeSet, HashSet},
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use baldur_core::{
    BackendError, BackendKind, Cause, Cursor, EntryId, EntrySummary, FailedOp, Filter, ListOrder,
    ListQuery, PageSize, Status, Timestamp,
    name::{Domain, ServiceName},
    next_status,
    policy::{Throttled, TokenBucket},
    port::{ClaimError, ReadError, ReplayContext, ReplayOutcome},
};
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    ItemOutcome, ItemResult, ReplayError, ReplayEvent, ReplayReport, ReplayRequest, ReplaySelect,
    StopReason,
    attempt::{Attempted, attempt},
    engine::Parts,
    listener::{Listener, attempt_number},
};

/// How many entries are looked up at once, and how many older ones of an order key are looked at.
const PAGE: u32 = 100;

/// A dry run under way. Entries that would come up a second time, after a failure, are looked at once.
pub(super) struct DryRun {
    parts: Arc<Parts>,
    bucket: Option<Mutex<TokenBucket>>,
    listener: Listener,
    cancel: CancellationToken,
    started: Instant,
    force: bool,
    concurrency: usize,
    left: u64,
    scope: Scope,
}

/// Which entries the run would take up, for those that wait for others.
enum Scope {
    Due { domains: BTreeSet<Domain>, dependency: Option<ServiceName>, now: Timestamp },
    Ids(HashSet<EntryId>),
}

impl DryRun {
    pub(super) fn new(
        parts: Arc<Parts>,
        request: &ReplayRequest,
        domains: BTreeSet<Domain>,
        bucket: Option<TokenBucket>,
        concurrency: usize,
        listener: Listener,
        cancel: CancellationToken,
    ) -> Self {
        let scope = match &request.select {
            ReplaySelect::Due { dependency, .. } => {
                Scope::Due { domains, dependency: dependency.clone(), now: parts.env.clock.now() }
            }
            ReplaySelect::Ids(ids) => Scope::Ids(ids.iter().copied().collect()),
        };
        Self {
            parts,
            bucket: bucket.map(Mutex::new),
            listener,
            cancel,
            started: Instant::now(),
            force: request.force,
            concurrency,
            left: request.limit.unwrap_or(u64::MAX),
            scope,
        }
    }

    pub(super) async fn go(
        mut self,
        select: ReplaySelect,
    ) -> Result<(ReplayReport, Option<ClaimError>), ReplayError> {
        let total = match (&self.scope, &select) {
            (Scope::Due { domains, dependency, .. }, _) => {
                self.parts.total(domains.iter().cloned(), dependency.as_ref()).await
            }
            (Scope::Ids(ids), _) => Some(ids.len() as u64),
        };
        let total = total.map(|total| total.min(self.left));
        self.listener.tell(ReplayEvent::Started { total });
        match select {
            ReplaySelect::Due { .. } => self.look_at_due().await?,
            ReplaySelect::Ids(ids) => self.look_at_ids(&ids).await?,
        }
        self.listener.report.stop = if self.cancel.is_cancelled() {
            StopReason::Cancelled
        } else if self.left == 0 {
            StopReason::LimitReached
        } else {
            StopReason::Drained
        };
        self.listener.report.elapsed = self.started.elapsed();
        Ok(self.listener.finish())
    }

    fn is_over(&self) -> bool {
        self.left == 0 || self.cancel.is_cancelled()
    }

    async fn look_at_due(&mut self) -> Result<(), ReplayError> {
        let Scope::Due { domains, dependency, now } = &self.scope else { return Ok(()) };
        let (domains, dependency, now) = (domains.clone(), dependency.clone(), *now);
        for domain in domains {
            let filter = Filter {
                statuses: vec![Status::Pending],
                domain: Some(domain),
                dependency: dependency.clone(),
                ..Filter::default()
            };
            let mut after = None;
            while !self.is_over() {
                let (summaries, next) = self.page(filter.clone(), after).await?;
                let due = summaries.iter().filter(|entry| entry.next_attempt_at <= now);
                let ids = due.map(|entry| entry.id).collect();
                let ops = self.find(ids).await?;
                self.look_at(ops.into_iter().flatten()).await?;
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    async fn look_at_ids(&mut self, ids: &[EntryId]) -> Result<(), ReplayError> {
        let mut seen = HashSet::new();
        let ids: Vec<EntryId> = ids.iter().copied().filter(|id| seen.insert(*id)).collect();
        for chunk in ids.chunks(PAGE as usize) {
            if self.is_over() {
                break;
            }
            let found = self.find(chunk.to_vec()).await?;
            for (id, op) in chunk.iter().zip(&found) {
                if op.is_none() {
                    self.refuse(*id, None, ClaimError::NotFound(*id));
                }
            }
            self.look_at(found.into_iter().flatten()).await?;
        }
        Ok(())
    }

    /// Asks the gates and handlers of those that a claim would be granted for.
    async fn look_at(&mut self, ops: impl Iterator<Item = FailedOp>) -> Result<(), ReplayError> {
        let mut granted = Vec::new();
        for op in ops {
            if self.left == 0 {
                break;
            }
            match self.refusal(&op).await? {
                None => {
                    self.left -= 1;
                    granted.push(Arc::new(op));
                }
                // A due selection takes no notice of who can't be claimed.
                Some(error) if matches!(self.scope, Scope::Ids(_)) => {
                    self.refuse(op.id, Some(op.domain.clone()), error);
                }
                Some(_) => {}
            }
        }
        let Self { parts, bucket, listener, cancel, concurrency, started, .. } = self;
        let mut looks = stream::iter(granted)
            .map(|op| look(Arc::clone(parts), bucket.as_ref(), *started, op))
            .buffer_unordered(*concurrency);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                item = looks.next() => match item {
                    Some(item) => listener.item(item),
                    None => break,
                },
            }
        }
        Ok(())
    }

    fn refuse(&mut self, id: EntryId, domain: Option<Domain>, error: ClaimError) {
        let (outcome, note) = (ItemOutcome::Refused, error.to_string());
        self.listener.first_refusal.get_or_insert(error);
        let took = Duration::ZERO;
        self.listener.item(ItemResult { id, domain, outcome, status: None, took, note });
    }

    /// Why a claim of this entry would not be granted.
    async fn refusal(&self, op: &FailedOp) -> Result<Option<ClaimError>, ReplayError> {
        let (id, status) = (op.id, op.state.status);
        let redrive = self.force && status == Status::RequiresReview;
        let cause = if redrive { Cause::ForceRedrive } else { Cause::Claim };
        if next_status(status, cause).is_none() {
            return Ok(Some(ClaimError::NotClaimable { id, status }));
        }
        if op.state.not_replayable.is_some() {
            return Ok(Some(ClaimError::NotReplayable(id)));
        }
        Ok(self.blocked_by(op).await?.map(|by| ClaimError::Blocked { id, by }))
    }

    /// The older entry with the same order key that the run would not take up before this one.
    async fn blocked_by(&self, op: &FailedOp) -> Result<Option<EntryId>, ReplayError> {
        let Some(order_key) = &op.order_key else { return Ok(None) };
        let filter = Filter {
            statuses: Status::LIVE.to_vec(),
            order_key: Some(order_key.clone()),
            ..Filter::default()
        };
        let (live, _) = self.page(filter, None).await?;
        let older = live.iter().take_while(|entry| entry.position() < op.position());
        Ok(older.into_iter().find(|entry| !self.would_take(entry)).map(|entry| entry.id))
    }

    fn would_take(&self, entry: &EntrySummary) -> bool {
        let EntrySummary { id, domain, status, dependency, .. } = entry;
        let replayable = entry.not_replayable.is_none();
        let waits = *status == Status::Pending;
        replayable
            && match &self.scope {
                Scope::Ids(ids) => {
                    let redrive = self.force && *status == Status::RequiresReview;
                    ids.contains(id) && (waits || redrive)
                }
                Scope::Due { domains, dependency: wanted, now } => {
                    waits
                        && entry.next_attempt_at <= *now
                        && domains.contains(domain)
                        && wanted.as_ref().is_none_or(|wanted| wanted == dependency)
                }
            }
    }

    async fn page(
        &self,
        filter: Filter,
        after: Option<Cursor>,
    ) -> Result<(Vec<EntrySummary>, Option<Cursor>), ReplayError> {
        let limit = PageSize::new(PAGE).unwrap_or_default();
        let query = ListQuery { filter, order: ListOrder::OldestFirst, limit, after };
        let page = self.in_time("list", self.parts.reader.list(query)).await?;
        Ok((page.items, page.next))
    }

    async fn find(&self, ids: Vec<EntryId>) -> Result<Vec<Option<FailedOp>>, ReplayError> {
        self.in_time("find", self.parts.reader.find(ids)).await
    }

    async fn in_time<T>(
        &self,
        operation: &'static str,
        read: impl Future<Output = Result<T, ReadError>> + Send,
    ) -> Result<T, ReplayError> {
        match timeout(self.parts.policy.store_timeout, read).await {
            Ok(answer) => Ok(answer?),
            Err(_elapsed) => {
                let error = BackendError::new("store", operation, BackendKind::Timeout);
                Err(ReadError::Backend(error.retryable().not_applied()).into())
            }
        }
    }
}

/// What would become of one entry.
async fn look(
    parts: Arc<Parts>,
    bucket: Option<&Mutex<TokenBucket>>,
    origin: Instant,
    op: Arc<FailedOp>,
) -> ItemResult {
    let item = |outcome, took, note| ItemResult {
        id: op.id,
        domain: Some(op.domain.clone()),
        outcome,
        status: None,
        took,
        note,
    };
    let Some(handler) = parts.handlers.get(&op.domain) else {
        let note = format!("no handler is registered for domain {}", op.domain);
        return item(ItemOutcome::Deferred, Duration::ZERO, note);
    };
    if let Some(bucket) = bucket {
        wait_for_token(bucket, origin).await;
    }
    let context = ReplayContext {
        attempt: attempt_number(&op),
        claim_token: op.state.claim_token.next(),
        timeout: parts.policy.handler_timeout,
        dry_run: true,
    };
    let (handler, texts) = (Arc::clone(handler), Arc::clone(&parts.texts));
    let Attempted { outcome, took } = attempt(handler, Arc::clone(&op), context, texts).await;
    let (outcome, note) = match outcome {
        ReplayOutcome::Succeeded { note } => (ItemOutcome::Succeeded, note),
        ReplayOutcome::AlreadyDone { note } => (ItemOutcome::AlreadyDone, note),
        ReplayOutcome::Failed { error, .. } => (ItemOutcome::Failed, error),
        ReplayOutcome::Permanent { error } => (ItemOutcome::Permanent, error),
        ReplayOutcome::Deferred { reason, .. } => (ItemOutcome::Deferred, reason),
    };
    item(outcome, took, note)
}

async fn wait_for_token(bucket: &Mutex<TokenBucket>, origin: Instant) {
    loop {
        let now = Instant::now() - origin;
        let taken = bucket.lock().unwrap_or_else(PoisonError::into_inner).take(1, now);
        match taken {
            Err(Throttled::RetryIn(wait)) => sleep(wait).await,
            Ok(()) | Err(Throttled::NeverFits { .. }) => return,
        }
    }
}
