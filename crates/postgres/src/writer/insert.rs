//! Inserting entries: what lists show, where they stand, their payloads, labels and evidence. One statement for a batch.

use baldur_core::{
    EntrySummary, FailedOp, NotReplayable, OpState, RecommendedAction, ResolutionType, Timestamp,
    TraceContext, name::Actor, wire,
};
use sqlx::PgConnection;

use super::trail::{EvidenceRows, Query, evidence};
use crate::{
    error::StepError,
    sql::{integer, uuid, uuids},
};

/// A row to insert.
pub(super) struct Row<'a> {
    pub(super) op: &'a FailedOp,
    pub(super) facet_key: i64,
    pub(super) order_head: bool,
}

/// What lists show, the state, the payload and the index of labels; and the evidence of the batch.
pub(crate) const ROWS: &str = concat!(
    "WITH e AS (INSERT INTO baldur.entries (ns, id, created_at, facet_key, domain, failure_type, \
      dependency, origin_service, entity_type, entity_id, user_id, error_code, error_preview, \
      idempotency_key, dedup_key, order_key, labels, fingerprint, fingerprint_version, \
      max_retries, not_replayable) \
      SELECT $1, * FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], \
      $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], \
      $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::int[], $20::int[], \
      $21::text[])), \
     s AS (INSERT INTO baldur.states (ns, id, created_at, facet_key, domain, dependency, dedup_key, \
      order_key, replayable, order_head, status, retry_count, last_retry_at, next_attempt_at, \
      claim_token, hold_holder, hold_claimed_at, hold_expires_at, force_redrive_count, \
      previous_total_retries, resolved_at, resolved_by_id, resolution_type, resolution_note, \
      recommended_action, occurrences, last_occurred_at, evidence_count, updated_at, expires_at) \
      SELECT $1, id, created_at, facet_key, domain, dependency, dedup_key, order_key, \
      not_replayable IS NULL, order_head, status, retry_count, last_retry_at, next_attempt_at, \
      claim_token, hold_holder, hold_claimed_at, hold_expires_at, force_redrive_count, \
      previous_total_retries, resolved_at, resolved_by_id, resolution_type, resolution_note, \
      recommended_action, occurrences, last_occurred_at, evidence_count, updated_at, expires_at \
      FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $7::text[], $15::text[], \
      $16::text[], $21::text[], $22::bool[], $23::text[], $24::bigint[], $25::bigint[], \
      $26::bigint[], $27::bigint[], $28::text[], $29::bigint[], $30::bigint[], $31::bigint[], \
      $32::bigint[], $33::bigint[], $34::text[], $35::text[], $36::text[], $37::text[], \
      $38::bigint[], $39::bigint[], $40::bigint[], $41::bigint[], $42::bigint[]) \
      v(id, created_at, facet_key, domain, dependency, dedup_key, order_key, not_replayable, \
      order_head, status, retry_count, last_retry_at, next_attempt_at, claim_token, hold_holder, \
      hold_claimed_at, hold_expires_at, force_redrive_count, previous_total_retries, resolved_at, \
      resolved_by_id, resolution_type, resolution_note, recommended_action, occurrences, \
      last_occurred_at, evidence_count, updated_at, expires_at)), \
     p AS (INSERT INTO baldur.payloads (ns, id, entity_refs, request_data, payload_version, \
      snapshot_data, response_data, metadata, error_message, next_action_hint, traceparent, \
      tracestate) \
      SELECT $1, * FROM unnest($2::uuid[], $43::text[], $44::text[], $45::bigint[], $46::text[], \
      $47::text[], $48::text[], $49::text[], $50::text[], $51::text[], $52::text[])), \
     l AS (INSERT INTO baldur.labels (ns, name, value, created_at, id) \
      SELECT $1, * FROM unnest($53::text[], $54::text[], $55::bigint[], $56::uuid[])), ",
    evidence!("$57", "$58", "$59", "$60", "$61", "$62", "$63", "$64", "$65")
);

/// The attempts of imported entries.
pub(crate) const ATTEMPTS: &str = "INSERT INTO baldur.attempts (ns, id, body) \
     SELECT $1, * FROM unnest($2::uuid[], $3::text[])";

/// Inserts new entries, and the evidence of the whole batch.
pub(super) async fn rows(
    conn: &mut PgConnection,
    ns: i32,
    rows: &[Row<'_>],
    evidence: &EvidenceRows,
) -> Result<(), StepError> {
    let query = bind_entries(sqlx::query(ROWS).bind(ns), rows);
    let query = bind_states(query, rows);
    let query = bind_labels(bind_payloads(query, rows), rows);
    evidence.bind(query).execute(&mut *conn).await?;
    attempts(conn, ns, rows).await
}

async fn attempts(conn: &mut PgConnection, ns: i32, rows: &[Row<'_>]) -> Result<(), StepError> {
    let had = || rows.iter().filter(|row| row.op.state.attempts.total() > 0).map(|row| row.op);
    if had().next().is_none() {
        return Ok(());
    }
    sqlx::query(ATTEMPTS)
        .bind(ns)
        .bind(uuids(had().map(|op| op.id)))
        .bind(had().map(|op| wire::encode_attempts(&op.state.attempts)).collect::<Vec<_>>())
        .execute(conn)
        .await?;
    Ok(())
}

fn text<T: AsRef<str>>(value: Option<&T>) -> Option<&str> {
    value.map(AsRef::as_ref)
}

fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_micros)
}

/// The beginning of the error message, for lists.
pub(super) fn preview(op: &FailedOp) -> String {
    op.error_message.chars().take(EntrySummary::ERROR_PREVIEW).collect()
}

/// `$2` to `$21`.
fn bind_entries<'q>(query: Query<'q>, rows: &'q [Row<'_>]) -> Query<'q> {
    let texts =
        |of: fn(&FailedOp) -> &str| -> Vec<&'q str> { rows.iter().map(|row| of(row.op)).collect() };
    let optional = |of: fn(&FailedOp) -> Option<&str>| -> Vec<Option<&'q str>> {
        rows.iter().map(|row| of(row.op)).collect()
    };
    let labels =
        |row: &Row<'_>| (!row.op.labels.is_empty()).then(|| wire::encode_labels(&row.op.labels));
    query
        .bind(uuids(rows.iter().map(|row| row.op.id)))
        .bind(rows.iter().map(|row| row.op.created_at.as_micros()).collect::<Vec<_>>())
        .bind(rows.iter().map(|row| row.facet_key).collect::<Vec<_>>())
        .bind(texts(|op| op.domain.as_str()))
        .bind(texts(|op| op.failure_type.as_str()))
        .bind(texts(|op| op.dependency.as_str()))
        .bind(texts(|op| op.origin_service.as_str()))
        .bind(optional(|op| text(op.entity_type.as_ref())))
        .bind(optional(|op| text(op.entity_id.as_ref())))
        .bind(optional(|op| text(op.user_id.as_ref())))
        .bind(texts(|op| &op.error_code))
        .bind(rows.iter().map(|row| preview(row.op)).collect::<Vec<_>>())
        .bind(texts(|op| op.idempotency_key.as_str()))
        .bind(optional(|op| text(op.dedup_key.as_ref())))
        .bind(optional(|op| text(op.order_key.as_ref())))
        .bind(rows.iter().map(labels).collect::<Vec<_>>())
        .bind(texts(|op| op.fingerprint.text.as_str()))
        .bind(rows.iter().map(|row| i32::from(row.op.fingerprint.version)).collect::<Vec<_>>())
        .bind(rows.iter().map(max_retries).collect::<Vec<_>>())
        .bind(optional(|op| op.state.not_replayable.map(NotReplayable::as_str)))
}

/// Admission bounds it far below this.
fn max_retries(row: &Row<'_>) -> i32 {
    i32::try_from(row.op.state.max_retries).unwrap_or(i32::MAX)
}

/// `$22` to `$42`.
fn bind_states<'q>(query: Query<'q>, rows: &'q [Row<'_>]) -> Query<'q> {
    fn column<T>(rows: &[Row<'_>], of: impl Fn(&OpState) -> T) -> Vec<T> {
        rows.iter().map(|row| of(&row.op.state)).collect()
    }
    let optional = |of: fn(&OpState) -> Option<&str>| -> Vec<Option<&'q str>> {
        rows.iter().map(|row| of(&row.op.state)).collect()
    };
    query
        .bind(rows.iter().map(|row| row.order_head).collect::<Vec<_>>())
        .bind(column(rows, |state| state.status.as_str()))
        .bind(column(rows, |state| i64::from(state.retry_count)))
        .bind(column(rows, |state| micros(state.last_retry_at)))
        .bind(column(rows, |state| state.next_attempt_at.as_micros()))
        .bind(column(rows, |state| integer(state.claim_token.0)))
        .bind(optional(|state| state.hold.as_ref().map(|hold| hold.holder.as_str())))
        .bind(column(rows, |state| state.hold.as_ref().map(|h| h.claimed_at.as_micros())))
        .bind(column(rows, |state| state.hold.as_ref().map(|h| h.expires_at.as_micros())))
        .bind(column(rows, |state| i64::from(state.force_redrive_count)))
        .bind(column(rows, |state| integer(state.previous_total_retries)))
        .bind(column(rows, |state| micros(state.resolved_at)))
        .bind(optional(|state| state.resolved_by_id.as_ref().map(Actor::as_str)))
        .bind(optional(|state| state.resolution_type.map(ResolutionType::as_str)))
        .bind(rows.iter().map(|row| row.op.state.resolution_note.as_str()).collect::<Vec<_>>())
        .bind(optional(|state| state.recommended_action.map(RecommendedAction::as_str)))
        .bind(column(rows, |state| integer(state.occurrences)))
        .bind(column(rows, |state| state.last_occurred_at.as_micros()))
        .bind(column(rows, |state| integer(state.evidence_count)))
        .bind(column(rows, |state| state.updated_at.as_micros()))
        .bind(column(rows, |state| micros(state.expires_at)))
}

/// `$43` to `$52`.
fn bind_payloads<'q>(query: Query<'q>, rows: &'q [Row<'_>]) -> Query<'q> {
    let texts =
        |of: fn(&FailedOp) -> &str| -> Vec<&'q str> { rows.iter().map(|row| of(row.op)).collect() };
    let optional = |of: fn(&FailedOp) -> Option<&str>| -> Vec<Option<&'q str>> {
        rows.iter().map(|row| of(row.op)).collect()
    };
    query
        .bind(texts(|op| op.entity_refs.as_str()))
        .bind(texts(|op| op.request_data.as_str()))
        .bind(rows.iter().map(|row| i64::from(row.op.payload_version)).collect::<Vec<_>>())
        .bind(texts(|op| op.snapshot_data.as_str()))
        .bind(texts(|op| op.response_data.as_str()))
        .bind(texts(|op| op.metadata.as_str()))
        .bind(texts(|op| &op.error_message))
        .bind(texts(|op| &op.next_action_hint))
        .bind(optional(|op| op.trace.as_ref().map(TraceContext::traceparent)))
        .bind(optional(|op| op.trace.as_ref().and_then(|trace| trace.tracestate())))
}

/// `$53` to `$56`.
fn bind_labels<'q>(query: Query<'q>, rows: &'q [Row<'_>]) -> Query<'q> {
    let labels: Vec<_> = rows
        .iter()
        .flat_map(|row| row.op.labels.iter().map(move |label| (row.op, label)))
        .collect();
    query
        .bind(labels.iter().map(|(_, (name, _))| name.as_str()).collect::<Vec<_>>())
        .bind(labels.iter().map(|(_, (_, value))| value.as_str()).collect::<Vec<_>>())
        .bind(labels.iter().map(|(op, _)| op.created_at.as_micros()).collect::<Vec<_>>())
        .bind(labels.iter().map(|(op, _)| uuid(op.id)).collect::<Vec<_>>())
}
