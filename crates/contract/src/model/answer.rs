//! Answers as text, so that two stores can be compared. What may differ between stores is left out.

use baldur_core::{
    Count, EntryId, EntrySummary, FacetScope, FailedOp, Filter, name::Namespace, port::ClaimError,
    wire,
};

use crate::{build::parsed, case::Failure, store::StoreUnderTest};

pub(super) fn entry(op: &FailedOp) -> String {
    // The two stores may serve different namespaces.
    let namespace = parsed::<Namespace>("compared");
    wire::encode_entry(&FailedOp { namespace, ..op.clone() })
}

pub(super) fn claim_error(error: &ClaimError) -> String {
    // The words of a refused command are each store's own.
    if matches!(error, ClaimError::Invalid(_)) { "invalid".to_owned() } else { error.to_string() }
}

pub(super) fn result<T>(answer: Result<T, ClaimError>, show: impl FnOnce(T) -> String) -> String {
    answer.map_or_else(|error| format!("refused: {}", claim_error(&error)), show)
}

pub(super) fn summaries(items: &[EntrySummary]) -> Vec<String> {
    items.iter().map(|item| format!("{item:?}")).collect()
}

/// All that a store holds. `ids` are those that were ever captured: evidence of entries that went is found by them only.
pub(super) async fn everything(
    store: &StoreUnderTest,
    ids: impl Iterator<Item = EntryId>,
) -> Result<Vec<String>, Failure> {
    let mut facts = Vec::new();
    for id in ids {
        let trail = store.evidence.trail(id, 0, usize::from(u16::MAX)).await?;
        facts.push(format!("{id} has {} records", trail.len()));
        facts.extend(trail.iter().map(wire::encode_evidence));
    }
    for exported in store.export().await? {
        facts.push(entry(&exported.op));
        facts.extend(exported.evidence.iter().map(wire::encode_evidence));
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
    facts.push(format!("{:?}", store.reader.facets(FacetScope::default()).await?));
    facts.push(format!("{:?}", store.evidence.backlog().await?));
    let mut unsealed: Vec<String> = store
        .evidence
        .unsealed(usize::from(u16::MAX))
        .await?
        .iter()
        .map(wire::encode_evidence)
        .collect();
    // Between entries the order promises nothing.
    unsealed.sort_unstable();
    facts.extend(unsealed);
    Ok(facts)
}
