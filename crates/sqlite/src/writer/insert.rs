//! Inserting entries: the row that lists show, the payloads, the labels.

use baldur_core::{
    EntrySummary, FailedOp, NotReplayable, OpState, RecommendedAction, ResolutionType, Timestamp,
    wire,
};
use sqlx::SqliteConnection;

use crate::{
    error::StepError,
    sql::{MultiRow, SqliteQuery, integer},
};

/// A row to insert.
pub(super) struct Row<'a> {
    pub(super) ns: i64,
    pub(super) seq: i64,
    pub(super) op: &'a FailedOp,
    pub(super) facet_key: i64,
    pub(super) order_head: bool,
}

pub(super) static ENTRIES: MultiRow = MultiRow::new(
    "INSERT INTO entries (seq, ns, id, created_at, facet_key, domain, failure_type, dependency, \
     origin_service, entity_type, entity_id, user_id, error_code, error_preview, idempotency_key, \
     dedup_key, order_key, labels, fingerprint, fingerprint_version, order_head, status, \
     retry_count, max_retries, last_retry_at, next_attempt_at, claim_token, hold_holder, \
     hold_claimed_at, hold_expires_at, attempts, force_redrive_count, previous_total_retries, \
     resolved_at, resolved_by_id, resolution_type, resolution_note, recommended_action, \
     not_replayable, occurrences, last_occurred_at, evidence_count, updated_at, expires_at) VALUES ",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, \
     ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "",
);

pub(super) static PAYLOADS: MultiRow = MultiRow::new(
    "INSERT INTO payloads (seq, entity_refs, request_data, payload_version, snapshot_data, \
     response_data, metadata, error_message, next_action_hint, traceparent, tracestate) VALUES ",
    "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "",
);

pub(super) static LABELS: MultiRow = MultiRow::new(
    "INSERT INTO labels (ns, name, value, created_at, id, seq) VALUES ",
    "(?, ?, ?, ?, ?, ?)",
    "",
);

/// Inserts new entries.
pub(super) async fn rows(conn: &mut SqliteConnection, rows: &[Row<'_>]) -> Result<(), StepError> {
    ENTRIES.run(conn, rows, bind_entry).await?;
    PAYLOADS.run(conn, rows, |query, row| bind_payload(query, row.seq, row.op)).await?;
    let labels: Vec<_> =
        rows.iter().flat_map(|row| row.op.labels.iter().map(move |label| (row, label))).collect();
    LABELS
        .run(conn, &labels, |query, (row, (name, value))| {
            query
                .bind(row.ns)
                .bind(name.as_str().to_owned())
                .bind(value.as_str().to_owned())
                .bind(row.op.created_at.as_micros())
                .bind(row.op.id.as_bytes().to_vec())
                .bind(row.seq)
        })
        .await?;
    Ok(())
}

fn text<T: AsRef<str>>(value: Option<&T>) -> Option<String> {
    value.map(|value| value.as_ref().to_owned())
}

/// The beginning of the error message, for lists.
pub(super) fn preview(op: &FailedOp) -> String {
    op.error_message.chars().take(EntrySummary::ERROR_PREVIEW).collect()
}

fn bind_entry(query: SqliteQuery, row: &Row<'_>) -> SqliteQuery {
    let Row { ns, seq, op, facet_key, order_head } = row;
    let labels = (!op.labels.is_empty()).then(|| wire::encode_labels(&op.labels));
    let query = query
        .bind(*seq)
        .bind(*ns)
        .bind(op.id.as_bytes().to_vec())
        .bind(op.created_at.as_micros())
        .bind(*facet_key)
        .bind(op.domain.as_str().to_owned())
        .bind(op.failure_type.as_str().to_owned())
        .bind(op.dependency.as_str().to_owned())
        .bind(op.origin_service.as_str().to_owned())
        .bind(text(op.entity_type.as_ref()))
        .bind(text(op.entity_id.as_ref()))
        .bind(text(op.user_id.as_ref()))
        .bind(op.error_code.as_str().to_owned())
        .bind(preview(op))
        .bind(op.idempotency_key.as_str().to_owned())
        .bind(text(op.dedup_key.as_ref()))
        .bind(text(op.order_key.as_ref()))
        .bind(labels)
        .bind(op.fingerprint.text.as_str().to_owned())
        .bind(i64::from(op.fingerprint.version))
        .bind(*order_head);
    bind_state(query, &op.state)
}

/// The columns of a state, in the order of `rows::state_columns`.
fn bind_state(query: SqliteQuery, state: &OpState) -> SqliteQuery {
    let OpState {
        status,
        retry_count,
        max_retries,
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
        not_replayable,
        occurrences,
        last_occurred_at,
        evidence_count,
        updated_at,
        expires_at,
    } = state;
    query
        .bind(status.as_str().to_owned())
        .bind(i64::from(*retry_count))
        .bind(i64::from(*max_retries))
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
        .bind(text(resolved_by_id.as_ref()))
        .bind(resolution_type.map(ResolutionType::as_str))
        .bind(resolution_note.as_str().to_owned())
        .bind(recommended_action.map(RecommendedAction::as_str))
        .bind(not_replayable.map(NotReplayable::as_str))
        .bind(integer(*occurrences))
        .bind(last_occurred_at.as_micros())
        .bind(integer(*evidence_count))
        .bind(updated_at.as_micros())
        .bind(expires_at.map(Timestamp::as_micros))
}

/// The columns of `payloads`, in the order of [`PAYLOADS`].
pub(super) fn bind_payload(query: SqliteQuery, seq: i64, op: &FailedOp) -> SqliteQuery {
    let trace = op.trace.as_ref();
    query
        .bind(seq)
        .bind(op.entity_refs.as_str().to_owned())
        .bind(op.request_data.as_str().to_owned())
        .bind(i64::from(op.payload_version))
        .bind(op.snapshot_data.as_str().to_owned())
        .bind(op.response_data.as_str().to_owned())
        .bind(op.metadata.as_str().to_owned())
        .bind(op.error_message.as_str().to_owned())
        .bind(op.next_action_hint.as_str().to_owned())
        .bind(trace.map(|trace| trace.traceparent().to_owned()))
        .bind(trace.and_then(|trace| trace.tracestate().map(str::to_owned)))
}
