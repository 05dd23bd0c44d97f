//! A memory store with one fault.

use async_trait::async_trait;
use baldur_core::{
    ClaimToken, Count, EntryId, EntrySummary, EvidenceEvent, EvidenceRecord, FacetScope, Facets,
    FailedOp, Filter, Json, ListQuery, OpState, Page, PageSize, Status, Timestamp,
    command::{
        Act, Action, Capture, ClaimBatch, ClaimSelect, Extend, Lapse, Settle, SettleOutcome,
    },
    port::{
        AdminError, CaptureError, CaptureStore, Captured, CheckDepth, CheckReport,
        ClaimBatchOutcome, ClaimError, ClaimStore, Disposition, Durability, EntryReader,
        EvidenceBacklog, EvidenceError, EvidenceLog, ExportedEntry, Imported, Lapsed, ReadError,
        Settled, StoreAdmin,
    },
};
use baldur_memory::MemoryStore;

use crate::overflow::Remembered;

/// What is wrong with a twin: a store that …
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    AcceptsStaleTokens,
    ForgetsDedup,
    ForgetsMergedIds,
    ListsAWindow,
    OffersAnEmptyLastPage,
    LosesRefusals,
    CountsUpToTheCap,
    CountsReplayingAsPending,
    IgnoresOrder,
    Resurrects,
    SpoilsBatches,
    CutsMicroseconds,
    FoldsCase,
    RewritesJson,
    AnswersWithoutKeeping,
    ClaimsTwice,
    SweepsWithoutBound,
    SweepsInOrderOfIds,
    ShowsAnOutageAsNothing,
    SavesOverNewerBreakers,
    ForgetsWhenOrdersEnd,
    CountsEverySaveAsATrip,
    ListsTheLastBreakerAgain,
    PutsAllInOneBucket,
    GrantsWhatIsAskedFor,
    IgnoresLimits,
    IgnoresTheLimitOfTheDomain,
    IgnoresTheLimitInAll,
    CountsAllForTheDomain,
    CountsHistory,
    CountsWaitingOnly,
    ChargesEveryCapture,
    KeepsWhatItRefuses,
    ConcealsTheNumberOfLiveEntries,
    ConcealsEvictions,
    NeverEvicts,
    EvictsOneAtMost,
    EvictsWhatIsWorkedOn,
    GrowsWhenNothingMayGo,
    FindsWhatWent,
    ForgetsIdsThatWent,
    LosesRecordsOfEvictions,
    LosesTrailsOfWhatWent,
    KeepsTheFirstPayload,
    AlwaysKeepsTheLastPayload,
    ForgetsPayloadVersions,
    RegroupsWithThePayload,
    LosesDigestsOfMerges,
    MiscountsOccurrences,
    MiscountsLive,
    TellsEvictionsBackwards,
    ListsTiesBackwards,
    OverlooksLabels,
    OverlooksTheEndOfATime,
    LosesRecordsOfMerges,
    GrantsOutOfOrder,
    ConcealsWhatBlocks,
    ClaimsWhatChanged,
    ExtendsNothing,
    MistakesTriggers,
    MiscountsRetries,
    TakesBentExports,
    CutsLongTexts,
    ComposesTexts,
    IgnoresTheLimitOfUnsealed,
    MiscountsTheBacklog,
}

#[derive(Clone, Debug)]
pub(crate) struct Twin {
    pub(crate) inner: MemoryStore,
    pub(crate) fault: Fault,
    pub(crate) remembered: Remembered,
}

impl Twin {
    pub(crate) async fn close(&self) {
        self.inner.close().await;
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn distort(&self, capture: &mut Capture) {
        self.distort_overflow(capture);
        self.distort_texts(capture);
        let op = &mut capture.op;
        if self.has(Fault::ForgetsDedup) {
            op.dedup_key = None;
        }
        if self.has(Fault::IgnoresOrder) {
            op.order_key = None;
        }
        if self.has(Fault::CutsMicroseconds) {
            let cut = op.created_at.as_micros() / 1_000 * 1_000;
            op.created_at = Timestamp::from_micros(cut).expect("closer to the epoch");
        }
        if self.has(Fault::FoldsCase) {
            let fold = |key: &baldur_core::name::DedupKey| key.as_str().to_lowercase().parse();
            op.dedup_key = op.dedup_key.as_ref().map(|key| fold(key).expect("still a key"));
        }
        if self.has(Fault::RewritesJson) {
            op.request_data = Json::from_trusted(&op.request_data.as_str().replace(' ', ""));
        }
    }

    pub(crate) async fn current(&self, id: EntryId) -> Option<FailedOp> {
        self.inner.find(vec![id]).await.ok()?.pop()?
    }

    pub(crate) async fn by_hand(&self, id: EntryId, action: Action, like: &Capture) {
        let act = Act { id, action, evidence: like.evidence.clone() };
        self.inner.apply(vec![act]).await;
    }
}

#[async_trait]
impl CaptureStore for Twin {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let mut captures = captures;
        for capture in &mut captures {
            self.distort(capture);
        }
        if self.has(Fault::AnswersWithoutKeeping) {
            return captures.iter().map(|capture| Ok(kept_in_words_only(capture.op.id))).collect();
        }
        let mut refused = None;
        if let [capture] = captures.as_mut_slice() {
            refused = self.before_capture(capture).await.err();
        }
        let answers = match refused {
            Some(error) => vec![Err(error)],
            None => self.inner.capture_batch(captures.clone()).await,
        };
        if self.has(Fault::SpoilsBatches) && answers.iter().any(Result::is_err) {
            return vec![Err(CaptureError::Invalid("one was bad".to_owned())); answers.len()];
        }
        let mut told = Vec::new();
        for (answer, capture) in answers.into_iter().zip(captures) {
            let answer = self.miscounted(answer);
            told.push(match self.after_capture(answer, &capture).await {
                Ok(answer) => Ok(self.retold(answer, &capture).await),
                Err(error) => Err(error),
            });
        }
        told
    }
}

fn kept_in_words_only(id: EntryId) -> Captured {
    let durability = Durability::Stored { level: "memory".into() };
    Captured::new(id, durability, 1, Disposition::New)
}

impl Twin {
    async fn retold(&self, answer: Captured, capture: &Capture) -> Captured {
        let repeated = answer.disposition == Disposition::Repeated;
        if self.has(Fault::Resurrects) && repeated {
            self.by_hand(answer.id, Action::Reopen, capture).await;
        }
        if self.has(Fault::ForgetsMergedIds) && repeated && answer.id != capture.op.id {
            return Captured { occurrence: answer.occurrence + 1, ..answer };
        }
        answer
    }
}

#[async_trait]
impl EntryReader for Twin {
    async fn find(&self, ids: Vec<EntryId>) -> Result<Vec<Option<FailedOp>>, ReadError> {
        match EntryReader::find(&self.inner, ids.clone()).await {
            Err(_) if self.has(Fault::ShowsAnOutageAsNothing) => Ok(vec![None; ids.len()]),
            Ok(found) => {
                Ok(ids.into_iter().zip(found).map(|(id, found)| self.shown(id, found)).collect())
            }
            Err(error) => Err(error),
        }
    }

    async fn list(&self, query: ListQuery) -> Result<Page<EntrySummary>, ReadError> {
        if self.has(Fault::ListsAWindow) {
            let window = ListQuery { limit: PageSize::default(), ..query.clone() };
            let window = ListQuery { filter: Filter::default(), ..window };
            let mut page = EntryReader::list(&self.inner, window).await?;
            let mut kept = Vec::new();
            for item in page.items {
                let matches =
                    self.current(item.id).await.is_some_and(|op| query.filter.matches(&op));
                if matches && kept.len() < query.limit.get() {
                    kept.push(item);
                }
            }
            page.items = kept;
            page.next = None;
            return Ok(page);
        }
        let mut page = EntryReader::list(&self.inner, self.asked(query.clone())).await?;
        self.listed(&mut page.items);
        if self.has(Fault::OffersAnEmptyLastPage) && page.items.len() == query.limit.get() {
            let last = page.items.last().map(EntrySummary::position);
            page.next = last.map(|last| baldur_core::Cursor::at(query.order, last));
        }
        Ok(page)
    }

    async fn count(&self, filter: Filter, cap: u64) -> Result<Count, ReadError> {
        let count = self.inner.count(filter, cap).await?;
        Ok(match count {
            Count::Exactly(n) if self.has(Fault::CountsUpToTheCap) => Count::Exactly(n.min(cap)),
            Count::Exactly(_) | Count::AtLeast(_) => count,
        })
    }

    async fn facets(&self, scope: FacetScope) -> Result<Facets, ReadError> {
        let mut facets = self.inner.facets(scope).await?;
        if self.has(Fault::CountsReplayingAsPending)
            && let Some(replaying) = facets.by_status.remove(&Status::Replaying)
        {
            *facets.by_status.entry(Status::Pending).or_default() += replaying;
        }
        Ok(facets)
    }
}

#[async_trait]
impl ClaimStore for Twin {
    async fn claim_batch(&self, claim: ClaimBatch) -> Result<ClaimBatchOutcome, ClaimError> {
        if self.has(Fault::ClaimsTwice)
            && let ClaimSelect::Ids(ids) = &claim.select
        {
            for id in ids {
                let Some(op) = self.current(*id).await else { continue };
                let release = Settle {
                    id: *id,
                    token: op.state.claim_token,
                    outcome: SettleOutcome::Released,
                    trigger: baldur_core::ResolutionType::ManualRetry,
                    evidence: claim.terms.evidence.clone(),
                };
                if op.state.status == Status::Replaying {
                    self.inner.settle_batch(vec![release]).await;
                }
            }
        }
        Ok(self.granted(self.inner.claim_batch(self.loosened(claim)).await?))
    }

    async fn extend(&self, extend: Extend) -> Vec<Result<(), ClaimError>> {
        self.inner.extend(self.shortened(extend)).await
    }

    async fn settle_batch(&self, settles: Vec<Settle>) -> Vec<Result<Settled, ClaimError>> {
        let mut settles = settles;
        if self.has(Fault::AcceptsStaleTokens) {
            for settle in &mut settles {
                let current = self.current(settle.id).await.map(|op| op.state.claim_token);
                settle.token = current.unwrap_or(ClaimToken(0));
            }
        }
        self.mistaken(&mut settles);
        let answers = self.inner.settle_batch(settles).await;
        answers.into_iter().map(|answer| self.told_of(answer)).collect()
    }

    async fn lapse(&self, lapse: Lapse) -> Result<Lapsed, ClaimError> {
        let limit = if self.has(Fault::SweepsWithoutBound) { usize::MAX } else { lapse.limit };
        let mut lapsed = self.inner.lapse(Lapse { limit, ..lapse }).await?;
        if self.has(Fault::SweepsInOrderOfIds) {
            lapsed.lapsed.sort_unstable();
        }
        Ok(lapsed)
    }

    async fn apply(&self, acts: Vec<Act>) -> Vec<Result<OpState, ClaimError>> {
        self.inner.apply(acts).await
    }
}

#[async_trait]
impl EvidenceLog for Twin {
    async fn trail(
        &self,
        entry: EntryId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EvidenceRecord>, EvidenceError> {
        let mut trail = self.inner.trail(entry, after, limit).await?;
        if self.has(Fault::LosesRefusals) {
            trail.retain(|record| record.event != EvidenceEvent::SettleRefused);
        }
        self.forgotten(&mut trail);
        Ok(self.told(entry, trail).await)
    }

    async fn unsealed(&self, limit: usize) -> Result<Vec<EvidenceRecord>, EvidenceError> {
        self.inner.unsealed(self.unbounded(limit)).await
    }

    async fn backlog(&self) -> Result<EvidenceBacklog, EvidenceError> {
        Ok(self.waiting(self.inner.backlog().await?))
    }
}

#[async_trait]
impl StoreAdmin for Twin {
    async fn check(&self, depth: CheckDepth) -> Result<CheckReport, AdminError> {
        self.inner.check(depth).await
    }

    async fn import_batch(&self, entries: Vec<ExportedEntry>) -> Vec<Result<Imported, AdminError>> {
        let answers = self.inner.import_batch(entries).await;
        answers.into_iter().map(|answer| self.taken_over(answer)).collect()
    }
}
