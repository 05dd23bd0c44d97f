//! Faults of limits, evictions and replaced payloads.

#![expect(clippy::wildcard_enum_match_arm, reason = "each hook concerns few of the faults")]

use std::{
    collections::HashMap,
    num::NonZeroU64,
    sync::{Arc, Mutex},
};

use baldur_core::{
    Count, EntryId, EvidenceEvent, EvidenceRecord, FailedOp, Filter, ResolutionType, Status,
    command::{Action, Capture, LiveLimits, OnMerge, Settle, SettleOutcome, WhenFull},
    port::{
        CaptureError, CaptureStore, Captured, ClaimStore, Disposition, EntryReader, LimitScope,
    },
};

use crate::twin::{Fault, Twin};

/// What was captured last, by entry: what a faulty store remembers though it should not.
#[derive(Clone, Debug, Default)]
pub(crate) struct Remembered(Arc<Mutex<HashMap<EntryId, FailedOp>>>);

impl Remembered {
    fn keep(&self, id: EntryId, op: FailedOp) {
        self.0.lock().expect("no panic inside").insert(id, op);
    }

    fn get(&self, id: EntryId) -> Option<FailedOp> {
        self.0.lock().expect("no panic inside").get(&id).cloned()
    }
}

impl Twin {
    /// What a fault makes of a capture's limits, whatever the store holds.
    pub(crate) fn distort_overflow(&self, capture: &mut Capture) {
        if self.has(Fault::KeepsTheFirstPayload) {
            capture.on_merge = OnMerge::KeepFirst;
        }
        let Some(limits) = &mut capture.limits else { return };
        match self.fault {
            Fault::IgnoresLimits => capture.limits = None,
            Fault::IgnoresTheLimitOfTheDomain => limits.in_domain = None,
            Fault::IgnoresTheLimitInAll => limits.in_all = None,
            Fault::CountsAllForTheDomain => {
                limits.in_all = [limits.in_domain, limits.in_all].into_iter().flatten().min();
                limits.in_domain = None;
            }
            Fault::NeverEvicts => limits.when_full = WhenFull::Reject,
            _ => {}
        }
    }

    /// What a fault does before the store is asked, one capture at a time.
    pub(crate) async fn before_capture(&self, capture: &mut Capture) -> Result<(), CaptureError> {
        let Some(limits) = capture.limits else { return Ok(()) };
        let every = |statuses: &[Status]| Filter {
            domain: Some(capture.op.domain.clone()),
            statuses: statuses.to_vec(),
            ..Filter::default()
        };
        match self.fault {
            Fault::CountsHistory => full(&limits, self.number(every(&[])).await),
            Fault::CountsWaitingOnly => {
                if full(&limits, self.number(every(&[Status::Pending])).await).is_ok() {
                    capture.limits = None;
                }
                Ok(())
            }
            Fault::ChargesEveryCapture => full(&limits, self.number(every(&Status::LIVE)).await),
            Fault::EvictsOneAtMost => {
                let live = NonZeroU64::new(self.number(every(&Status::LIVE)).await);
                let raised = limits.in_domain.max(live).filter(|_| limits.in_domain.is_some());
                capture.limits = Some(LiveLimits { in_domain: raised, ..limits });
                Ok(())
            }
            Fault::EvictsWhatIsWorkedOn => {
                self.free_all(capture).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn number(&self, filter: Filter) -> u64 {
        match self.inner.count(filter, u64::MAX - 1).await {
            Ok(Count::Exactly(n) | Count::AtLeast(n)) => n,
            Err(_) => 0,
        }
    }

    /// Takes every entry away from whoever works on it.
    async fn free_all(&self, capture: &Capture) {
        let query = baldur_core::ListQuery::default();
        let Ok(page) = self.inner.list(query).await else { return };
        for item in page.items {
            let Some(op) = self.current(item.id).await else { continue };
            match op.state.status {
                Status::Reviewing => self.by_hand(op.id, Action::Back, capture).await,
                Status::Replaying => {
                    let settle = Settle {
                        id: op.id,
                        token: op.state.claim_token,
                        outcome: SettleOutcome::Released,
                        trigger: ResolutionType::ManualRetry,
                        evidence: capture.evidence.clone(),
                    };
                    self.inner.settle_batch(vec![settle]).await;
                }
                _ => {}
            }
        }
    }

    /// What a fault makes of the answer.
    pub(crate) async fn after_capture(
        &self,
        answer: Result<Captured, CaptureError>,
        capture: &Capture,
    ) -> Result<Captured, CaptureError> {
        let answer = match answer {
            Err(error @ CaptureError::LimitReached { .. }) => {
                let unlimited = Capture { limits: None, ..capture.clone() };
                let drops = capture.limits.is_some_and(|l| l.when_full == WhenFull::DropOldest);
                if self.has(Fault::GrowsWhenNothingMayGo) && drops {
                    return self.inner.capture_batch(vec![unlimited]).await.remove(0);
                }
                if self.has(Fault::KeepsWhatItRefuses) {
                    self.inner.capture_batch(vec![unlimited]).await;
                }
                return Err(error);
            }
            answer => answer?,
        };
        if answer.disposition != Disposition::Repeated {
            self.remembered.keep(answer.id, capture.op.clone());
        }
        Ok(match self.fault {
            Fault::ConcealsTheNumberOfLiveEntries => Captured { live: None, ..answer },
            Fault::ConcealsEvictions => Captured { evicted: Vec::new(), ..answer },
            Fault::ForgetsIdsThatWent
                if answer.disposition == Disposition::Repeated
                    && self.current(answer.id).await.is_none() =>
            {
                Captured { disposition: Disposition::New, ..answer }
            }
            _ => answer,
        })
    }

    /// What a fault makes of an entry that was looked up.
    pub(crate) fn shown(&self, id: EntryId, found: Option<FailedOp>) -> Option<FailedOp> {
        let last = self.remembered.get(id);
        match (self.fault, found, last) {
            (Fault::FindsWhatWent, None, last) => last,
            (Fault::AlwaysKeepsTheLastPayload, Some(op), Some(last)) => {
                let FailedOp { request_data, idempotency_key, .. } = last;
                Some(FailedOp { request_data, idempotency_key, ..op })
            }
            (Fault::ForgetsPayloadVersions, Some(op), _) => {
                Some(FailedOp { payload_version: 1, ..op })
            }
            (Fault::RegroupsWithThePayload, Some(op), Some(last)) if op.payload_version > 1 => {
                let FailedOp { domain, labels, created_at, .. } = last;
                Some(FailedOp { domain, labels, created_at, ..op })
            }
            (_, found, _) => found,
        }
    }

    /// What a fault makes of a trail of evidence.
    pub(crate) async fn told(
        &self,
        id: EntryId,
        mut trail: Vec<EvidenceRecord>,
    ) -> Vec<EvidenceRecord> {
        match self.fault {
            Fault::LosesRecordsOfEvictions => {
                trail.retain(|record| record.event != EvidenceEvent::Evicted);
            }
            Fault::LosesTrailsOfWhatWent if self.current(id).await.is_none() => trail.clear(),
            Fault::LosesDigestsOfMerges => {
                for record in &mut trail {
                    record.digest = record.digest.filter(|_| record.event != EvidenceEvent::Merged);
                }
            }
            _ => {}
        }
        trail
    }
}

fn full(limits: &LiveLimits, counted: u64) -> Result<(), CaptureError> {
    match limits.in_domain.or(limits.in_all).map(NonZeroU64::get) {
        Some(limit) if counted >= limit => {
            Err(CaptureError::LimitReached { scope: LimitScope::Domain, live: counted, limit })
        }
        Some(_) | None => Ok(()),
    }
}
