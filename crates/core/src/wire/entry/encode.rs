//! Writing an entry in its stored form, from what it borrows: fields in the order in which the form has them.

use crate::{
    failed_op::{
        Attempt, Attempts, FailedOp, Fingerprint, Hold, Labels, NotReplayable, OpState,
        RecommendedAction, ResolutionType, TraceContext,
    },
    name::{Actor, DedupKey, OrderKey, ShortText},
    wire::object::{Object, Value as _, finished},
};

/// Writes an entry, whole, in the newest form.
pub fn encode_entry(op: &FailedOp) -> String {
    let mut out = Vec::with_capacity(room_for(op));
    write_entry(op, &mut out);
    finished(out)
}

/// Writes a history on its own, for adapters that keep it as text.
pub fn encode_attempts(attempts: &Attempts) -> String {
    let mut out = Vec::with_capacity(64 + 320 * attempts.iter().count());
    write_attempts(attempts, &mut out);
    finished(out)
}

/// Writes labels on their own, for adapters that keep them as text.
pub fn encode_labels(labels: &Labels) -> String {
    let mut out = Vec::with_capacity(64 * (1 + labels.len()));
    write_labels(labels, &mut out);
    finished(out)
}

/// About how many bytes an entry has in its stored form; rather too many than too few.
pub(in crate::wire) fn room_for(op: &FailedOp) -> usize {
    // The names of the fields, and values of usual lengths.
    const REST: usize = 2_048;
    let FailedOp { entity_refs, request_data, snapshot_data, response_data, metadata, .. } = op;
    let payloads = [entity_refs, request_data, snapshot_data, response_data, metadata];
    let texts = [&op.error_message, &op.next_action_hint, &op.state.resolution_note];
    REST + payloads.map(crate::json::Json::len).iter().sum::<usize>()
        + texts.map(String::len).iter().sum::<usize>()
        + 320 * op.state.attempts.iter().count()
        + 64 * op.labels.len()
}

#[expect(clippy::too_many_lines, reason = "one line for each field, in the stored order")]
pub(in crate::wire) fn write_entry(op: &FailedOp, out: &mut Vec<u8>) {
    // Named one by one, so that a new field can't be forgotten here.
    let FailedOp {
        id,
        namespace,
        domain,
        failure_type,
        dependency,
        origin_service,
        entity_type,
        entity_id,
        entity_refs,
        user_id,
        request_data,
        payload_version,
        snapshot_data,
        response_data,
        metadata,
        error_code,
        error_message,
        next_action_hint,
        idempotency_key,
        dedup_key,
        order_key,
        labels,
        fingerprint: Fingerprint { version: fingerprint_version, text: fingerprint },
        trace,
        created_at,
        state,
    } = op;
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
    let mut entry = Object::begin(out);
    entry.field("v", 1_u64);
    entry.field("id", *id);
    entry.field("namespace", namespace.as_str());
    entry.field("domain", domain.as_str());
    entry.field("failure_type", failure_type.as_str());
    entry.field("status", status.as_str());
    entry.field("dependency", dependency.as_str());
    entry.field("origin_service", origin_service.as_str());
    entry.field("entity_type", entity_type.as_ref().map(ShortText::as_str));
    entry.field("entity_id", entity_id.as_ref().map(ShortText::as_str));
    entry.field("entity_refs", entity_refs);
    entry.field("user_id", user_id.as_ref().map(ShortText::as_str));
    entry.field("request_data", request_data);
    entry.field("payload_version", *payload_version);
    entry.field("not_replayable", not_replayable.map(NotReplayable::as_str));
    entry.field("snapshot_data", snapshot_data);
    entry.field("response_data", response_data);
    entry.field("metadata", metadata);
    entry.field("error_code", error_code.as_str());
    entry.field("error_message", error_message.as_str());
    entry.field("next_action_hint", next_action_hint.as_str());
    entry.field("recommended_action", recommended_action.map(RecommendedAction::as_str));
    entry.field("retry_count", *retry_count);
    entry.field("max_retries", *max_retries);
    entry.field("last_retry_at", *last_retry_at);
    entry.field("next_attempt_at", *next_attempt_at);
    entry.field("claim_token", claim_token.0);
    write_hold(hold.as_ref(), entry.named("hold"));
    write_attempts(attempts, entry.named("attempts"));
    entry.field("force_redrive_count", *force_redrive_count);
    entry.field("previous_total_retries", *previous_total_retries);
    entry.field("resolved_at", *resolved_at);
    entry.field("resolved_by_id", resolved_by_id.as_ref().map(Actor::as_str));
    entry.field("resolution_type", resolution_type.map(ResolutionType::as_str));
    entry.field("resolution_note", resolution_note.as_str());
    entry.field("idempotency_key", idempotency_key.as_str());
    entry.field("dedup_key", dedup_key.as_ref().map(DedupKey::as_str));
    entry.field("order_key", order_key.as_ref().map(OrderKey::as_str));
    entry.field("occurrences", *occurrences);
    entry.field("last_occurred_at", *last_occurred_at);
    write_labels(labels, entry.named("labels"));
    entry.field("fingerprint", fingerprint.as_str());
    entry.field("fingerprint_version", *fingerprint_version);
    entry.field("traceparent", trace.as_ref().map(TraceContext::traceparent));
    entry.field("tracestate", trace.as_ref().and_then(TraceContext::tracestate));
    entry.field("evidence_count", *evidence_count);
    entry.field("created_at", *created_at);
    entry.field("updated_at", *updated_at);
    entry.field("expires_at", *expires_at);
    entry.end();
}

fn write_hold(hold: Option<&Hold>, out: &mut Vec<u8>) {
    let Some(Hold { holder, claimed_at, expires_at }) = hold else {
        return None::<u64>.write(out);
    };
    let mut hold = Object::begin(out);
    hold.field("holder", holder.as_str());
    hold.field("claimed_at", *claimed_at);
    hold.field("expires_at", *expires_at);
    hold.end();
}

fn write_attempts(attempts: &Attempts, out: &mut Vec<u8>) {
    let mut history = Object::begin(out);
    history.field("total", attempts.total());
    let kept = history.named("kept");
    kept.push(b'[');
    for (position, attempt) in attempts.iter().enumerate() {
        if position > 0 {
            kept.push(b',');
        }
        write_attempt(attempt, kept);
    }
    kept.push(b']');
    history.end();
}

fn write_attempt(attempt: &Attempt, out: &mut Vec<u8>) {
    let Attempt { number, claim_token, holder, started_at, finished_at, outcome, note } = attempt;
    let mut attempt = Object::begin(out);
    attempt.field("number", *number);
    attempt.field("claim_token", claim_token.0);
    attempt.field("holder", holder.as_str());
    attempt.field("started_at", *started_at);
    attempt.field("finished_at", *finished_at);
    attempt.field("outcome", outcome.as_str());
    attempt.field("note", note.as_str());
    attempt.end();
}

fn write_labels(labels: &Labels, out: &mut Vec<u8>) {
    let mut set = Object::begin(out);
    for (name, value) in labels {
        set.any(name.as_str(), value.as_str());
    }
    set.end();
}
