//! The stored form of a capture that waits in the spool.

use std::time::Duration;

use serde::Deserialize;

use super::{
    WireError, bad,
    entry::{EntryV1, from_v1, room_for, write_entry},
    object::{Object, finished},
    read, version,
};
use crate::{
    command::{Capture, OnMerge},
    evidence::Evidence,
    failed_op::TraceContext,
    name::{Actor, Reason},
    time::Timestamp,
};

const FORM: &str = "spooled capture";

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub(super) struct SpooledV1 {
    #[cfg_attr(not(test), expect(dead_code, reason = "checked before the rest is read"))]
    v: u64,
    spooled_at: String,
    expires_in_us: Option<u64>,
    next_attempt_in_us: u64,
    on_merge: String,
    actor: String,
    at: String,
    reason: Option<String>,
    traceparent: Option<String>,
    tracestate: Option<String>,
    entry: EntryV1,
}

/// Writes a capture in the newest form. Its limits are not written: they are those of the moment when it is kept.
pub fn encode_spooled(capture: &Capture, spooled_at: Timestamp) -> String {
    let mut out = Vec::with_capacity(spooled_room(capture));
    write_spooled(capture, spooled_at, &mut out);
    finished(out)
}

/// The same, at the end of `out`, as UTF-8: for whoever puts something around it.
pub fn write_spooled(capture: &Capture, spooled_at: Timestamp, out: &mut Vec<u8>) {
    let Capture { op, expires_in, next_attempt_in, evidence, limits: _, on_merge } = capture;
    let Evidence { actor, at, reason, trace } = evidence;
    let mut spooled = Object::begin(out);
    spooled.field("v", 1_u64);
    spooled.field("spooled_at", spooled_at);
    spooled.field("expires_in_us", expires_in.map(micros));
    spooled.field("next_attempt_in_us", micros(*next_attempt_in));
    spooled.field("on_merge", on_merge.as_str());
    spooled.field("actor", actor.as_str());
    spooled.field("at", *at);
    spooled.field("reason", reason.as_ref().map(Reason::as_str));
    spooled.field("traceparent", trace.as_ref().map(TraceContext::traceparent));
    spooled.field("tracestate", trace.as_ref().and_then(TraceContext::tracestate));
    write_entry(op, spooled.named("entry"));
    spooled.end();
}

/// About how many bytes [`write_spooled`] writes; rather too many than too few.
pub fn spooled_room(capture: &Capture) -> usize {
    512 + room_for(&capture.op)
}

/// Reads a capture of any known version, and when it was spooled.
///
/// # Errors
///
/// When the text is no spooled capture, or one of a newer version.
pub fn decode_spooled(text: &str) -> Result<(Capture, Timestamp), WireError> {
    match version(FORM, text)? {
        1 => capture_of(read(FORM, text)?),
        version => Err(WireError::UnknownVersion { form: FORM, version, newest: 1 }),
    }
}

fn capture_of(stored: SpooledV1) -> Result<(Capture, Timestamp), WireError> {
    let SpooledV1 {
        v: _,
        spooled_at,
        expires_in_us,
        next_attempt_in_us,
        on_merge,
        actor,
        at,
        reason,
        traceparent,
        tracestate,
        entry,
    } = stored;
    let on_merge = [OnMerge::KeepFirst, OnMerge::KeepLast]
        .into_iter()
        .find(|known| known.as_str() == on_merge)
        .ok_or(())
        .map_err(bad(FORM, "on_merge"))?;
    let trace = traceparent
        .map(|parent| TraceContext::parse(&parent, tracestate.as_deref()))
        .transpose()
        .map_err(bad(FORM, "traceparent"))?;
    let evidence = Evidence {
        actor: Actor::parse(&actor).map_err(bad(FORM, "actor"))?,
        at: at.parse::<Timestamp>().map_err(bad(FORM, "at"))?,
        reason: reason
            .map(|reason| Reason::parse(&reason))
            .transpose()
            .map_err(bad(FORM, "reason"))?,
        trace,
    };
    let capture = Capture {
        expires_in: expires_in_us.map(Duration::from_micros),
        next_attempt_in: Duration::from_micros(next_attempt_in_us),
        on_merge,
        ..Capture::new(from_v1(entry)?, evidence)
    };
    Ok((capture, spooled_at.parse::<Timestamp>().map_err(bad(FORM, "spooled_at"))?))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
