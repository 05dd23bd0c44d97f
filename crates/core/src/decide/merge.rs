//! Merging a capture into a live entry with the same dedup key.

use super::Change;
use crate::{
    command::OnMerge,
    evidence::{Digest, Evidence, EvidenceEvent, EvidenceRecord},
    failed_op::{FailedOp, OpState},
    id::EntryId,
    time::Timestamp,
};

/// Merges another capture of the same failure into a live entry.
pub fn merge(
    entry: EntryId,
    state: &OpState,
    merged: &FailedOp,
    evidence: Evidence,
    now: Timestamp,
) -> Change {
    let mut after = state.clone();
    after.occurrences += 1;
    after.last_occurred_at = after.last_occurred_at.max(merged.created_at);
    after.evidence_count += 1;
    after.updated_at = now;
    let record = EvidenceRecord {
        entry,
        counter: after.evidence_count,
        event: EvidenceEvent::Merged,
        from: Some(state.status),
        to: Some(state.status),
        claim_token: state.claim_token,
        evidence,
        digest: Some(Digest::of(merged.request_data.as_str().as_bytes())),
    };
    Change { state: after, record }
}

/// The entry with the payload of a capture that merges into it; `None` when the payload stays as it is.
///
/// What the entry is counted, listed and grouped by stays: its names, keys for order and dedup, labels, fingerprint, and when it was
/// captured. What a replay sends and what explains the failure is replaced: request, idempotency key, diagnostics, error.
/// Nothing is replaced while somebody works on the entry, nor by a capture that can't be replayed.
pub fn replaced_payload(
    entry: &FailedOp,
    merged: &FailedOp,
    on_merge: OnMerge,
) -> Option<FailedOp> {
    let stays = match on_merge {
        OnMerge::KeepFirst => true,
        OnMerge::KeepLast => {
            entry.state.status.is_protected()
                || merged.state.not_replayable.is_some()
                || merged.created_at < entry.state.last_occurred_at
        }
    };
    (!stays).then(|| FailedOp {
        entity_refs: merged.entity_refs.clone(),
        request_data: merged.request_data.clone(),
        payload_version: entry.payload_version.saturating_add(1),
        snapshot_data: merged.snapshot_data.clone(),
        response_data: merged.response_data.clone(),
        metadata: merged.metadata.clone(),
        error_code: merged.error_code.clone(),
        error_message: merged.error_message.clone(),
        next_action_hint: merged.next_action_hint.clone(),
        idempotency_key: merged.idempotency_key.clone(),
        trace: merged.trace.clone(),
        ..entry.clone()
    })
}
