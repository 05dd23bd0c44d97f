//! The stored form of an entry, and of its parts that adapters keep as text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{WireError, bad, read, version, write};
use crate::{
    failed_op::{
        Attempt, AttemptOutcome, Attempts, FailedOp, Fingerprint, Hold, Labels, NotReplayable,
        OpState, RecommendedAction, ResolutionType, Status, TraceContext,
    },
    id::{ClaimToken, EntryId},
    json::Json,
    name::{
        Actor, DedupKey, Domain, FailureType, IdempotencyKey, LabelName, LabelValue, NameError,
        Namespace, OrderKey, ServiceName, ShortText, WorkerName,
    },
    time::Timestamp,
};

const FORM: &str = "entry";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EntryV1 {
    v: u64,
    id: String,
    namespace: String,
    domain: String,
    failure_type: String,
    status: String,
    dependency: String,
    origin_service: String,
    entity_type: Option<String>,
    entity_id: Option<String>,
    entity_refs: Json,
    user_id: Option<String>,
    request_data: Json,
    payload_version: u32,
    not_replayable: Option<String>,
    snapshot_data: Json,
    response_data: Json,
    metadata: Json,
    error_code: String,
    error_message: String,
    next_action_hint: String,
    recommended_action: Option<String>,
    retry_count: u32,
    max_retries: u32,
    last_retry_at: Option<String>,
    next_attempt_at: String,
    claim_token: u64,
    hold: Option<HoldV1>,
    attempts: AttemptsV1,
    force_redrive_count: u32,
    previous_total_retries: u64,
    resolved_at: Option<String>,
    resolved_by_id: Option<String>,
    resolution_type: Option<String>,
    resolution_note: String,
    idempotency_key: String,
    dedup_key: Option<String>,
    order_key: Option<String>,
    occurrences: u64,
    last_occurred_at: String,
    labels: BTreeMap<String, String>,
    fingerprint: String,
    fingerprint_version: u16,
    traceparent: Option<String>,
    tracestate: Option<String>,
    evidence_count: u64,
    created_at: String,
    updated_at: String,
    expires_at: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HoldV1 {
    holder: String,
    claimed_at: String,
    expires_at: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttemptsV1 {
    total: u64,
    kept: Vec<AttemptV1>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttemptV1 {
    number: u64,
    claim_token: u64,
    holder: String,
    started_at: String,
    finished_at: String,
    outcome: String,
    note: String,
}

/// Writes an entry, whole, in the newest form.
pub fn encode_entry(op: &FailedOp) -> String {
    write(&to_v1(op))
}

/// Reads an entry of any known version.
///
/// # Errors
///
/// When the text is no stored entry, or one of a newer version.
pub fn decode_entry(text: &str) -> Result<FailedOp, WireError> {
    match version(FORM, text)? {
        1 => from_v1(read(FORM, text)?),
        version => Err(WireError::UnknownVersion { form: FORM, version, newest: 1 }),
    }
}

/// Writes a history on its own, for adapters that keep it as text.
pub fn encode_attempts(attempts: &Attempts) -> String {
    write(&attempts_to_v1(attempts))
}

/// Reads a history that [`encode_attempts`] wrote.
///
/// # Errors
///
/// When it is damaged.
pub fn decode_attempts(text: &str) -> Result<Attempts, WireError> {
    attempts_from_v1(read("history", text)?)
}

/// Writes labels on their own, for adapters that keep them as text.
pub fn encode_labels(labels: &Labels) -> String {
    write(&labels_to_v1(labels))
}

/// Reads labels that [`encode_labels`] wrote.
///
/// # Errors
///
/// When they are damaged.
pub fn decode_labels(text: &str) -> Result<Labels, WireError> {
    labels_from_v1(read("label set", text)?)
}

fn text<T: AsRef<str>>(name: &T) -> String {
    name.as_ref().to_owned()
}

fn opt_text<T: AsRef<str>>(name: Option<&T>) -> Option<String> {
    name.map(text)
}

fn opt_time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| at.to_string())
}

#[expect(clippy::too_many_lines, reason = "one line for each field, in the stored order")]
pub(super) fn to_v1(op: &FailedOp) -> EntryV1 {
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
        fingerprint,
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
    EntryV1 {
        v: 1,
        id: id.to_string(),
        namespace: text(namespace),
        domain: text(domain),
        failure_type: text(failure_type),
        status: status.as_str().to_owned(),
        dependency: text(dependency),
        origin_service: text(origin_service),
        entity_type: opt_text(entity_type.as_ref()),
        entity_id: opt_text(entity_id.as_ref()),
        entity_refs: entity_refs.clone(),
        user_id: opt_text(user_id.as_ref()),
        request_data: request_data.clone(),
        payload_version: *payload_version,
        not_replayable: not_replayable.map(|reason| reason.as_str().to_owned()),
        snapshot_data: snapshot_data.clone(),
        response_data: response_data.clone(),
        metadata: metadata.clone(),
        error_code: error_code.clone(),
        error_message: error_message.clone(),
        next_action_hint: next_action_hint.clone(),
        recommended_action: recommended_action.map(|action| action.as_str().to_owned()),
        retry_count: *retry_count,
        max_retries: *max_retries,
        last_retry_at: opt_time(*last_retry_at),
        next_attempt_at: next_attempt_at.to_string(),
        claim_token: claim_token.0,
        hold: hold.as_ref().map(hold_to_v1),
        attempts: attempts_to_v1(attempts),
        force_redrive_count: *force_redrive_count,
        previous_total_retries: *previous_total_retries,
        resolved_at: opt_time(*resolved_at),
        resolved_by_id: opt_text(resolved_by_id.as_ref()),
        resolution_type: resolution_type.map(|kind| kind.as_str().to_owned()),
        resolution_note: resolution_note.clone(),
        idempotency_key: text(idempotency_key),
        dedup_key: opt_text(dedup_key.as_ref()),
        order_key: opt_text(order_key.as_ref()),
        occurrences: *occurrences,
        last_occurred_at: last_occurred_at.to_string(),
        labels: labels_to_v1(labels),
        fingerprint: text(&fingerprint.text),
        fingerprint_version: fingerprint.version,
        traceparent: trace.as_ref().map(|trace| trace.traceparent().to_owned()),
        tracestate: trace.as_ref().and_then(|trace| trace.tracestate().map(str::to_owned)),
        evidence_count: *evidence_count,
        created_at: created_at.to_string(),
        updated_at: updated_at.to_string(),
        expires_at: opt_time(*expires_at),
    }
}

fn hold_to_v1(hold: &Hold) -> HoldV1 {
    let Hold { holder, claimed_at, expires_at } = hold;
    HoldV1 {
        holder: text(holder),
        claimed_at: claimed_at.to_string(),
        expires_at: expires_at.to_string(),
    }
}

fn attempts_to_v1(attempts: &Attempts) -> AttemptsV1 {
    let kept = attempts
        .iter()
        .map(|attempt| {
            let Attempt { number, claim_token, holder, started_at, finished_at, outcome, note } =
                attempt;
            AttemptV1 {
                number: *number,
                claim_token: claim_token.0,
                holder: text(holder),
                started_at: started_at.to_string(),
                finished_at: finished_at.to_string(),
                outcome: outcome.as_str().to_owned(),
                note: note.clone(),
            }
        })
        .collect();
    AttemptsV1 { total: attempts.total(), kept }
}

fn labels_to_v1(labels: &Labels) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn time(field: &'static str, text: &str) -> Result<Timestamp, WireError> {
    text.parse().map_err(bad(FORM, field))
}

fn time_opt(field: &'static str, text: Option<String>) -> Result<Option<Timestamp>, WireError> {
    text.map(|text| time(field, &text)).transpose()
}

fn name<T>(
    field: &'static str,
    text: &str,
    parse: fn(&str) -> Result<T, NameError>,
) -> Result<T, WireError> {
    parse(text).map_err(bad(FORM, field))
}

fn name_opt<T>(
    field: &'static str,
    text: Option<String>,
    parse: fn(&str) -> Result<T, NameError>,
) -> Result<Option<T>, WireError> {
    text.map(|text| name(field, &text, parse)).transpose()
}

fn word<T>(
    field: &'static str,
    text: Option<String>,
    from_name: fn(&str) -> Option<T>,
) -> Result<Option<T>, WireError> {
    text.map(|text| from_name(&text).ok_or(())).transpose().map_err(bad(FORM, field))
}

pub(super) fn from_v1(stored: EntryV1) -> Result<FailedOp, WireError> {
    let trace = stored
        .traceparent
        .map(|parent| TraceContext::parse(&parent, stored.tracestate.as_deref()))
        .transpose()
        .map_err(bad(FORM, "traceparent"))?;
    let state = OpState {
        status: stored.status.parse::<Status>().map_err(bad(FORM, "status"))?,
        retry_count: stored.retry_count,
        max_retries: stored.max_retries,
        last_retry_at: time_opt("last_retry_at", stored.last_retry_at)?,
        next_attempt_at: time("next_attempt_at", &stored.next_attempt_at)?,
        claim_token: ClaimToken(stored.claim_token),
        hold: stored.hold.map(hold_from_v1).transpose()?,
        attempts: attempts_from_v1(stored.attempts)?,
        force_redrive_count: stored.force_redrive_count,
        previous_total_retries: stored.previous_total_retries,
        resolved_at: time_opt("resolved_at", stored.resolved_at)?,
        resolved_by_id: name_opt("resolved_by_id", stored.resolved_by_id, Actor::parse)?,
        resolution_type: word(
            "resolution_type",
            stored.resolution_type,
            ResolutionType::from_name,
        )?,
        resolution_note: stored.resolution_note,
        recommended_action: word(
            "recommended_action",
            stored.recommended_action,
            RecommendedAction::from_name,
        )?,
        not_replayable: word("not_replayable", stored.not_replayable, NotReplayable::from_name)?,
        occurrences: stored.occurrences,
        last_occurred_at: time("last_occurred_at", &stored.last_occurred_at)?,
        evidence_count: stored.evidence_count,
        updated_at: time("updated_at", &stored.updated_at)?,
        expires_at: time_opt("expires_at", stored.expires_at)?,
    };
    Ok(FailedOp {
        id: stored.id.parse::<EntryId>().map_err(bad(FORM, "id"))?,
        namespace: name("namespace", &stored.namespace, Namespace::parse)?,
        domain: name("domain", &stored.domain, Domain::parse)?,
        failure_type: name("failure_type", &stored.failure_type, FailureType::parse)?,
        dependency: name("dependency", &stored.dependency, ServiceName::parse)?,
        origin_service: name("origin_service", &stored.origin_service, ServiceName::parse)?,
        entity_type: name_opt("entity_type", stored.entity_type, ShortText::parse)?,
        entity_id: name_opt("entity_id", stored.entity_id, ShortText::parse)?,
        entity_refs: stored.entity_refs,
        user_id: name_opt("user_id", stored.user_id, ShortText::parse)?,
        request_data: stored.request_data,
        payload_version: stored.payload_version,
        snapshot_data: stored.snapshot_data,
        response_data: stored.response_data,
        metadata: stored.metadata,
        error_code: stored.error_code,
        error_message: stored.error_message,
        next_action_hint: stored.next_action_hint,
        idempotency_key: name("idempotency_key", &stored.idempotency_key, IdempotencyKey::parse)?,
        dedup_key: name_opt("dedup_key", stored.dedup_key, DedupKey::parse)?,
        order_key: name_opt("order_key", stored.order_key, OrderKey::parse)?,
        labels: labels_from_v1(stored.labels)?,
        fingerprint: Fingerprint {
            version: stored.fingerprint_version,
            text: name("fingerprint", &stored.fingerprint, ShortText::parse)?,
        },
        trace,
        created_at: time("created_at", &stored.created_at)?,
        state,
    })
}

fn hold_from_v1(stored: HoldV1) -> Result<Hold, WireError> {
    let HoldV1 { holder, claimed_at, expires_at } = stored;
    Ok(Hold {
        holder: name("hold.holder", &holder, WorkerName::parse)?,
        claimed_at: time("hold.claimed_at", &claimed_at)?,
        expires_at: time("hold.expires_at", &expires_at)?,
    })
}

fn attempts_from_v1(stored: AttemptsV1) -> Result<Attempts, WireError> {
    let AttemptsV1 { total, kept } = stored;
    let kept = kept.into_iter().map(attempt_from_v1).collect::<Result<Vec<_>, _>>()?;
    Ok(Attempts::from_parts(kept, total))
}

fn attempt_from_v1(stored: AttemptV1) -> Result<Attempt, WireError> {
    let AttemptV1 { number, claim_token, holder, started_at, finished_at, outcome, note } = stored;
    Ok(Attempt {
        number,
        claim_token: ClaimToken(claim_token),
        holder: name("attempts.holder", &holder, WorkerName::parse)?,
        started_at: time("attempts.started_at", &started_at)?,
        finished_at: time("attempts.finished_at", &finished_at)?,
        outcome: AttemptOutcome::from_name(&outcome)
            .ok_or(())
            .map_err(bad(FORM, "attempts.outcome"))?,
        note,
    })
}

fn labels_from_v1(stored: BTreeMap<String, String>) -> Result<Labels, WireError> {
    stored
        .into_iter()
        .map(|(label, value)| {
            Ok((
                name("labels", &label, LabelName::parse)?,
                name("labels", &value, LabelValue::parse)?,
            ))
        })
        .collect()
}
