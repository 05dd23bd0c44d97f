//! From what a host hands over to what a store keeps: pure but for the clock and the ids.

use std::time::Duration;

use baldur_core::{
    Evidence, FailedOp, Fingerprint, NewFailedOp, NotReplayable, OpState, TraceContext,
    command::Capture,
    failed_op::MAX_MAX_RETRIES,
    id,
    name::{Domain, FailureType, IdempotencyKey, ServiceName},
    policy::{
        domain::UNKNOWN_NAME,
        fingerprint::{FingerprintInput, fingerprint},
        redact::{REDACTED, RedactionRules},
    },
};

use super::{
    keys::{self, CallKey},
    names,
    notes::Notes,
    payload::{self, Request},
    policy::{CapturePolicy, Oversize},
    refusal::Refusal,
    scrub,
    stamp::Stamps,
};
use crate::env::{Env, Who};

/// The longest error code, in bytes.
const MAX_CODE_BYTES: usize = 256;

/// The version of payloads as captured.
const FIRST_PAYLOAD: u32 = 1;

/// Makes of `op` what a store can keep, or says why not.
pub(super) fn prepare(
    mut op: NewFailedOp,
    who: &Who,
    oversize: Oversize,
    policy: &CapturePolicy,
    env: &Env,
    stamps: &Stamps,
) -> Result<Capture, Refusal> {
    let rules = &policy.redaction;
    let mut notes = Notes::new(rules);
    cap_input(&mut op, oversize, policy, &mut notes)?;

    let order_key = keys::order_key(op.order_key.as_deref(), oversize, &mut notes, rules)?;
    let dedup_key = keys::dedup_key(op.dedup_key.as_deref(), oversize, &mut notes, rules)?;
    let call_key =
        keys::idempotency_key(op.idempotency_key.as_deref(), oversize, &mut notes, rules)?;
    let labels = keys::labels(&op.labels, oversize, &mut notes, rules)?;
    let max_retries = max_retries(op.max_retries, oversize, policy, &mut notes)?;
    let expires_in = expires_in(op.expires_in, oversize, policy, &mut notes)?;
    let Request { data: request_data, not_replayable } =
        payload::request(op.request_data.as_deref(), oversize, policy, &mut notes)?;
    // From here on nothing is refused, so that a refused operation uses up no id.

    let evidence = scrub::evidence(env, who, rules);
    let created_at = stamps.next(evidence.at);
    let evidence = Evidence { at: created_at, ..evidence };
    let routed_by = order_key.as_ref().map(AsRef::as_ref).or(dedup_key.as_ref().map(AsRef::as_ref));
    let id = op.id.unwrap_or_else(|| id::mint(env.ids.as_ref(), created_at, routed_by));
    let (idempotency_key, not_replayable) = match call_key {
        CallKey::Absent => (IdempotencyKey::of_entry(id), not_replayable),
        CallKey::Kept(key) => (key, not_replayable),
        CallKey::Replaced(key) => {
            (key, not_replayable.or(Some(NotReplayable::IdempotencyKeyNotKept)))
        }
    };

    let texts = Texts::of(&op, policy);
    let domain = names::domain(&op.domain, &mut notes, rules);
    let failure_type = names::failure_type(&op.failure_type, &mut notes, rules);
    let dependency = op.dependency.as_deref().unwrap_or(UNKNOWN_NAME);
    let dependency = names::service("original_dependency", dependency, &mut notes, rules);
    let origin = op.origin_service.as_deref().unwrap_or(env.origin_service.as_str());
    let origin_service = names::service("original_origin_service", origin, &mut notes, rules);
    let fingerprint = fingerprint_of(&op, &domain, &dependency, &failure_type, &texts, rules);
    let mut short =
        |field, raw: &Option<String>| names::short_text(field, raw.as_deref(), &mut notes, rules);
    let entity_type = short("original_entity_type", &op.entity_type);
    let entity_id = short("original_entity_id", &entity_id_of(&op, rules));
    let user_id = short("original_user_id", &op.user_id);
    let mut diagnostic = |field, raw: &Option<String>| {
        payload::diagnostic(field, raw.as_deref(), policy, &mut notes)
    };
    let entity_refs = diagnostic("entity_refs", &op.entity_refs);
    let snapshot_data = diagnostic("snapshot_data", &op.snapshot_data);
    let response_data = diagnostic("response_data", &op.response_data);
    let metadata = diagnostic("metadata", &op.metadata);
    let trace = trace_of(&op, &mut notes, rules);

    let state = OpState::captured(max_retries, not_replayable, created_at);
    let Texts { error_code, error_message, next_action_hint } = texts;
    let op = FailedOp {
        id,
        namespace: env.namespace.clone(),
        domain,
        failure_type,
        dependency,
        origin_service,
        entity_type,
        entity_id,
        entity_refs,
        user_id,
        request_data,
        payload_version: FIRST_PAYLOAD,
        snapshot_data,
        response_data,
        metadata: notes.attach(&metadata),
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
    };
    let limits = policy.overflow.limits(&op.domain);
    let on_merge = policy.dedup.on_merge(&op.domain);
    Ok(Capture { expires_in, limits, on_merge, ..Capture::new(op, evidence) })
}

/// The words of a failure, without secrets and within bounds.
struct Texts {
    error_code: String,
    error_message: String,
    next_action_hint: String,
}

impl Texts {
    fn of(op: &NewFailedOp, policy: &CapturePolicy) -> Self {
        let bounded = |raw: &Option<String>, max_bytes| {
            scrub::text(raw.as_deref().unwrap_or_default(), max_bytes, &policy.redaction)
        };
        Self {
            error_code: bounded(&op.error_code, MAX_CODE_BYTES),
            error_message: bounded(&op.error_message, policy.max_error_bytes),
            next_action_hint: bounded(&op.next_action_hint, policy.max_error_bytes),
        }
    }
}

/// Checks the hard cap before anything is looked at, so that the work is bounded.
fn cap_input(
    op: &mut NewFailedOp,
    oversize: Oversize,
    policy: &CapturePolicy,
    notes: &mut Notes<'_>,
) -> Result<(), Refusal> {
    let (bytes, max) = (input_bytes(op), policy.max_input_bytes);
    if bytes <= max {
        return Ok(());
    }
    match oversize {
        Oversize::Refuse => Err(Refusal::InputTooLarge { bytes, max }),
        Oversize::KeepUnreplayable => {
            notes.add("input", &format!("{bytes} bytes in all; long diagnostics were not read"));
            shed(op, policy);
            Ok(())
        }
    }
}

/// Drops diagnostics above their bound unread. They get no preview: it could show a secret.
fn shed(op: &mut NewFailedOp, policy: &CapturePolicy) {
    let fields =
        [&mut op.entity_refs, &mut op.snapshot_data, &mut op.response_data, &mut op.metadata];
    for text in fields.into_iter().flatten().filter(|text| text.len() > policy.max_field_bytes) {
        *text = payload::unread(text.len());
    }
    let texts = [&mut op.error_code, &mut op.error_message, &mut op.next_action_hint];
    for text in texts.into_iter().flatten().filter(|text| text.len() > policy.max_field_bytes) {
        *text = format!("[not kept, {} bytes]", text.len());
    }
}

/// All texts of the operation together.
fn input_bytes(op: &NewFailedOp) -> usize {
    let NewFailedOp {
        id: _,
        domain,
        failure_type,
        dependency,
        origin_service,
        entity_type,
        entity_id,
        entity_refs,
        user_id,
        request_data,
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
        fingerprint_key,
        traceparent,
        tracestate,
        max_retries: _,
        expires_in: _,
    } = op;
    let optional = [
        dependency,
        origin_service,
        entity_type,
        entity_id,
        entity_refs,
        user_id,
        request_data,
        snapshot_data,
        response_data,
        metadata,
        error_code,
        error_message,
        next_action_hint,
        idempotency_key,
        dedup_key,
        order_key,
        fingerprint_key,
        traceparent,
        tracestate,
    ];
    let optional: usize = optional.into_iter().flatten().map(String::len).sum();
    let labels: usize = labels.iter().map(|(name, value)| name.len() + value.len()).sum();
    domain.len() + failure_type.len() + optional + labels
}

fn max_retries(
    given: Option<u32>,
    oversize: Oversize,
    policy: &CapturePolicy,
    notes: &mut Notes<'_>,
) -> Result<u32, Refusal> {
    let budget = given.unwrap_or(policy.max_retries);
    let allowed = budget.clamp(1, MAX_MAX_RETRIES);
    match (budget == allowed, oversize) {
        (true, _) => Ok(budget),
        (false, Oversize::Refuse) => Err(Refusal::MaxRetries(budget)),
        (false, Oversize::KeepUnreplayable) => {
            notes.add("max_retries", &format!("was {budget}"));
            Ok(allowed)
        }
    }
}

fn expires_in(
    given: Option<Duration>,
    oversize: Oversize,
    policy: &CapturePolicy,
    notes: &mut Notes<'_>,
) -> Result<Option<Duration>, Refusal> {
    match (given, oversize) {
        (Some(Duration::ZERO), Oversize::Refuse) => Err(Refusal::ExpiresInZero),
        (Some(Duration::ZERO), Oversize::KeepUnreplayable) => {
            notes.add("expires_in", "was zero");
            Ok(policy.expires_in)
        }
        (Some(after), _) => Ok(Some(after)),
        (None, _) => Ok(policy.expires_in),
    }
}

/// The id of a thing whose kind is the name of a secret is that secret.
fn entity_id_of(op: &NewFailedOp, rules: &RedactionRules) -> Option<String> {
    let is_secret = op.entity_type.as_deref().is_some_and(|kind| rules.is_secret_key(kind));
    if is_secret {
        op.entity_id.as_ref().map(|_| REDACTED.to_owned())
    } else {
        op.entity_id.clone()
    }
}

/// Of what is stored, so that it can be computed again; only the caller's own key is not.
fn fingerprint_of(
    op: &NewFailedOp,
    domain: &Domain,
    dependency: &ServiceName,
    failure_type: &FailureType,
    texts: &Texts,
    rules: &RedactionRules,
) -> Fingerprint {
    let explicit = op.fingerprint_key.as_deref().map(|key| scrub::line(key, MAX_CODE_BYTES, rules));
    fingerprint(&FingerprintInput {
        explicit: explicit.as_deref().and_then(given),
        domain: domain.as_str(),
        dependency: dependency.as_str(),
        failure_type: failure_type.as_str(),
        error_code: given(&texts.error_code),
        error_message: given(&texts.error_message),
    })
    .into()
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// A trace context is help for people: a bad one is dropped, and noted.
fn trace_of(
    op: &NewFailedOp,
    notes: &mut Notes<'_>,
    rules: &RedactionRules,
) -> Option<TraceContext> {
    let Some(traceparent) = op.traceparent.as_deref() else {
        if op.tracestate.is_some() {
            notes.add("tracestate", "dropped: it came without a traceparent");
        }
        return None;
    };
    let trace = TraceContext::parse(traceparent, op.tracestate.as_deref());
    if trace.is_err() {
        notes.add("original_traceparent", traceparent);
    }
    trace.ok().map(|trace| scrub::without_secret_state(trace, rules))
}
