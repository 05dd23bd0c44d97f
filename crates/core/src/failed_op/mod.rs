//! A failed operation, with all that is needed to run it again.

mod attempts;
mod new;
mod state;
mod status;

use std::{collections::BTreeMap, time::Duration};

pub use attempts::{Attempt, AttemptOutcome, Attempts};
pub use new::NewFailedOp;
pub use state::{Hold, NotReplayable, OpState, RecommendedAction, ResolutionType};
pub use status::{Cause, Status, StatusError, TRANSITIONS, Transition, next_status};

use crate::{
    id::EntryId,
    json::Json,
    name::{
        DedupKey, Domain, FailureType, IdempotencyKey, LabelName, LabelValue, Namespace, OrderKey,
        ServiceName, ShortText,
    },
    policy::fingerprint,
    time::Timestamp,
};

/// Labels of an entry: how people search inside payloads. At most [`MAX_LABELS`].
pub type Labels = BTreeMap<LabelName, LabelValue>;

/// The most labels that one entry may have.
pub const MAX_LABELS: usize = 16;

/// The budget of an entry whose capture names none: two failed replays, then a person looks at it.
pub const DEFAULT_MAX_RETRIES: u32 = 2;

/// The largest budget.
pub const MAX_MAX_RETRIES: u32 = 1_000;

/// One failed operation.
///
/// What describes the failure is set at capture and stays; what changes afterwards is in [`OpState`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedOp {
    /// Its id.
    pub id: EntryId,
    /// The deployment that it belongs to.
    pub namespace: Namespace,
    /// The business domain; replay handlers are registered for it.
    pub domain: Domain,
    /// The class of the failure.
    pub failure_type: FailureType,
    /// What failed; `unknown` when nobody said. Recovery of this service brings the entry back.
    pub dependency: ServiceName,
    /// Who reports; `unknown` when nobody said.
    pub origin_service: ServiceName,
    /// The kind of the thing that the operation was about, such as `order`.
    pub entity_type: Option<ShortText>,
    /// Which one of that kind.
    pub entity_id: Option<ShortText>,
    /// Further things that it was about, as the caller gave them.
    pub entity_refs: Json,
    /// The user on whose behalf it ran.
    pub user_id: Option<ShortText>,
    /// What a replay needs, whole. Secrets are redacted.
    pub request_data: Json,
    /// Which version of `request_data` this is: 1 as captured, one more for each edit.
    pub payload_version: u32,
    /// What was known when it failed. Bounded.
    pub snapshot_data: Json,
    /// What the dependency answered. Bounded.
    pub response_data: Json,
    /// Anything else that the caller wanted kept. Bounded.
    pub metadata: Json,
    /// The machine-readable code of the failure; empty when there was none.
    pub error_code: String,
    /// What the failure said. Redacted and bounded.
    pub error_message: String,
    /// What an operator should do next, in words; empty when nobody said.
    pub next_action_hint: String,
    /// The key of the original call, for the target to recognise it by.
    pub idempotency_key: IdempotencyKey,
    /// Captures with this key merge while the entry is live.
    pub dedup_key: Option<DedupKey>,
    /// Entries with this key are replayed in capture order.
    pub order_key: Option<OrderKey>,
    /// Searchable labels.
    pub labels: Labels,
    /// What makes failures of the same kind alike.
    pub fingerprint: Fingerprint,
    /// The trace that the failure happened in.
    pub trace: Option<TraceContext>,
    /// When it was captured, by the capturing process.
    pub created_at: Timestamp,
    /// What changes after capture.
    pub state: OpState,
}

impl FailedOp {
    /// Whether budget is left for another automatic replay.
    pub fn can_retry(&self) -> bool {
        self.state.can_retry()
    }

    /// How old the entry is at `now`.
    pub fn age(&self, now: Timestamp) -> Duration {
        now.since(self.created_at)
    }

    /// Position in lists and, within an order key, in the replay order.
    pub fn position(&self) -> (Timestamp, EntryId) {
        (self.created_at, self.id)
    }
}

/// What makes failures alike, with the version of the function that computed it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint {
    /// The version of the function.
    pub version: u16,
    /// Its result: `v<version>:` and lower-case hexadecimal digits.
    pub text: ShortText,
}

impl From<fingerprint::Fingerprint> for Fingerprint {
    fn from(computed: fingerprint::Fingerprint) -> Self {
        Self { version: fingerprint::FINGERPRINT_VERSION, text: computed.into() }
    }
}

/// A W3C trace context (<https://www.w3.org/TR/trace-context/>), as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    traceparent: String,
    tracestate: Option<String>,
}

/// A text that is no `traceparent`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a W3C traceparent; it looks like 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
)]
pub struct TraceContextError;

impl TraceContext {
    /// Reads a `traceparent` of version 00 and keeps `tracestate` (at most 512 bytes, dropped when longer).
    ///
    /// # Errors
    ///
    /// When the text does not follow the W3C recommendation, or its trace or span id is all zeros.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Result<Self, TraceContextError> {
        let parts: Vec<&str> = traceparent.split('-').collect();
        let lower_hex = |s: &str, len: usize| {
            s.len() == len && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let zero = |s: &str| s.bytes().all(|b| b == b'0');
        let [version, trace_id, span_id, flags] = parts.as_slice() else {
            return Err(TraceContextError);
        };
        let well_formed = *version == "00"
            && lower_hex(trace_id, 32)
            && lower_hex(span_id, 16)
            && lower_hex(flags, 2)
            && !zero(trace_id)
            && !zero(span_id);
        if !well_formed {
            return Err(TraceContextError);
        }
        let tracestate = tracestate
            .filter(|state| !state.is_empty() && state.len() <= 512)
            .filter(|state| state.bytes().all(|b| (0x20..0x7f).contains(&b)))
            .map(str::to_owned);
        Ok(Self { traceparent: traceparent.to_owned(), tracestate })
    }

    /// The `traceparent` header.
    pub fn traceparent(&self) -> &str {
        &self.traceparent
    }

    /// The `tracestate` header.
    pub fn tracestate(&self) -> Option<&str> {
        self.tracestate.as_deref()
    }

    /// The trace id: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.traceparent.get(3..35).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_computed_fingerprint_is_stored_with_its_version() {
        let computed = fingerprint::fingerprint(&fingerprint::FingerprintInput::default());
        let stored = Fingerprint::from(computed);
        assert_eq!(stored.version, 1);
        assert_eq!(ShortText::parse(&computed.to_string()), Ok(stored.text));
    }

    #[test]
    fn trace_contexts_follow_the_recommendation() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(good, Some("a=1")).expect("valid");
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.tracestate(), Some("a=1"));
        for bad in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert!(TraceContext::parse(bad, None).is_err(), "{bad}");
        }
    }
}
