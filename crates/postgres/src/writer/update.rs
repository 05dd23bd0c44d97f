//! Changing entries that are stored.

use baldur_core::{
    EntryId, FailedOp, OpState, RecommendedAction, ResolutionType, Timestamp, TraceContext,
    name::Actor, wire,
};
use sqlx::PgConnection;

use super::insert::preview;
use crate::{
    error::StepError,
    sql::{integer, uuid, uuids},
};

/// A whole state, and the attempts where they changed. The rows are locked, so that they stay where they are found.
pub(crate) const WHOLE: &str = "WITH v AS (SELECT * FROM unnest($2::uuid[], $3::text[], \
      $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[], \
      $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::text[], \
      $16::text[], $17::text[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[], \
      $22::bigint[], $23::text[]) \
      v(id, status, retry_count, last_retry_at, next_attempt_at, claim_token, hold_holder, \
      hold_claimed_at, hold_expires_at, force_redrive_count, previous_total_retries, resolved_at, \
      resolved_by_id, resolution_type, resolution_note, recommended_action, occurrences, \
      last_occurred_at, evidence_count, updated_at, expires_at, attempts)), \
     a AS (INSERT INTO baldur.attempts (ns, id, body) \
      SELECT $1, id, attempts FROM v WHERE attempts IS NOT NULL \
      ON CONFLICT (ns, id) DO UPDATE SET body = excluded.body) \
     UPDATE baldur.states s SET status = v.status, retry_count = v.retry_count, \
     last_retry_at = v.last_retry_at, next_attempt_at = v.next_attempt_at, \
     claim_token = v.claim_token, hold_holder = v.hold_holder, \
     hold_claimed_at = v.hold_claimed_at, hold_expires_at = v.hold_expires_at, \
     force_redrive_count = v.force_redrive_count, \
     previous_total_retries = v.previous_total_retries, resolved_at = v.resolved_at, \
     resolved_by_id = v.resolved_by_id, resolution_type = v.resolution_type, \
     resolution_note = v.resolution_note, recommended_action = v.recommended_action, \
     occurrences = v.occurrences, last_occurred_at = v.last_occurred_at, \
     evidence_count = v.evidence_count, updated_at = v.updated_at, expires_at = v.expires_at \
     FROM v CROSS JOIN LATERAL (SELECT x.ctid FROM baldur.states x \
      WHERE x.ns = $1 AND x.id = v.id OFFSET 0) t WHERE s.ctid = t.ctid";

/// What no index names: the new version of the row stays in its page, and no index is touched.
pub(crate) const LIGHT: &str = "UPDATE baldur.states s SET hold_expires_at = v.hold_expires_at, \
     occurrences = v.occurrences, last_occurred_at = v.last_occurred_at, \
     evidence_count = v.evidence_count, updated_at = v.updated_at \
     FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[]) \
      v(id, hold_expires_at, occurrences, last_occurred_at, evidence_count, updated_at) \
     CROSS JOIN LATERAL (SELECT x.ctid FROM baldur.states x \
      WHERE x.ns = $1 AND x.id = v.id OFFSET 0) t WHERE s.ctid = t.ctid";

/// A payload, and what lists show of it.
pub(crate) const PAYLOAD: &str = "WITH e AS (UPDATE baldur.entries SET error_code = $3, \
      error_preview = $4, idempotency_key = $5 WHERE ns = $1 AND id = $2) \
     UPDATE baldur.payloads SET entity_refs = $6, request_data = $7, payload_version = $8, \
     snapshot_data = $9, response_data = $10, metadata = $11, error_message = $12, \
     next_action_hint = $13, traceparent = $14, tracestate = $15 WHERE ns = $1 AND id = $2";

/// Whether only occurrences, evidence, times and the end of the hold differ.
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

/// A state to store, and the one that is stored.
pub(super) struct Update<'a> {
    pub(super) id: EntryId,
    pub(super) before: &'a OpState,
    pub(super) after: &'a OpState,
}

fn column<T>(updates: &[Update<'_>], of: impl Fn(&OpState) -> T) -> Vec<T> {
    updates.iter().map(|update| of(update.after)).collect()
}

fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_micros)
}

/// Stores whole states.
pub(super) async fn whole(
    conn: &mut PgConnection,
    ns: i32,
    updates: &[Update<'_>],
) -> Result<(), StepError> {
    if updates.is_empty() {
        return Ok(());
    }
    let attempts = |update: &Update<'_>| {
        let changed = update.before.attempts != update.after.attempts;
        changed.then(|| wire::encode_attempts(&update.after.attempts))
    };
    let texts = |of: fn(&OpState) -> Option<&str>| -> Vec<Option<&str>> {
        updates.iter().map(|update| of(update.after)).collect()
    };
    sqlx::query(WHOLE)
        .bind(ns)
        .bind(uuids(updates.iter().map(|update| update.id)))
        .bind(column(updates, |state| state.status.as_str()))
        .bind(column(updates, |state| i64::from(state.retry_count)))
        .bind(column(updates, |state| micros(state.last_retry_at)))
        .bind(column(updates, |state| state.next_attempt_at.as_micros()))
        .bind(column(updates, |state| integer(state.claim_token.0)))
        .bind(texts(|state| state.hold.as_ref().map(|hold| hold.holder.as_str())))
        .bind(column(updates, |state| state.hold.as_ref().map(|h| h.claimed_at.as_micros())))
        .bind(column(updates, |state| state.hold.as_ref().map(|h| h.expires_at.as_micros())))
        .bind(column(updates, |state| i64::from(state.force_redrive_count)))
        .bind(column(updates, |state| integer(state.previous_total_retries)))
        .bind(column(updates, |state| micros(state.resolved_at)))
        .bind(texts(|state| state.resolved_by_id.as_ref().map(Actor::as_str)))
        .bind(column(updates, |state| state.resolution_type.map(ResolutionType::as_str)))
        .bind(updates.iter().map(|u| u.after.resolution_note.as_str()).collect::<Vec<_>>())
        .bind(column(updates, |state| state.recommended_action.map(RecommendedAction::as_str)))
        .bind(column(updates, |state| integer(state.occurrences)))
        .bind(column(updates, |state| state.last_occurred_at.as_micros()))
        .bind(column(updates, |state| integer(state.evidence_count)))
        .bind(column(updates, |state| state.updated_at.as_micros()))
        .bind(column(updates, |state| micros(state.expires_at)))
        .bind(updates.iter().map(attempts).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

/// Stores what [`is_light`] lets differ.
pub(super) async fn light(
    conn: &mut PgConnection,
    ns: i32,
    updates: &[Update<'_>],
) -> Result<(), StepError> {
    if updates.is_empty() {
        return Ok(());
    }
    sqlx::query(LIGHT)
        .bind(ns)
        .bind(uuids(updates.iter().map(|update| update.id)))
        .bind(column(updates, |state| state.hold.as_ref().map(|h| h.expires_at.as_micros())))
        .bind(column(updates, |state| integer(state.occurrences)))
        .bind(column(updates, |state| state.last_occurred_at.as_micros()))
        .bind(column(updates, |state| integer(state.evidence_count)))
        .bind(column(updates, |state| state.updated_at.as_micros()))
        .execute(conn)
        .await?;
    Ok(())
}

/// Replaces payloads. Few captures ask for it, and payloads are large: one statement each.
pub(super) async fn payloads(
    conn: &mut PgConnection,
    ns: i32,
    ops: &[FailedOp],
) -> Result<(), StepError> {
    for op in ops {
        let trace = op.trace.as_ref();
        sqlx::query(PAYLOAD)
            .bind(ns)
            .bind(uuid(op.id))
            .bind(&op.error_code)
            .bind(preview(op))
            .bind(op.idempotency_key.as_str())
            .bind(op.entity_refs.as_str())
            .bind(op.request_data.as_str())
            .bind(i64::from(op.payload_version))
            .bind(op.snapshot_data.as_str())
            .bind(op.response_data.as_str())
            .bind(op.metadata.as_str())
            .bind(&op.error_message)
            .bind(&op.next_action_hint)
            .bind(trace.map(TraceContext::traceparent))
            .bind(trace.and_then(|trace| trace.tracestate()))
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
