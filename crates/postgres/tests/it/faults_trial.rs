//! One write of each kind, as a fault meets it: what it needs, whether it was applied, and what its caller does next.

use std::time::Duration;

use baldur_contract::evidence;
use baldur_core::{
    BackendError, ClaimToken, EntryId, FailedOp, Outcome, ResolutionType, Status, Timestamp,
    command::{
        Act, Action, Capture, ClaimBatch, ClaimRef, ClaimSelect, ClaimTerms, Extend, Lapse, Settle,
        SettleOutcome,
    },
    name::{Domain, WorkerName},
    port::{CaptureError, CaptureStore, ClaimError, ClaimStore, Disposition, EntryReader},
};
use baldur_postgres::PostgresStore;

use crate::faults_lab::{FaultLab, becomes};

/// How long claims last that are to run out.
const LEASE: Duration = Duration::from_mins(1);
/// How long those last that must not, although other trials let time pass.
const LONG: Duration = Duration::from_hours(10_000);

/// How many entries a trial is about.
const ENTRIES: usize = 3;

/// The kinds of writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Capture,
    ClaimDue,
    ClaimIds,
    Extend,
    Settle,
    Act,
    Lapse,
}

impl Write {
    pub(crate) const ALL: [Self; 7] = [
        Self::Capture,
        Self::ClaimDue,
        Self::ClaimIds,
        Self::Extend,
        Self::Settle,
        Self::Act,
        Self::Lapse,
    ];
}

/// How a call ended that went through a fault.
pub(crate) type Answer = Result<(), BackendError>;

/// One write that is about to be asked for, on entries of its own.
pub(crate) struct Trial {
    write: Write,
    captures: Vec<Capture>,
    domain: Domain,
    token: ClaimToken,
    claimed_until: Option<Timestamp>,
}

impl Trial {
    /// Brings entries to where the write can be asked for, past the proxy.
    pub(crate) async fn prepare(lab: &FaultLab, write: Write, name: &str) -> Self {
        let domain = format!("d_{name}");
        let captures: Vec<Capture> =
            (0..ENTRIES).map(|_| lab.captures.an_op().domain(&domain).build()).collect();
        let domain = Domain::parse(&domain).expect("a domain");
        let token = ClaimToken::default();
        let mut trial = Self { write, captures, domain, token, claimed_until: None };
        if write == Write::Capture {
            return trial;
        }
        for kept in lab.direct.capture_batch(trial.captures.clone()).await {
            kept.expect("a capture");
        }
        if matches!(write, Write::Extend | Write::Settle | Write::Lapse) {
            let lease = if write == Write::Lapse { LEASE } else { LONG };
            let select = ClaimSelect::Ids(trial.ids());
            let claimed = trial.claim(lab, &lab.direct, select, lease).await;
            assert_eq!(claimed.expect("a claim").len(), ENTRIES);
            let first = &trial.found(lab).await[0];
            trial.token = first.state.claim_token;
            trial.claimed_until = first.state.hold.as_ref().map(|hold| hold.expires_at);
        }
        match write {
            Write::Extend => lab.clock.advance(Duration::from_secs(1)),
            Write::Lapse => lab.clock.advance(LEASE),
            Write::Capture | Write::ClaimDue | Write::ClaimIds | Write::Settle | Write::Act => {}
        }
        trial
    }

    pub(crate) fn ids(&self) -> Vec<EntryId> {
        self.captures.iter().map(|capture| capture.op.id).collect()
    }

    /// Asks for it, once.
    pub(crate) async fn ask(&self, lab: &FaultLab, store: &PostgresStore) -> Answer {
        let ids = self.ids();
        let note = String::new();
        match self.write {
            Write::Capture => all(store
                .capture_batch(self.captures.clone())
                .await
                .into_iter()
                .map(|it| it.map(drop).map_err(of_capture))),
            Write::ClaimDue => self.claim(lab, store, self.due(), LEASE).await.map(drop),
            Write::ClaimIds => self.claim(lab, store, ClaimSelect::Ids(ids), LEASE).await.map(drop),
            Write::Extend => all(store
                .extend(Extend { claims: self.claims(), lease: LONG })
                .await
                .into_iter()
                .map(|it| it.map_err(of_claim))),
            Write::Settle => all(store
                .settle_batch(self.settles(lab))
                .await
                .into_iter()
                .map(|it| it.map(drop).map_err(of_claim))),
            Write::Act => {
                let act = |id| Act {
                    id,
                    action: Action::Resolve { note: note.clone() },
                    evidence: evidence(&lab.clock),
                };
                let acts = ids.into_iter().map(act).collect();
                let answers = store.apply(acts).await.into_iter();
                all(answers.map(|it| it.map(drop).map_err(of_claim)))
            }
            Write::Lapse => {
                let lapse =
                    Lapse { limit: 100, retry_in: Duration::ZERO, evidence: evidence(&lab.clock) };
                store.lapse(lapse).await.map(drop).map_err(of_claim)
            }
        }
    }

    /// Whether it was done, to all of them or to none: a write is never done by half.
    pub(crate) async fn is_applied(&self, lab: &FaultLab) -> bool {
        let found = lab.direct.find(self.ids()).await.expect("a read past the proxy");
        let done: Vec<bool> =
            found.iter().map(|op| op.as_ref().is_some_and(|op| self.is_applied_to(op))).collect();
        assert!(done.iter().all(|it| *it == done[0]), "{:?} by half: {done:?}", self.write);
        done[0]
    }

    fn is_applied_to(&self, op: &FailedOp) -> bool {
        let state = &op.state;
        match self.write {
            Write::Capture => true,
            Write::ClaimDue | Write::ClaimIds => state.status == Status::Replaying,
            Write::Extend => state.hold.as_ref().map(|it| it.expires_at) > self.claimed_until,
            Write::Settle | Write::Act => state.status == Status::Resolved,
            Write::Lapse => state.status == Status::Pending,
        }
    }

    /// Does what a caller does that was not told success, and looks whether it ends as if nothing had gone wrong.
    pub(crate) async fn recover(&self, lab: &FaultLab, store: &PostgresStore, was_applied: bool) {
        match self.write {
            Write::Capture => self.capture_again(store, was_applied).await,
            Write::ClaimDue | Write::ClaimIds if was_applied => {
                self.claim_after_lapse(lab, store).await;
            }
            // What a transaction that is still about to end has locked is skipped.
            Write::ClaimDue => {
                becomes("it is claimed", || async {
                    self.ask(lab, store).await.expect("asked again");
                    self.is_applied(lab).await
                })
                .await;
            }
            Write::ClaimIds | Write::Extend | Write::Lapse => {
                self.ask(lab, store).await.expect("asked again");
            }
            Write::Settle => {
                for settled in store.settle_batch(self.settles(lab)).await {
                    assert_eq!(settled.expect("a settle").repeated, was_applied);
                }
            }
            // What is resolved can't be resolved again; nothing to do then.
            Write::Act if was_applied => {}
            Write::Act => self.ask(lab, store).await.expect("asked again"),
        }
        assert!(self.is_applied(lab).await, "{:?} is not done", self.write);
        self.looks_untouched(lab).await;
    }

    async fn capture_again(&self, store: &PostgresStore, was_applied: bool) {
        let expected = if was_applied { Disposition::Repeated } else { Disposition::New };
        for kept in store.capture_batch(self.captures.clone()).await {
            let kept = kept.expect("a capture");
            assert_eq!((kept.disposition, kept.occurrence), (expected, 1));
        }
    }

    /// A claim whose holder never heard of it is nobody else's until it has run out.
    async fn claim_after_lapse(&self, lab: &FaultLab, store: &PostgresStore) {
        let claim = self.claim(lab, store, self.due(), LEASE).await.expect("a claim");
        assert_eq!(claim, [], "claimed twice");
        let before = self.found(lab).await;
        lab.clock.advance(LEASE);
        let lapse = Lapse { limit: 100, retry_in: Duration::ZERO, evidence: evidence(&lab.clock) };
        let lapsed = store.lapse(lapse).await.expect("a lapse").lapsed;
        assert!(self.ids().iter().all(|id| lapsed.iter().any(|(it, _)| it == id)));
        let again = self.claim(lab, store, self.due(), LEASE).await.expect("a claim");
        assert_eq!(again.len(), ENTRIES);
        for op in before {
            let token = again.iter().find(|(id, _)| *id == op.id).map(|(_, token)| *token);
            assert!(token > Some(op.state.claim_token), "an old token came back");
        }
    }

    /// There is one entry for each capture, with one occurrence and no attempt that nobody made.
    async fn looks_untouched(&self, lab: &FaultLab) {
        for op in self.found(lab).await {
            assert_eq!(op.state.occurrences, 1);
            let trail = baldur_core::port::EvidenceLog::trail(&lab.direct, op.id, 0, 100)
                .await
                .expect("a read past the proxy");
            assert_eq!(trail.len() as u64, op.state.evidence_count, "{:?}", self.write);
        }
    }

    async fn found(&self, lab: &FaultLab) -> Vec<FailedOp> {
        let found = lab.direct.find(self.ids()).await.expect("a read past the proxy");
        found.into_iter().map(|op| op.expect("it is there")).collect()
    }

    fn due(&self) -> ClaimSelect {
        let domains = vec![self.domain.clone()];
        ClaimSelect::Due { domains, dependency: None, limit: 100 }
    }

    fn claims(&self) -> Vec<ClaimRef> {
        self.ids().into_iter().map(|id| ClaimRef { id, token: self.token }).collect()
    }

    fn settles(&self, lab: &FaultLab) -> Vec<Settle> {
        let settle = |id| Settle {
            id,
            token: self.token,
            outcome: SettleOutcome::Succeeded { note: String::new() },
            trigger: ResolutionType::ManualRetry,
            evidence: evidence(&lab.clock),
        };
        self.ids().into_iter().map(settle).collect()
    }

    async fn claim(
        &self,
        lab: &FaultLab,
        store: &PostgresStore,
        select: ClaimSelect,
        lease: Duration,
    ) -> Result<Vec<(EntryId, ClaimToken)>, BackendError> {
        let terms = ClaimTerms {
            holder: WorkerName::parse("worker").expect("a name"),
            lease,
            force: false,
            unchanged_since: None,
            evidence: evidence(&lab.clock),
        };
        let outcome = store.claim_batch(ClaimBatch { select, terms }).await.map_err(of_claim)?;
        let claimed = outcome.claimed.into_iter();
        Ok(claimed.map(|it| (it.op.id, it.op.state.claim_token)).collect())
    }
}

fn all(answers: impl Iterator<Item = Answer>) -> Answer {
    let answers: Vec<Answer> = answers.collect();
    let outcomes: Vec<Option<Outcome>> =
        answers.iter().map(|it| it.as_ref().err().map(BackendError::outcome)).collect();
    assert!(outcomes.iter().all(|it| *it == outcomes[0]), "one commit: {outcomes:?}");
    answers.into_iter().collect()
}

fn of_capture(error: CaptureError) -> BackendError {
    let CaptureError::Backend(error) = error else { panic!("no fault of the store: {error}") };
    error
}

fn of_claim(error: ClaimError) -> BackendError {
    let ClaimError::Backend(error) = error else { panic!("no fault of the store: {error}") };
    error
}
