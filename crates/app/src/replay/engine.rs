//! The engine: what callers hold.

use std::{collections::BTreeSet, fmt, sync::Arc};

use baldur_core::{
    EntryId, Filter, ResolutionType, Status,
    name::{Domain, ServiceName},
    policy::RedactionRules,
    port::{ClaimError, ClaimStore, EntryReader},
};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    HandlerRegistry, ItemResult, MAX_CONCURRENCY, MAX_IDS, ReplayError, ReplayEvent, ReplayPolicy,
    ReplayReport, ReplayRequest, ReplaySelect, attempt::Texts, dry::DryRun, listener::Listener,
    run::Run, selection::Selection,
};
use crate::{Env, Who, range::within};

/// Replays failed operations: claims them, asks their handlers, and settles what came of it. Cheap to clone.
#[derive(Clone)]
pub struct ReplayEngine {
    pub(super) parts: Arc<Parts>,
}

/// What all runs of an engine share.
pub(super) struct Parts {
    pub(super) claims: Arc<dyn ClaimStore>,
    pub(super) reader: Arc<dyn EntryReader>,
    pub(super) handlers: HandlerRegistry,
    pub(super) env: Env,
    pub(super) policy: ReplayPolicy,
    pub(super) texts: Arc<Texts>,
}

impl fmt::Debug for ReplayEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayEngine")
            .field("handlers", &self.parts.handlers)
            .field("policy", &self.parts.policy)
            .finish_non_exhaustive()
    }
}

impl ReplayEngine {
    /// An engine with these handlers.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Invalid`] when a value of the policy is out of its range.
    pub fn new(
        claims: Arc<dyn ClaimStore>,
        reader: Arc<dyn EntryReader>,
        handlers: HandlerRegistry,
        env: Env,
        policy: ReplayPolicy,
        redaction: RedactionRules,
    ) -> Result<Self, ReplayError> {
        policy.check()?;
        let texts = Arc::new(Texts { redaction, max_bytes: policy.max_note_bytes });
        Ok(Self { parts: Arc::new(Parts { claims, reader, handlers, env, policy, texts }) })
    }

    /// The terms on which it replays.
    pub(crate) fn policy(&self) -> &ReplayPolicy {
        &self.parts.policy
    }

    /// The handlers.
    pub fn handlers(&self) -> &HandlerRegistry {
        &self.parts.handlers
    }

    /// Replays entries until none that may be taken up is left, the limit is reached, targets or the store are down,
    /// or `cancel` is triggered. The report says which.
    ///
    /// First, claims that ran out are ended, so that what a worker left that died is taken up again.
    ///
    /// Events are sent without waiting; what a slow listener has no room for is counted and dropped, so that it
    /// can't hold leases up. The report is complete in any case.
    ///
    /// Once cancelled, nothing new is claimed, what was claimed and not begun is released, and handlers at work may
    /// go on for the policy's grace; who is not done then is dropped and counts as failed.
    ///
    /// Dropping the future drops the handlers at work and settles nothing: their claims run out after the lease,
    /// and lapsing them is charged to their budgets. Prefer to cancel.
    ///
    /// Handlers run as tasks of the current tokio runtime. One that blocks a thread of a runtime with a single thread
    /// also keeps the heartbeat from being sent.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Invalid`] for a request out of range, and [`ReplayError::NoHandler`] for a domain without a
    /// handler, both before anything is done. A dry run also fails when the store can't be read.
    pub async fn run(
        &self,
        request: ReplayRequest,
        events: Option<mpsc::Sender<ReplayEvent>>,
        cancel: CancellationToken,
    ) -> Result<ReplayReport, ReplayError> {
        self.start(request, events, cancel).await.map(|(report, _)| report)
    }

    /// Replays one entry by hand, due or not; with `force` also one that waits for a person.
    ///
    /// # Errors
    ///
    /// [`ReplayError::NotClaimed`] when it could not be claimed: it is unknown, in another state, behind another entry
    /// with its order key, or the store failed.
    pub async fn retry(
        &self,
        id: EntryId,
        force: bool,
        who: &Who,
    ) -> Result<ItemResult, ReplayError> {
        let trigger =
            if force { ResolutionType::ForceRedrive } else { ResolutionType::ManualRetry };
        let request =
            ReplayRequest { force, trigger, who: who.clone(), ..ReplayRequest::ids(vec![id]) };
        // Room for every event that a run of one entry can send, so none is dropped.
        let (events, mut heard) = mpsc::channel(64);
        let (report, refusal) = self.start(request, Some(events), CancellationToken::new()).await?;
        while let Ok(event) = heard.try_recv() {
            match event {
                ReplayEvent::Item(item) if refusal.is_none() => return Ok(item),
                ReplayEvent::Item(_)
                | ReplayEvent::Started { .. }
                | ReplayEvent::Waiting { .. }
                | ReplayEvent::Finished(_) => {}
            }
        }
        let error = refusal.or(match report.stop {
            super::StopReason::StoreUnavailable(error) => Some(error),
            super::StopReason::Drained
            | super::StopReason::LimitReached
            | super::StopReason::Cancelled
            | super::StopReason::Halted
            | super::StopReason::TargetUnavailable(_) => None,
        });
        Err(ReplayError::NotClaimed(error.unwrap_or(ClaimError::NotFound(id))))
    }

    async fn start(
        &self,
        request: ReplayRequest,
        events: Option<mpsc::Sender<ReplayEvent>>,
        cancel: CancellationToken,
    ) -> Result<(ReplayReport, Option<ClaimError>), ReplayError> {
        let parts = &self.parts;
        let concurrency = request.concurrency.unwrap_or(parts.policy.concurrency);
        within("concurrency", concurrency, 1..=MAX_CONCURRENCY).map_err(ReplayError::Invalid)?;
        let rate = request.rate.or(parts.policy.rate);
        let bucket = rate.map(super::RateLimit::bucket).transpose()?;
        let listener = Listener::new(events, request.dry_run);
        if request.dry_run {
            let domains = match &request.select {
                ReplaySelect::Due { domains, .. } => parts.domains(domains)?,
                ReplaySelect::Ids(ids) => check_ids(ids).map(|()| BTreeSet::new())?,
            };
            let dry = DryRun::new(
                Arc::clone(parts),
                &request,
                domains,
                bucket,
                concurrency,
                listener,
                cancel,
            );
            return dry.go(request.select).await;
        }
        let selection = parts.selection(&request)?;
        let run = Run::new(Arc::clone(parts), &request, selection, bucket, concurrency, listener);
        Ok(run.go(cancel).await)
    }
}

impl Parts {
    fn selection(&self, request: &ReplayRequest) -> Result<Selection, ReplayError> {
        match &request.select {
            ReplaySelect::Due { .. } if request.force => {
                Err(ReplayError::Invalid("only entries named by id can be forced".to_owned()))
            }
            ReplaySelect::Due { .. } if request.unchanged_since.is_some() => {
                let why = "only entries named by id can be left alone for having changed";
                Err(ReplayError::Invalid(why.to_owned()))
            }
            ReplaySelect::Due { domains, dependency } => {
                Ok(Selection::due(self.domains(domains)?, dependency.clone()))
            }
            ReplaySelect::Ids(ids) => {
                check_ids(ids)?;
                Ok(Selection::ids(ids.clone()))
            }
        }
    }

    /// The named domains, or all that have a handler.
    fn domains(&self, named: &[Domain]) -> Result<BTreeSet<Domain>, ReplayError> {
        if named.is_empty() {
            return Ok(self.handlers.domains().cloned().collect());
        }
        match named.iter().find(|domain| self.handlers.get(domain).is_none()) {
            Some(domain) => Err(ReplayError::NoHandler(domain.clone())),
            None => Ok(named.iter().cloned().collect()),
        }
    }

    /// About how many entries a run over these domains may take up; `None` when the store doesn't say in time.
    pub(super) async fn total(
        &self,
        domains: impl IntoIterator<Item = Domain>,
        dependency: Option<&ServiceName>,
    ) -> Option<u64> {
        let counting = async {
            let mut total = 0;
            for domain in domains {
                let filter = Filter {
                    statuses: vec![Status::Pending],
                    domain: Some(domain),
                    dependency: dependency.cloned(),
                    ..Filter::default()
                };
                match self.reader.count(filter, u64::MAX).await.ok()? {
                    baldur_core::Count::Exactly(count) | baldur_core::Count::AtLeast(count) => {
                        total += count;
                    }
                }
            }
            Some(total)
        };
        timeout(self.policy.store_timeout, counting).await.ok().flatten()
    }
}

fn check_ids(ids: &[EntryId]) -> Result<(), ReplayError> {
    within("number of ids", ids.len(), 0..=MAX_IDS).map_err(ReplayError::Invalid)
}
