//! The stored form of an entry, and of its parts that adapters keep as text.
//!
//! It is read into a form of its own, and written straight from the entry.

mod encode;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{WireError, bad, read, version};

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

pub use encode::{encode_attempts, encode_entry, encode_labels};
pub(super) use encode::{room_for, write_entry};

const FORM: &str = "entry";

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct EntryV1 {
    #[cfg_attr(not(test), expect(dead_code, reason = "checked before the rest is read"))]
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

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
struct HoldV1 {
    holder: String,
    claimed_at: String,
    expires_at: String,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
struct AttemptsV1 {
    total: u64,
    kept: Vec<AttemptV1>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
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

/// Reads a history that [`encode_attempts`] wrote.
///
/// # Errors
///
/// When it is damaged.
pub fn decode_attempts(text: &str) -> Result<Attempts, WireError> {
    attempts_from_v1(read("history", text)?)
}

/// Reads labels that [`encode_labels`] wrote.
///
/// # Errors
///
/// When they are damaged.
pub fn decode_labels(text: &str) -> Result<Labels, WireError> {
    labels_from_v1(read("label set", text)?)
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
