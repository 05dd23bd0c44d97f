//! The stored form of a capture that waits in the spool.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    WireError, bad,
    entry::{EntryV1, from_v1, to_v1},
    read, version, write,
};
use crate::{
    command::{Capture, OnMerge},
    evidence::Evidence,
    failed_op::TraceContext,
    name::{Actor, Reason},
    time::Timestamp,
};

const FORM: &str = "spooled capture";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpooledV1 {
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
    let Capture { op, expires_in, next_attempt_in, evidence, limits: _, on_merge } = capture;
    let Evidence { actor, at, reason, trace } = evidence;
    write(&SpooledV1 {
        v: 1,
        spooled_at: spooled_at.to_string(),
        expires_in_us: expires_in.map(micros),
        next_attempt_in_us: micros(*next_attempt_in),
        on_merge: on_merge.as_str().to_owned(),
        actor: actor.as_str().to_owned(),
        at: at.to_string(),
        reason: reason.as_ref().map(|reason| reason.as_str().to_owned()),
        traceparent: trace.as_ref().map(|trace| trace.traceparent().to_owned()),
        tracestate: trace.as_ref().and_then(|trace| trace.tracestate().map(str::to_owned)),
        entry: to_v1(op),
    })
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
