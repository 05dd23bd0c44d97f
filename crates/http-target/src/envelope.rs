//! The body of a request.

use baldur_core::{FailedOp, Json, port::ReplayContext};
use serde::Serialize;

use crate::config::HttpTargetBody;

/// Version 1 of the envelope. Fields are only ever added; readers must ignore unknown ones.
#[derive(Serialize)]
struct Envelope<'a> {
    version: u16,
    id: String,
    domain: &'a str,
    failure_type: &'a str,
    dependency: &'a str,
    origin_service: &'a str,
    idempotency_key: &'a str,
    order_key: Option<&'a str>,
    entity_type: Option<&'a str>,
    entity_id: Option<&'a str>,
    user_id: Option<&'a str>,
    attempt: u64,
    captured_at: String,
    payload_version: u32,
    request_data: &'a Json,
}

/// The body for this replay. `None` when the request data is no JSON, which captures exclude.
pub(crate) fn body(form: HttpTargetBody, op: &FailedOp, context: ReplayContext) -> Option<Vec<u8>> {
    match form {
        HttpTargetBody::Request => Some(op.request_data.as_str().as_bytes().to_vec()),
        HttpTargetBody::Envelope => serde_json::to_vec(&Envelope {
            version: crate::WIRE_VERSION,
            id: op.id.to_string(),
            domain: op.domain.as_str(),
            failure_type: op.failure_type.as_str(),
            dependency: op.dependency.as_str(),
            origin_service: op.origin_service.as_str(),
            idempotency_key: op.idempotency_key.as_str(),
            order_key: op.order_key.as_ref().map(AsRef::as_ref),
            entity_type: op.entity_type.as_ref().map(AsRef::as_ref),
            entity_id: op.entity_id.as_ref().map(AsRef::as_ref),
            user_id: op.user_id.as_ref().map(AsRef::as_ref),
            attempt: context.attempt,
            captured_at: op.created_at.to_string(),
            payload_version: op.payload_version,
            request_data: &op.request_data,
        })
        .ok(),
    }
}
