//! Writing changed states back.

use baldur_core::{FailedOp, OpState, RecommendedAction, ResolutionType, Timestamp, wire};
use sqlx::SqliteConnection;

use super::insert;
use crate::{
    error::StepError,
    sql::{MultiRow, SqliteQuery, integer},
};

/// Everything that a decision may change. `max_retries` and `not_replayable` are fixed at capture.
pub(super) static WHOLE: MultiRow = MultiRow::new(
    "WITH v(seq, status, retry_count, last_retry_at, next_attempt_at, claim_token, hold_holder, \
     hold_claimed_at, hold_expires_at, attempts, force_redrive_count, previous_total_retries, \
     resolved_at, resolved_by_id, resolution_type, resolution_note, recommended_action, \
     occurrences, last_occurred_at, evidence_count, updated_at, expires_at) AS (VALUES ",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    ") UPDATE entries SET status = v.status, retry_count = v.retry_count, \
     last_retry_at = v.last_retry_at, next_attempt_at = v.next_attempt_at, \
     claim_token = v.claim_token, hold_holder = v.hold_holder, \
     hold_claimed_at = v.hold_claimed_at, hold_expires_at = v.hold_expires_at, \
     attempts = v.attempts, force_redrive_count = v.force_redrive_count, \
     previous_total_retries = v.previous_total_retries, resolved_at = v.resolved_at, \
     resolved_by_id = v.resolved_by_id, resolution_type = v.resolution_type, \
     resolution_note = v.resolution_note, recommended_action = v.recommended_action, \
     occurrences = v.occurrences, last_occurred_at = v.last_occurred_at, \
     evidence_count = v.evidence_count, updated_at = v.updated_at, expires_at = v.expires_at \
     FROM v WHERE entries.seq = v.seq",
);

/// What merges, refusals and longer leases change: it touches one index instead of ten.
pub(super) static LIGHT: MultiRow = MultiRow::new(
    "WITH v(seq, hold_expires_at, occurrences, last_occurred_at, evidence_count, updated_at) \
     AS (VALUES ",
    "(?, ?, ?, ?, ?, ?)",
    ") UPDATE entries SET hold_expires_at = v.hold_expires_at, occurrences = v.occurrences, \
     last_occurred_at = v.last_occurred_at, evidence_count = v.evidence_count, \
     updated_at = v.updated_at FROM v WHERE entries.seq = v.seq",
);

/// What a merge that keeps the last payload changes beside the state, in `entries`.
pub(super) static FAILURE: MultiRow = MultiRow::new(
    "WITH v(seq, error_code, error_preview, idempotency_key) AS (VALUES ",
    "(?, ?, ?, ?)",
    ") UPDATE entries SET error_code = v.error_code, error_preview = v.error_preview, \
     idempotency_key = v.idempotency_key FROM v WHERE entries.seq = v.seq",
);

/// What a merge that keeps the last payload changes in `payloads`.
pub(super) static PAYLOAD: MultiRow = MultiRow::new(
    "WITH v(seq, entity_refs, request_data, payload_version, snapshot_data, response_data, \
     metadata, error_message, next_action_hint, traceparent, tracestate) AS (VALUES ",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    ") UPDATE payloads SET entity_refs = v.entity_refs, request_data = v.request_data, \
     payload_version = v.payload_version, snapshot_data = v.snapshot_data, \
     response_data = v.response_data, metadata = v.metadata, error_message = v.error_message, \
     next_action_hint = v.next_action_hint, traceparent = v.traceparent, \
     tracestate = v.tracestate FROM v WHERE payloads.seq = v.seq",
);

/// Whether nothing but the columns of [`LIGHT`] differs.
pub(super) fn is_light(before: &OpState, after: &OpState) -> bool {
    let mut light = before.clone();
    light.occurrences = after.occurrences;
    light.last_occurred_at = after.last_occurred_at;
    light.evidence_count = after.evidence_count;
    light.updated_at = after.updated_at;
    if let (Some(hold), Some(new)) = (light.hold.as_mut(), after.hold.as_ref()) {
        hold.expires_at = new.expires_at;
    }
    light == *after
}

/// Writes states that differ in anything.
pub(super) async fn whole(
    conn: &mut SqliteConnection,
    states: &[(i64, &OpState)],
) -> Result<(), StepError> {
    Ok(WHOLE.run(conn, states, |query, (seq, state)| bind_whole(query, *seq, state)).await?)
}

/// Writes the payloads of stored entries that have another one now.
pub(super) async fn payloads(
    conn: &mut SqliteConnection,
    entries: &[(i64, FailedOp)],
) -> Result<(), StepError> {
    FAILURE
        .run(conn, entries, |query, (seq, op)| {
            query
                .bind(*seq)
                .bind(op.error_code.clone())
                .bind(insert::preview(op))
                .bind(op.idempotency_key.as_str().to_owned())
        })
        .await?;
    PAYLOAD.run(conn, entries, |query, (seq, op)| insert::bind_payload(query, *seq, op)).await?;
    Ok(())
}

/// Writes states for which [`is_light`] holds.
pub(super) async fn light(
    conn: &mut SqliteConnection,
    states: &[(i64, &OpState)],
) -> Result<(), StepError> {
    LIGHT
        .run(conn, states, |query, (seq, state)| {
            query
                .bind(*seq)
                .bind(state.hold.as_ref().map(|hold| hold.expires_at.as_micros()))
                .bind(integer(state.occurrences))
                .bind(state.last_occurred_at.as_micros())
                .bind(integer(state.evidence_count))
                .bind(state.updated_at.as_micros())
        })
        .await?;
    Ok(())
}

fn bind_whole(query: SqliteQuery, seq: i64, state: &OpState) -> SqliteQuery {
    let OpState {
        status,
        retry_count,
        max_retries: _,
        last_retry_at,
        next_attempt_at,
        claim_token,
        hold,
        attempts,
        force_redrive_count,
        previous_total_retries,
        resolved_at,
        resolved_by_id,
        resolution_type,
        resolution_note,
        recommended_action,
        not_replayable: _,
        occurrences,
        last_occurred_at,
        evidence_count,
        updated_at,
        expires_at,
    } = state;
    query
        .bind(seq)
        .bind(status.as_str())
        .bind(i64::from(*retry_count))
        .bind(last_retry_at.map(Timestamp::as_micros))
        .bind(next_attempt_at.as_micros())
        .bind(integer(claim_token.0))
        .bind(hold.as_ref().map(|hold| hold.holder.as_str().to_owned()))
        .bind(hold.as_ref().map(|hold| hold.claimed_at.as_micros()))
        .bind(hold.as_ref().map(|hold| hold.expires_at.as_micros()))
        .bind((attempts.total() > 0).then(|| wire::encode_attempts(attempts)))
        .bind(i64::from(*force_redrive_count))
        .bind(integer(*previous_total_retries))
        .bind(resolved_at.map(Timestamp::as_micros))
        .bind(resolved_by_id.as_ref().map(|actor| actor.as_str().to_owned()))
        .bind(resolution_type.map(ResolutionType::as_str))
        .bind(resolution_note.clone())
        .bind(recommended_action.map(RecommendedAction::as_str))
        .bind(integer(*occurrences))
        .bind(last_occurred_at.as_micros())
        .bind(integer(*evidence_count))
        .bind(updated_at.as_micros())
        .bind(expires_at.map(Timestamp::as_micros))
}
