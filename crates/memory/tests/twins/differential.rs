//! The differential test notices a store that differs in one thing, however small, at any port.

use baldur_core::{
    EntrySummary, EvidenceEvent, EvidenceRecord, Filter, ListQuery, ResolutionType,
    command::{Capture, ClaimBatch, ClaimSelect, Extend, Settle},
    port::{
        AdminError, CaptureError, Captured, ClaimBatchOutcome, ClaimError, Disposition,
        EvidenceBacklog, Imported, LiveCounts, Settled,
    },
};

use crate::{
    suite_for,
    twin::{Fault, Twin},
};

const DIFFERENTIAL: &str = "differential::random_scripts_give_the_same_results";

/// Asserts that a random script tells each of these from the real store.
#[track_caller]
fn all_noticed(faults: &[Fault]) {
    let unnoticed: Vec<Fault> = faults
        .iter()
        .copied()
        .filter(|fault| suite_for(*fault).verdicts(&[DIFFERENTIAL])[0].result.is_ok())
        .collect();
    assert_eq!(unnoticed, []);
}

// Missing are faults that it can't see: it closes no store, fills no list beyond what scripts keep, and does one thing after
// the other.

#[test]
fn captures_that_differ_are_noticed() {
    all_noticed(&[
        Fault::MiscountsOccurrences,
        Fault::MiscountsLive,
        Fault::TellsEvictionsBackwards,
        Fault::CutsLongTexts,
        Fault::ComposesTexts,
        Fault::ForgetsDedup,
        Fault::ForgetsMergedIds,
        Fault::Resurrects,
        Fault::SpoilsBatches,
        Fault::CutsMicroseconds,
        Fault::FoldsCase,
        Fault::RewritesJson,
        Fault::AnswersWithoutKeeping,
        Fault::KeepsTheFirstPayload,
        Fault::AlwaysKeepsTheLastPayload,
        Fault::ForgetsPayloadVersions,
    ]);
}

#[test]
fn limits_that_differ_are_noticed() {
    all_noticed(&[
        Fault::IgnoresLimits,
        Fault::IgnoresTheLimitOfTheDomain,
        Fault::IgnoresTheLimitInAll,
        Fault::CountsAllForTheDomain,
        Fault::CountsHistory,
        Fault::CountsWaitingOnly,
        Fault::ChargesEveryCapture,
        Fault::KeepsWhatItRefuses,
        Fault::ConcealsTheNumberOfLiveEntries,
        Fault::ConcealsEvictions,
        Fault::NeverEvicts,
        Fault::EvictsOneAtMost,
        Fault::EvictsWhatIsWorkedOn,
        Fault::GrowsWhenNothingMayGo,
        Fault::ForgetsIdsThatWent,
    ]);
}

#[test]
fn claims_that_differ_are_noticed() {
    all_noticed(&[
        Fault::GrantsOutOfOrder,
        Fault::ConcealsWhatBlocks,
        Fault::ClaimsWhatChanged,
        Fault::ExtendsNothing,
        Fault::MistakesTriggers,
        Fault::MiscountsRetries,
        Fault::AcceptsStaleTokens,
        Fault::IgnoresOrder,
        Fault::ClaimsTwice,
        Fault::SweepsWithoutBound,
        Fault::SweepsInOrderOfIds,
    ]);
}

#[test]
fn reads_that_differ_are_noticed() {
    all_noticed(&[
        Fault::ListsTiesBackwards,
        Fault::OverlooksLabels,
        Fault::OverlooksTheEndOfATime,
        Fault::LosesRecordsOfMerges,
        Fault::IgnoresTheLimitOfUnsealed,
        Fault::MiscountsTheBacklog,
        Fault::OffersAnEmptyLastPage,
        Fault::LosesRefusals,
        Fault::CountsUpToTheCap,
        Fault::CountsReplayingAsPending,
        Fault::LosesRecordsOfEvictions,
        Fault::LosesTrailsOfWhatWent,
        Fault::LosesDigestsOfMerges,
    ]);
}

#[test]
fn imports_breakers_and_paces_that_differ_are_noticed() {
    all_noticed(&[
        Fault::TakesBentExports,
        Fault::SavesOverNewerBreakers,
        Fault::ForgetsWhenOrdersEnd,
        Fault::CountsEverySaveAsATrip,
        Fault::ListsTheLastBreakerAgain,
        Fault::PutsAllInOneBucket,
        Fault::GrantsWhatIsAskedFor,
    ]);
}

#[test]
fn a_difference_is_shown_with_a_short_script_that_shows_it() {
    let verdicts = suite_for(Fault::MiscountsOccurrences).verdicts(&[DIFFERENTIAL]);
    let shown = verdicts[0].result.as_ref().expect_err("it differs").to_string();
    let script = shown.split_once("vec![\n").expect("a script").1;
    assert!(shown.contains("got: ") && shown.contains("expected: "), "{shown}");
    // One entry, and another one that merges into it.
    assert_eq!(script.matches("Kept {").count(), 2, "{shown}");
}

impl Twin {
    /// What a fault makes of a capture, beside what [`Twin::distort`] does.
    pub(crate) fn distort_texts(&self, capture: &mut Capture) {
        let message = &mut capture.op.error_message;
        if self.has(Fault::CutsLongTexts) {
            *message = message.chars().take(60_000).collect();
        }
        if self.has(Fault::ComposesTexts) {
            *message = message.replace("e\u{301}", "é");
        }
    }

    /// What a fault makes of an answer to a capture.
    pub(crate) fn miscounted(
        &self,
        answer: Result<Captured, CaptureError>,
    ) -> Result<Captured, CaptureError> {
        let mut answer = answer?;
        if self.has(Fault::MiscountsOccurrences) && answer.disposition == Disposition::Merged {
            answer.occurrence += 1;
        }
        if self.has(Fault::MiscountsLive) {
            let off_by_one =
                |live: LiveCounts| LiveCounts { in_domain: live.in_domain + 1, ..live };
            answer.live = answer.live.map(off_by_one);
        }
        if self.has(Fault::TellsEvictionsBackwards) {
            answer.evicted.reverse();
        }
        Ok(answer)
    }

    /// What a fault makes of a question for a list.
    pub(crate) fn asked(&self, mut query: ListQuery) -> ListQuery {
        query.filter = self.overlooked(query.filter);
        query
    }

    fn overlooked(&self, mut filter: Filter) -> Filter {
        if self.has(Fault::OverlooksLabels) {
            filter.labels.clear();
        }
        if self.has(Fault::OverlooksTheEndOfATime) {
            filter.created_until = None;
        }
        filter
    }

    /// What a fault makes of a page.
    pub(crate) fn listed(&self, items: &mut [EntrySummary]) {
        if self.has(Fault::ListsTiesBackwards) {
            items.chunk_by_mut(|a, b| a.created_at == b.created_at).for_each(<[_]>::reverse);
        }
    }

    /// What a fault makes of the terms of a claim.
    pub(crate) fn loosened(&self, mut claim: ClaimBatch) -> ClaimBatch {
        if self.has(Fault::ClaimsWhatChanged) && matches!(claim.select, ClaimSelect::Ids(_)) {
            claim.terms.unchanged_since = None;
        }
        claim
    }

    /// What a fault makes of the answer to a claim.
    pub(crate) fn granted(&self, mut outcome: ClaimBatchOutcome) -> ClaimBatchOutcome {
        if self.has(Fault::GrantsOutOfOrder) {
            outcome.claimed.reverse();
        }
        for (_, error) in &mut outcome.refused {
            if let ClaimError::Blocked { id, .. } = *error
                && self.has(Fault::ConcealsWhatBlocks)
            {
                *error = ClaimError::Blocked { id, by: id };
            }
        }
        outcome
    }

    /// What a fault makes of a request for more time.
    pub(crate) fn shortened(&self, mut extend: Extend) -> Extend {
        if self.has(Fault::ExtendsNothing) {
            extend.lease = std::time::Duration::ZERO;
        }
        extend
    }

    /// What a fault makes of settles.
    pub(crate) fn mistaken(&self, settles: &mut [Settle]) {
        if self.has(Fault::MistakesTriggers) {
            for settle in settles {
                settle.trigger = ResolutionType::ManualReplay;
            }
        }
    }

    /// What a fault makes of the answer to a settle.
    pub(crate) fn told_of(
        &self,
        answer: Result<Settled, ClaimError>,
    ) -> Result<Settled, ClaimError> {
        let answer = answer?;
        let retry_count = answer.retry_count + u32::from(self.has(Fault::MiscountsRetries));
        Ok(Settled { retry_count, ..answer })
    }

    /// What a fault makes of the answer to an import.
    pub(crate) fn taken_over(
        &self,
        answer: Result<Imported, AdminError>,
    ) -> Result<Imported, AdminError> {
        match answer {
            Err(_) if self.has(Fault::TakesBentExports) => Ok(Imported::Present),
            answer => answer,
        }
    }

    /// What a fault makes of a trail.
    pub(crate) fn forgotten(&self, trail: &mut Vec<EvidenceRecord>) {
        if self.has(Fault::LosesRecordsOfMerges) {
            trail.retain(|record| record.event != EvidenceEvent::Merged);
        }
    }

    /// What a fault makes of a limit of unsealed evidence.
    pub(crate) fn unbounded(&self, limit: usize) -> usize {
        if self.has(Fault::IgnoresTheLimitOfUnsealed) { usize::MAX } else { limit }
    }

    /// What a fault makes of the backlog.
    pub(crate) fn waiting(&self, backlog: EvidenceBacklog) -> EvidenceBacklog {
        let unsealed = backlog.unsealed + u64::from(self.has(Fault::MiscountsTheBacklog));
        EvidenceBacklog { unsealed, ..backlog }
    }
}
