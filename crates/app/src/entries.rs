//! Entry operations: what people and policies do with captured entries besides replaying them.

use std::{collections::HashMap, sync::Arc};

use baldur_core::{
    BackendError, BackendKind, Count, EntryId, EntrySummary, EvidenceRecord, FacetScope, Facets,
    FailedOp, Filter, ListQuery, OpState, Page, Retry,
    command::{Act, Action, Lapse},
    name::Reason,
    policy::{backoff::BackoffPolicy, redact::RedactionRules},
    port::{
        ClaimError, ClaimStore, EntryReader, EvidenceBacklog, EvidenceError, EvidenceLog, Lapsed,
        ReadError,
    },
};

use crate::{
    capture::scrub,
    env::{Env, Who},
};

/// The longest note that is kept, in bytes.
pub const MAX_NOTE_BYTES: usize = 2 << 10;

/// How many entries one call to the store is about. A store's step stays short, whatever a caller asks for.
const CHUNK: usize = 100;

/// How many records of a trail are read at once.
const TRAIL_PAGE: usize = 500;

/// Looks entries up and moves them by hand. Cheap to clone.
///
/// Acts on many entries are answered one by one, in the order of the ids; an id that is given twice is acted on once
/// and has the same answer twice.
#[derive(Clone, Debug)]
pub struct EntryService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    reader: Arc<dyn EntryReader>,
    claims: Arc<dyn ClaimStore>,
    evidence: Arc<dyn EvidenceLog>,
    env: Env,
    redaction: RedactionRules,
    backoff: BackoffPolicy,
}

impl EntryService {
    /// A service over these ports. Notes are redacted by `redaction`; lapsed entries wait by the default
    /// [`BackoffPolicy`].
    pub fn new(
        reader: Arc<dyn EntryReader>,
        claims: Arc<dyn ClaimStore>,
        evidence: Arc<dyn EvidenceLog>,
        env: Env,
        redaction: RedactionRules,
    ) -> Self {
        let backoff = BackoffPolicy::default();
        Self { inner: Arc::new(Inner { reader, claims, evidence, env, redaction, backoff }) }
    }

    /// The same service with another wait for lapsed entries.
    #[must_use]
    pub fn with_backoff(self, backoff: BackoffPolicy) -> Self {
        let Inner { reader, claims, evidence, env, redaction, backoff: _ } = &*self.inner;
        let inner = Inner {
            reader: Arc::clone(reader),
            claims: Arc::clone(claims),
            evidence: Arc::clone(evidence),
            env: env.clone(),
            redaction: redaction.clone(),
            backoff,
        };
        Self { inner: Arc::new(inner) }
    }

    /// One entry, whole. An unknown id is `None`.
    ///
    /// # Errors
    ///
    /// When the store could not be read.
    pub async fn get(&self, id: EntryId) -> Result<Option<FailedOp>, ReadError> {
        Ok(self.inner.reader.find(vec![id]).await?.into_iter().next().flatten())
    }

    /// Entries, whole, in the order of the ids. An unknown id is `None`; a repeated one is answered again.
    ///
    /// # Errors
    ///
    /// When the store could not be read, also in part.
    pub async fn get_many(&self, ids: Vec<EntryId>) -> Result<Vec<Option<FailedOp>>, ReadError> {
        let Distinct { distinct, positions } = Distinct::of(&ids);
        let mut found = Vec::with_capacity(distinct.len());
        for chunk in distinct.chunks(CHUNK) {
            let mut entries = self.inner.reader.find(chunk.to_vec()).await?;
            entries.resize_with(chunk.len(), || None);
            found.append(&mut entries);
        }
        Ok(fan_out(&positions, &found))
    }

    /// One page; see [`EntryReader::list`].
    ///
    /// # Errors
    ///
    /// [`ReadError::Invalid`] for a cursor of another direction; else when the store could not be read.
    pub async fn list(&self, query: ListQuery) -> Result<Page<EntrySummary>, ReadError> {
        self.inner.reader.list(query).await
    }

    /// How many entries match, counted up to `cap`; see [`EntryReader::count`].
    ///
    /// # Errors
    ///
    /// When the store could not be read.
    pub async fn count(&self, filter: Filter, cap: u64) -> Result<Count, ReadError> {
        self.inner.reader.count(filter, cap).await
    }

    /// How many entries there are by each dimension; see [`EntryReader::facets`].
    ///
    /// # Errors
    ///
    /// When the store could not be read.
    pub async fn facets(&self, scope: FacetScope) -> Result<Facets, ReadError> {
        self.inner.reader.facets(scope).await
    }

    /// Everything that happened to one entry, oldest first. An unknown entry has no records.
    ///
    /// # Errors
    ///
    /// When the store could not be read, also in part.
    pub async fn trail(&self, id: EntryId) -> Result<Vec<EvidenceRecord>, EvidenceError> {
        let mut trail: Vec<EvidenceRecord> = Vec::new();
        loop {
            let seen = trail.last().map_or(0, |record| record.counter);
            let mut page = self.inner.evidence.trail(id, seen, TRAIL_PAGE).await?;
            let is_last = page.len() < TRAIL_PAGE;
            trail.append(&mut page);
            if is_last {
                return Ok(trail);
            }
        }
    }

    /// How much evidence waits for its place in the journal; see [`EvidenceLog::backlog`].
    ///
    /// # Errors
    ///
    /// When the store could not be read.
    pub async fn backlog(&self) -> Result<EvidenceBacklog, EvidenceError> {
        self.inner.evidence.backlog().await
    }

    /// Says that these are done. The note is redacted and cut to [`MAX_NOTE_BYTES`].
    ///
    /// # Errors
    ///
    /// For each by itself: [`ClaimError::NotFound`], or [`ClaimError::NotAllowed`] where the state table forbids it.
    pub async fn resolve(
        &self,
        ids: &[EntryId],
        note: &str,
        who: &Who,
    ) -> Vec<Result<OpState, ClaimError>> {
        let note = self.note(note);
        self.act(ids, &Action::Resolve { note }, who).await
    }

    /// Refuses these for good; they can be reopened. The note is redacted and cut to [`MAX_NOTE_BYTES`].
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn reject(
        &self,
        ids: &[EntryId],
        note: &str,
        who: &Who,
    ) -> Vec<Result<OpState, ClaimError>> {
        let note = self.note(note);
        self.act(ids, &Action::Reject { note }, who).await
    }

    /// Takes up again what a person closed or what expired, with a fresh budget.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn reopen(&self, ids: &[EntryId], who: &Who) -> Vec<Result<OpState, ClaimError>> {
        self.act(ids, &Action::Reopen, who).await
    }

    /// Says that a person looks at these: no replay takes them meanwhile.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn review(&self, ids: &[EntryId], who: &Who) -> Vec<Result<OpState, ClaimError>> {
        self.act(ids, &Action::Review, who).await
    }

    /// Says that the person is done looking: they wait for a replay again.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn back(&self, ids: &[EntryId], who: &Who) -> Vec<Result<OpState, ClaimError>> {
        self.act(ids, &Action::Back, who).await
    }

    /// Says that these need a person.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub async fn escalate(&self, ids: &[EntryId], who: &Who) -> Vec<Result<OpState, ClaimError>> {
        self.act(ids, &Action::Escalate, who).await
    }

    /// Ends claims that ran out because their worker died: at most `limit`. They are claimable again after a wait with
    /// jitter, or wait for a person when their budget is used up.
    ///
    /// # Errors
    ///
    /// When the backend failed. What was ended before stays ended.
    pub async fn lapse(&self, limit: usize) -> Result<Lapsed, ClaimError> {
        let mut done = Lapsed::default();
        while done.lapsed.len() < limit {
            let asked = CHUNK.min(limit - done.lapsed.len());
            let step = self.inner.claims.lapse(self.lapse_of(asked)).await?;
            let is_idle = step.lapsed.is_empty();
            done.more = step.more;
            done.lapsed.extend(step.lapsed);
            if is_idle || !done.more {
                break;
            }
        }
        if !done.lapsed.is_empty() {
            tracing::warn!(entries = done.lapsed.len(), more = done.more, "entries.claims_lapsed");
        }
        Ok(done)
    }

    fn lapse_of(&self, limit: usize) -> Lapse {
        let env = &self.inner.env;
        let [a, b, c, d, ..] = env.ids.entropy();
        let unit = f64::from(u32::from_le_bytes([a, b, c, d])) / 2_f64.powi(32);
        Lapse {
            limit,
            retry_in: self.inner.backoff.delay(0, unit),
            evidence: env.evidence(&Who::system()),
        }
    }

    fn note(&self, note: &str) -> String {
        scrub::text(note, MAX_NOTE_BYTES, &self.inner.redaction)
    }

    async fn act(
        &self,
        ids: &[EntryId],
        action: &Action,
        who: &Who,
    ) -> Vec<Result<OpState, ClaimError>> {
        let Inner { claims, env, redaction, .. } = &*self.inner;
        let mut evidence = scrub::evidence(env, who, redaction);
        if evidence.reason.is_none() {
            evidence.reason = reason_of(action, redaction);
        }
        let Distinct { distinct, positions } = Distinct::of(ids);
        let mut answers: Vec<Result<OpState, ClaimError>> = Vec::with_capacity(distinct.len());
        for chunk in distinct.chunks(CHUNK) {
            if let Some(outage) = outage(&answers) {
                answers.resize(answers.len() + chunk.len(), Err(outage));
                continue;
            }
            let acts = chunk
                .iter()
                .map(|id| Act { id: *id, action: action.clone(), evidence: evidence.clone() })
                .collect();
            let mut step = claims.apply(acts).await;
            step.resize_with(chunk.len(), || Err(unanswered().into()));
            answers.append(&mut step);
        }
        let applied = answers.iter().filter(|answer| answer.is_ok()).count();
        let (action, failed) = (action.cause().as_str(), answers.len() - applied);
        tracing::info!(action, applied, failed, actor = %evidence.actor, "entries.acted_on");
        fan_out(&positions, &answers)
    }
}

/// When the whole last step failed because the backend is down, the next ones need not wait for it too: the error that
/// the rest is answered with, of which it is certain that nothing was changed.
fn outage(answers: &[Result<OpState, ClaimError>]) -> Option<ClaimError> {
    let step = answers.rchunks(CHUNK).next()?;
    let is_down =
        step.iter().all(|answer| {
            matches!(answer, Err(ClaimError::Backend(error)) if error.retry() == Retry::Backoff)
        });
    match step.last() {
        Some(Err(ClaimError::Backend(error))) if is_down => {
            Some(error.clone().not_applied().into())
        }
        Some(_) | None => None,
    }
}

fn unanswered() -> BackendError {
    BackendError::new("store", "answer an act", BackendKind::Other)
}

/// Ids without repetitions, and for each given id where it is among them.
struct Distinct {
    distinct: Vec<EntryId>,
    positions: Vec<usize>,
}

impl Distinct {
    fn of(ids: &[EntryId]) -> Self {
        let mut distinct = Vec::with_capacity(ids.len());
        let mut seen = HashMap::with_capacity(ids.len());
        let positions = ids
            .iter()
            .map(|id| {
                *seen.entry(*id).or_insert_with(|| {
                    distinct.push(*id);
                    distinct.len() - 1
                })
            })
            .collect();
        Self { distinct, positions }
    }
}

/// The answers in the order of the given ids. Every position is that of an answer.
fn fan_out<T: Clone>(positions: &[usize], answers: &[T]) -> Vec<T> {
    positions.iter().filter_map(|position| answers.get(*position).cloned()).collect()
}

/// The note of an act is also why it was done, where nothing else is said.
fn reason_of(action: &Action, rules: &RedactionRules) -> Option<Reason> {
    match action {
        Action::Resolve { note } | Action::Reject { note } => {
            Reason::parse(&scrub::line(note, Reason::MAX_BYTES, rules)).ok()
        }
        Action::Review | Action::Back | Action::Escalate | Action::Expire | Action::Reopen => None,
    }
}
