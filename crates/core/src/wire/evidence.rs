//! The stored form of evidence. Its bytes are what hashes are computed over, so the field order is part of it.

use serde::Deserialize;

use super::{
    WireError, bad,
    object::{Object, finished},
    read, version,
};
use crate::{
    evidence::{Digest, Evidence, EvidenceEvent, EvidenceRecord},
    failed_op::{Status, TraceContext},
    id::{ClaimToken, EntryId},
    name::{Actor, Reason},
    time::Timestamp,
};

const FORM: &str = "evidence record";

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct EvidenceV1 {
    #[cfg_attr(not(test), expect(dead_code, reason = "checked before the rest is read"))]
    v: u64,
    entry: String,
    counter: u64,
    event: String,
    from: Option<String>,
    to: Option<String>,
    claim_token: u64,
    actor: String,
    at: String,
    reason: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    digest: Option<String>,
}

/// Writes a record in the newest form, with its fields in a fixed order.
pub fn encode_evidence(record: &EvidenceRecord) -> String {
    let EvidenceRecord { entry, counter, event, from, to, claim_token, evidence, digest } = record;
    let Evidence { actor, at, reason, trace } = evidence;
    let mut out = Vec::with_capacity(512);
    let mut form = Object::begin(&mut out);
    form.field("v", 1_u64);
    form.field("entry", *entry);
    form.field("counter", *counter);
    form.field("event", event.as_str());
    form.field("from", from.map(Status::as_str));
    form.field("to", to.map(Status::as_str));
    form.field("claim_token", claim_token.0);
    form.field("actor", actor.as_str());
    form.field("at", *at);
    form.field("reason", reason.as_ref().map(Reason::as_str));
    form.field("traceparent", trace.as_ref().map(TraceContext::traceparent));
    form.field("tracestate", trace.as_ref().and_then(TraceContext::tracestate));
    form.field("digest", digest.map(|digest| digest.to_string()).as_deref());
    form.end();
    finished(out)
}

/// Reads a record of any known version.
///
/// # Errors
///
/// When the text is no stored record, or one of a newer version.
pub fn decode_evidence(text: &str) -> Result<EvidenceRecord, WireError> {
    match version(FORM, text)? {
        1 => from_v1(read(FORM, text)?),
        version => Err(WireError::UnknownVersion { form: FORM, version, newest: 1 }),
    }
}

fn from_v1(stored: EvidenceV1) -> Result<EvidenceRecord, WireError> {
    let EvidenceV1 {
        v: _,
        entry,
        counter,
        event,
        from,
        to,
        claim_token,
        actor,
        at,
        reason,
        traceparent,
        tracestate,
        digest,
    } = stored;
    let status = |text: Option<String>, field| {
        text.map(|text| text.parse::<Status>()).transpose().map_err(bad(FORM, field))
    };
    let trace = traceparent
        .map(|parent| TraceContext::parse(&parent, tracestate.as_deref()))
        .transpose()
        .map_err(bad(FORM, "traceparent"))?;
    let digest = digest
        .map(|digest| Digest::from_hex(&digest).ok_or(()))
        .transpose()
        .map_err(bad(FORM, "digest"))?;
    Ok(EvidenceRecord {
        entry: entry.parse::<EntryId>().map_err(bad(FORM, "entry"))?,
        counter,
        event: EvidenceEvent::from_name(&event).ok_or(()).map_err(bad(FORM, "event"))?,
        from: status(from, "from")?,
        to: status(to, "to")?,
        claim_token: ClaimToken(claim_token),
        evidence: Evidence {
            actor: Actor::parse(&actor).map_err(bad(FORM, "actor"))?,
            at: at.parse::<Timestamp>().map_err(bad(FORM, "at"))?,
            reason: reason
                .map(|reason| Reason::parse(&reason))
                .transpose()
                .map_err(bad(FORM, "reason"))?,
            trace,
        },
        digest,
    })
}
