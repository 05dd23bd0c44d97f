//! Answers as text, so that two stores can be compared, line by line.
//!
//! This is the one place that says what may differ between stores, and leaves it out:
//! - the namespace of an entry: two stores may serve different ones;
//! - the level of durability, which is in each store's own words: that it is stored is compared, the words are not;
//! - the words of a refusal as invalid; that it is one is compared;
//! - the order of unsealed evidence between entries, and therefore which records a list of them that was cut short
//!   holds: how many there are is compared, and that those of each entry are in counter order without gaps;
//! - what a check says that it looked at: that it finds nothing wrong is compared.
//!
//! All else must be the same. A failure of a backend is never an answer: it ends the comparison.

use std::fmt;

use baldur_core::{
    Count, EntryId, EntrySummary, EvidenceRecord, FacetScope, FailedOp, Filter, ListOrder,
    name::Namespace,
    port::{
        AdminError, BreakerStoreError, CaptureError, Captured, ClaimError, Imported, PaceError,
        ReadError,
    },
    wire,
};

use crate::{build::parsed, case::Failure, store::StoreUnderTest};

type Answer = Result<String, Failure>;

const INVALID: &str = "refused: invalid";

/// An entry, to the letter.
pub(crate) fn entry(op: &FailedOp) -> String {
    let namespace = parsed::<Namespace>("compared");
    wire::encode_entry(&FailedOp { namespace, ..op.clone() })
}

pub(crate) fn found(op: Option<&FailedOp>) -> String {
    op.map_or_else(|| "none".to_owned(), entry)
}

pub(crate) fn records(trail: &[EvidenceRecord]) -> Vec<String> {
    trail.iter().map(wire::encode_evidence).collect()
}

pub(crate) fn summaries(items: &[EntrySummary]) -> Vec<String> {
    items.iter().map(|item| format!("{item:?}")).collect()
}

pub(crate) fn captured(answer: Result<Captured, CaptureError>) -> Answer {
    match answer {
        Ok(Captured { id, durability, occurrence, disposition, live, evicted }) => {
            let safe = durability.as_str();
            Ok(format!("{id} {safe} {occurrence} {disposition:?} {live:?} {evicted:?}"))
        }
        Err(CaptureError::Invalid(_)) => Ok(INVALID.to_owned()),
        Err(CaptureError::LimitReached { scope, live, limit }) => {
            Ok(format!("refused: {live} of {limit} in {scope:?}"))
        }
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn claim_error(error: &ClaimError) -> Answer {
    match error {
        ClaimError::Invalid(_) => Ok(INVALID.to_owned()),
        ClaimError::NotFound(_)
        | ClaimError::NotClaimable { .. }
        | ClaimError::NotReplayable(_)
        | ClaimError::Changed(_)
        | ClaimError::Blocked { .. }
        | ClaimError::Stale { .. }
        | ClaimError::NotAllowed { .. } => Ok(format!("refused: {error:?}")),
        ClaimError::Backend(_) | _ => Err(error.clone().into()),
    }
}

pub(crate) fn claim_result<T: fmt::Debug>(answer: Result<T, ClaimError>) -> Answer {
    answer.map_or_else(|error| claim_error(&error), |answer| Ok(format!("{answer:?}")))
}

pub(crate) fn imported(answer: Result<Imported, AdminError>) -> Answer {
    match answer {
        Ok(imported) => Ok(format!("{imported:?}")),
        Err(AdminError::Invalid(_)) => Ok(INVALID.to_owned()),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn read_error(error: &ReadError) -> Answer {
    match error {
        ReadError::Invalid(_) => Ok(INVALID.to_owned()),
        ReadError::Backend(_) | _ => Err(error.clone().into()),
    }
}

pub(crate) fn breaker_error(error: &BreakerStoreError) -> Answer {
    match error {
        BreakerStoreError::Invalid(_) => Ok(INVALID.to_owned()),
        BreakerStoreError::Conflict { .. } | BreakerStoreError::NotFound(_) => {
            Ok(format!("refused: {error:?}"))
        }
        BreakerStoreError::Backend(_) | _ => Err(error.clone().into()),
    }
}

pub(crate) fn pace_error(error: &PaceError) -> Answer {
    match error {
        PaceError::Invalid(_) => Ok(INVALID.to_owned()),
        PaceError::Backend(_) | _ => Err(error.clone().into()),
    }
}

/// What can be said of unsealed evidence that may have been cut short: how many records, and each entry's gaps.
pub(crate) fn some_unsealed(unsealed: &[EvidenceRecord]) -> Vec<String> {
    let mut last = std::collections::BTreeMap::<EntryId, u64>::new();
    let mut answers = vec![format!("{} records", unsealed.len())];
    for record in unsealed {
        let before = last.insert(record.entry, record.counter).unwrap_or_default();
        if record.counter != before + 1 {
            answers.push(format!("{}: {} after {before}", record.entry, record.counter));
        }
    }
    answers
}

/// All that a store holds. `ids` are those that were ever captured: evidence of entries that went is found by them only.
pub(crate) async fn everything(
    store: &StoreUnderTest,
    ids: impl Iterator<Item = EntryId>,
) -> Result<Vec<String>, Failure> {
    let all = usize::from(u16::MAX);
    let mut facts = Vec::new();
    for id in ids {
        let trail = store.evidence.trail(id, 0, all).await?;
        facts.push(format!("{id} has {} records", trail.len()));
        facts.extend(records(&trail));
    }
    for exported in store.export().await? {
        facts.push(entry(&exported.op));
        facts.extend(records(&exported.evidence));
        let filter = Filter {
            statuses: vec![exported.op.state.status],
            domain: Some(exported.op.domain.clone()),
            ..Filter::default()
        };
        let walked = store.walk_ids(&filter).await?.len() as u64;
        let counted = store.reader.count(filter, 0).await?;
        if counted != Count::Exactly(walked) {
            return Err(Failure::new(format!("counted {counted:?}, walked {walked}")));
        }
    }
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        facts.extend(summaries(&store.walk(&Filter::default(), order, 7).await?));
    }
    facts.push(format!("{:?}", store.reader.facets(FacetScope::default()).await?));
    facts.push(format!("{:?}", store.evidence.backlog().await?));
    let mut unsealed = store.evidence.unsealed(all).await?;
    // Stable: the order within an entry stays, and is compared.
    unsealed.sort_by_key(|record| record.entry);
    facts.extend(records(&unsealed));
    let breakers = store.breakers.list(None, 1_000).await?;
    facts.extend(breakers.iter().map(|breaker| format!("{breaker:?}")));
    Ok(facts)
}
