//! Shorthands by which cases drive a store. Each does one thing and fails the case when that goes wrong.

use std::time::Duration;

use baldur_core::{
    Cursor, EntryId, EntrySummary, EvidenceRecord, FailedOp, Filter, ListOrder, ListQuery, OpState,
    PageSize, ResolutionType, Status,
    command::{
        Act, Action, Capture, ClaimBatch, ClaimRef, ClaimSelect, ClaimTerms, Extend, Lapse, Settle,
        SettleOutcome,
    },
    port::{
        CaptureError, Captured, CheckDepth, ClaimBatchOutcome, ClaimError, Disposition,
        ExportedEntry, Lapsed, LimitScope, Settled,
    },
};

use crate::{
    build::{evidence, parsed},
    case::{CaseResult, Failure, ensure, ensure_eq},
    store::StoreUnderTest,
};

/// How long claims of the suite last unless a case says otherwise.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// How long failed replays of the suite wait.
pub(crate) const BACKOFF: Duration = Duration::from_secs(10);

pub(crate) fn succeeded() -> SettleOutcome {
    SettleOutcome::Succeeded { note: "200 OK".to_owned() }
}

pub(crate) fn failed() -> SettleOutcome {
    SettleOutcome::Failed { error: "503".to_owned(), retry_in: BACKOFF }
}

pub(crate) fn permanent() -> SettleOutcome {
    SettleOutcome::Permanent { error: "422".to_owned() }
}

pub(crate) fn deferred() -> SettleOutcome {
    SettleOutcome::Deferred { reason: "circuit open".to_owned(), delay: BACKOFF }
}

pub(crate) fn resolve() -> Action {
    Action::Resolve { note: "done by hand".to_owned() }
}

pub(crate) fn reject() -> Action {
    Action::Reject { note: "not ours".to_owned() }
}

/// The only item of a batch of one.
pub(crate) fn only<T>(mut items: Vec<T>) -> Result<T, Failure> {
    ensure_eq!(items.len(), 1, "answers to a batch of one");
    items.pop().ok_or_else(|| Failure::new("no answer"))
}

impl StoreUnderTest {
    pub(crate) fn terms(&self) -> ClaimTerms {
        ClaimTerms {
            holder: parsed("worker"),
            lease: LEASE,
            force: false,
            unchanged_since: None,
            evidence: evidence(&self.clock),
        }
    }

    pub(crate) async fn keep_all(&self, captures: Vec<Capture>) -> Result<Vec<Captured>, Failure> {
        let asked = captures.len();
        let answers = self.capture.capture_batch(captures).await;
        ensure_eq!(answers.len(), asked, "one answer per capture");
        Ok(answers.into_iter().collect::<Result<_, _>>()?)
    }

    pub(crate) async fn keep(&self, capture: Capture) -> Result<Captured, Failure> {
        only(self.keep_all(vec![capture]).await?)
    }

    /// Keeps an operation that must be new.
    pub(crate) async fn keep_new(&self, capture: Capture) -> Result<EntryId, Failure> {
        let id = capture.op.id;
        let captured = self.keep(capture).await?;
        ensure_eq!((captured.id, captured.disposition), (id, Disposition::New));
        Ok(id)
    }

    /// Tries to keep an operation for which there must be no room.
    pub(crate) async fn no_room(
        &self,
        capture: Capture,
    ) -> Result<(LimitScope, u64, u64), Failure> {
        match only(self.capture.capture_batch(vec![capture]).await)? {
            Err(CaptureError::LimitReached { scope, live, limit }) => Ok((scope, live, limit)),
            answer => Err(Failure::new(format!("expected no room: {answer:?}"))),
        }
    }

    pub(crate) async fn find(&self, id: EntryId) -> Result<Option<FailedOp>, Failure> {
        only(self.reader.find(vec![id]).await?)
    }

    pub(crate) async fn op(&self, id: EntryId) -> Result<FailedOp, Failure> {
        self.find(id).await?.ok_or_else(|| Failure::new(format!("entry {id} is not there")))
    }

    pub(crate) async fn status(&self, id: EntryId) -> Result<Status, Failure> {
        Ok(self.op(id).await?.state.status)
    }

    pub(crate) async fn claim(
        &self,
        select: ClaimSelect,
        terms: ClaimTerms,
    ) -> Result<ClaimBatchOutcome, Failure> {
        Ok(self.claims.claim_batch(ClaimBatch { select, terms }).await?)
    }

    /// Claims due entries of domain `payment`.
    pub(crate) async fn claim_due(&self, limit: usize) -> Result<Vec<FailedOp>, Failure> {
        self.claim_due_of(&["payment"], None, limit).await
    }

    pub(crate) async fn claim_due_of(
        &self,
        domains: &[&str],
        dependency: Option<&str>,
        limit: usize,
    ) -> Result<Vec<FailedOp>, Failure> {
        let domains = domains.iter().map(|domain| parsed(domain)).collect();
        let dependency = dependency.map(parsed);
        let select = ClaimSelect::Due { domains, dependency, limit };
        let outcome = self.claim(select, self.terms()).await?;
        ensure!(outcome.refused.is_empty(), "a due selection refuses nothing");
        Ok(outcome.claimed.into_iter().map(|claimed| claimed.op).collect())
    }

    pub(crate) async fn due_ids(&self, limit: usize) -> Result<Vec<EntryId>, Failure> {
        Ok(self.claim_due(limit).await?.iter().map(|op| op.id).collect())
    }

    pub(crate) async fn claim_ids(&self, ids: &[EntryId]) -> Result<ClaimBatchOutcome, Failure> {
        self.claim(ClaimSelect::Ids(ids.to_vec()), self.terms()).await
    }

    /// Claims this entry, which must work.
    pub(crate) async fn claim_one(&self, id: EntryId) -> Result<FailedOp, Failure> {
        self.claim_one_on(id, self.terms()).await
    }

    pub(crate) async fn claim_forced(&self, id: EntryId) -> Result<FailedOp, Failure> {
        self.claim_one_on(id, ClaimTerms { force: true, ..self.terms() }).await
    }

    pub(crate) async fn claim_one_on(
        &self,
        id: EntryId,
        terms: ClaimTerms,
    ) -> Result<FailedOp, Failure> {
        let outcome = self.claim(ClaimSelect::Ids(vec![id]), terms).await?;
        ensure!(outcome.refused.is_empty(), "claim refused: {:?}", outcome.refused);
        Ok(only(outcome.claimed)?.op)
    }

    /// Tries to claim this entry, which must be refused.
    pub(crate) async fn refusal(&self, id: EntryId) -> Result<ClaimError, Failure> {
        let outcome = self.claim_ids(&[id]).await?;
        ensure!(outcome.claimed.is_empty(), "entry {id} was claimed");
        let (refused, error) = only(outcome.refused)?;
        ensure_eq!(refused, id);
        Ok(error)
    }

    pub(crate) fn settle_command(&self, claimed: &FailedOp, outcome: SettleOutcome) -> Settle {
        Settle {
            id: claimed.id,
            token: claimed.state.claim_token,
            outcome,
            trigger: ResolutionType::ManualReplay,
            evidence: evidence(&self.clock),
        }
    }

    pub(crate) async fn try_settle(
        &self,
        claimed: &FailedOp,
        outcome: SettleOutcome,
    ) -> Result<Result<Settled, ClaimError>, Failure> {
        let settle = self.settle_command(claimed, outcome);
        only(self.claims.settle_batch(vec![settle]).await)
    }

    pub(crate) async fn settle(
        &self,
        claimed: &FailedOp,
        outcome: SettleOutcome,
    ) -> Result<Settled, Failure> {
        Ok(self.try_settle(claimed, outcome).await??)
    }

    /// Claims an entry and settles it.
    pub(crate) async fn replay(
        &self,
        id: EntryId,
        outcome: SettleOutcome,
    ) -> Result<Settled, Failure> {
        let claimed = self.claim_one(id).await?;
        self.settle(&claimed, outcome).await
    }

    pub(crate) async fn try_act(
        &self,
        id: EntryId,
        action: Action,
    ) -> Result<Result<OpState, ClaimError>, Failure> {
        let act = Act { id, action, evidence: evidence(&self.clock) };
        only(self.claims.apply(vec![act]).await)
    }

    pub(crate) async fn act(&self, id: EntryId, action: Action) -> Result<OpState, Failure> {
        Ok(self.try_act(id, action).await??)
    }

    pub(crate) async fn lapse(&self, limit: usize) -> Result<Lapsed, Failure> {
        let evidence = evidence(&self.clock);
        Ok(self.claims.lapse(Lapse { limit, retry_in: BACKOFF, evidence }).await?)
    }

    pub(crate) async fn extend(
        &self,
        claimed: &FailedOp,
        lease: Duration,
    ) -> Result<Result<(), ClaimError>, Failure> {
        let claims = vec![ClaimRef { id: claimed.id, token: claimed.state.claim_token }];
        only(self.claims.extend(Extend { claims, lease }).await)
    }

    /// All evidence of an entry; its counters must run from 1 without gaps, up to the entry's own number.
    pub(crate) async fn trail(&self, id: EntryId) -> Result<Vec<EvidenceRecord>, Failure> {
        let trail = self.evidence.trail(id, 0, usize::from(u16::MAX)).await?;
        let count = self.op(id).await?.state.evidence_count;
        let counters: Vec<u64> = trail.iter().map(|record| record.counter).collect();
        ensure_eq!(counters, (1..=count).collect::<Vec<_>>(), "evidence counters of {id}");
        Ok(trail)
    }

    /// Everything that matches, page by page.
    pub(crate) async fn walk(
        &self,
        filter: &Filter,
        order: ListOrder,
        page: u32,
    ) -> Result<Vec<EntrySummary>, Failure> {
        let mut items = Vec::new();
        let mut after: Option<Cursor> = None;
        loop {
            let limit = PageSize::new(page)?;
            let query = ListQuery { filter: filter.clone(), order, limit, after };
            let page = self.reader.list(query).await?;
            ensure!(page.items.len() <= limit.get(), "a page is longer than asked for");
            ensure!(
                page.next.is_none() || page.items.len() == limit.get(),
                "a page that is not full says that something follows"
            );
            items.extend(page.items);
            match page.next {
                None => return Ok(items),
                Some(next) => {
                    ensure!(Some(next) != after, "the walk does not move on");
                    after = Some(next);
                }
            }
        }
    }

    pub(crate) async fn walk_ids(&self, filter: &Filter) -> Result<Vec<EntryId>, Failure> {
        let items = self.walk(filter, ListOrder::NewestFirst, 1_000).await?;
        Ok(items.into_iter().map(|item| item.id).collect())
    }

    /// All entries with their evidence, oldest first.
    pub(crate) async fn export(&self) -> Result<Vec<ExportedEntry>, Failure> {
        let mut exported = Vec::new();
        for item in self.walk(&Filter::default(), ListOrder::OldestFirst, 500).await? {
            let op = self.op(item.id).await?;
            exported.push(ExportedEntry { op, evidence: self.trail(item.id).await? });
        }
        Ok(exported)
    }

    /// Fails the case unless a deep check finds nothing.
    pub(crate) async fn ensure_sound(&self) -> CaseResult {
        for depth in [CheckDepth::Quick, CheckDepth::Deep] {
            let report = self.admin.check(depth).await?;
            ensure!(!report.checked.is_empty(), "a check says what it looked at");
            ensure!(report.problems.is_empty(), "{depth:?} check: {:?}", report.problems);
        }
        Ok(())
    }
}
