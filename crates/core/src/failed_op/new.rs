//! What a host hands over when an operation failed.

use std::{fmt, time::Duration};

use crate::id::EntryId;

/// A failed operation as its host describes it: raw, to be parsed, redacted and bounded by the capture service.
///
/// Its debug output has the lengths of its texts, never the texts: they may be secret.
///
/// ```
/// use baldur_core::NewFailedOp;
///
/// let op = NewFailedOp::new("payment", "TIMEOUT")
///     .dependency("payment-gateway")
///     .entity("order", "4711")
///     .request_data(r#"{"amount": 1999}"#);
/// assert_eq!(op.domain, "payment");
/// ```
#[derive(Clone, Default)]
pub struct NewFailedOp {
    /// See [`FailedOp::id`](crate::FailedOp::id); minted when absent. Capturing the same id twice is a no-op.
    pub id: Option<EntryId>,
    /// The business domain; normalised, so a capture is never lost for its name.
    pub domain: String,
    /// The class of the failure.
    pub failure_type: String,
    /// What failed.
    pub dependency: Option<String>,
    /// Who reports.
    pub origin_service: Option<String>,
    /// The kind of the thing that the operation was about.
    pub entity_type: Option<String>,
    /// Which one of that kind.
    pub entity_id: Option<String>,
    /// Further things, as JSON text.
    pub entity_refs: Option<String>,
    /// The user on whose behalf it ran.
    pub user_id: Option<String>,
    /// What a replay needs, as JSON text.
    pub request_data: Option<String>,
    /// What was known when it failed, as JSON text.
    pub snapshot_data: Option<String>,
    /// What the dependency answered, as JSON text.
    pub response_data: Option<String>,
    /// Anything else, as JSON text.
    pub metadata: Option<String>,
    /// The machine-readable code of the failure.
    pub error_code: Option<String>,
    /// What the failure said.
    pub error_message: Option<String>,
    /// What an operator should do next.
    pub next_action_hint: Option<String>,
    /// The key of the original call; the entry id when absent.
    pub idempotency_key: Option<String>,
    /// Captures with this key merge while the entry is live.
    pub dedup_key: Option<String>,
    /// Entries with this key are replayed in capture order.
    pub order_key: Option<String>,
    /// Labels, as pairs.
    pub labels: Vec<(String, String)>,
    /// A fingerprint key of the host's own; computed from the failure when absent.
    pub fingerprint_key: Option<String>,
    /// The W3C `traceparent` of the call.
    pub traceparent: Option<String>,
    /// The W3C `tracestate` of the call.
    pub tracestate: Option<String>,
    /// The budget of failed replays, 1 to 1000; the service's default when absent.
    pub max_retries: Option<u32>,
    /// How long the entry may wait before it expires; the service's default when absent.
    pub expires_in: Option<Duration>,
}

/// The length of a text, in place of the text.
struct Bytes(usize);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

impl fmt::Debug for NewFailedOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional = [
            ("dependency", &self.dependency),
            ("origin_service", &self.origin_service),
            ("entity_type", &self.entity_type),
            ("entity_id", &self.entity_id),
            ("entity_refs", &self.entity_refs),
            ("user_id", &self.user_id),
            ("request_data", &self.request_data),
            ("snapshot_data", &self.snapshot_data),
            ("response_data", &self.response_data),
            ("metadata", &self.metadata),
            ("error_code", &self.error_code),
            ("error_message", &self.error_message),
            ("next_action_hint", &self.next_action_hint),
            ("idempotency_key", &self.idempotency_key),
            ("dedup_key", &self.dedup_key),
            ("order_key", &self.order_key),
            ("fingerprint_key", &self.fingerprint_key),
            ("traceparent", &self.traceparent),
            ("tracestate", &self.tracestate),
        ];
        let mut shown = f.debug_struct("NewFailedOp");
        shown.field("id", &self.id);
        shown.field("domain", &Bytes(self.domain.len()));
        shown.field("failure_type", &Bytes(self.failure_type.len()));
        for (name, text) in optional {
            if let Some(text) = text {
                shown.field(name, &Bytes(text.len()));
            }
        }
        shown.field("labels", &self.labels.len());
        shown.field("max_retries", &self.max_retries);
        shown.field("expires_in", &self.expires_in);
        shown.finish()
    }
}

macro_rules! text_setters {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        $(
            $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, value: impl Into<String>) -> Self {
                self.$name = Some(value.into());
                self
            }
        )*
    };
}

impl NewFailedOp {
    /// A failure of this class in this domain.
    pub fn new(domain: impl Into<String>, failure_type: impl Into<String>) -> Self {
        Self { domain: domain.into(), failure_type: failure_type.into(), ..Self::default() }
    }

    text_setters! {
        /// Says what failed.
        dependency,
        /// Says who reports.
        origin_service,
        /// Says on whose behalf it ran.
        user_id,
        /// Gives what a replay needs, as JSON text.
        request_data,
        /// Gives what was known when it failed, as JSON text.
        snapshot_data,
        /// Gives what the dependency answered, as JSON text.
        response_data,
        /// Gives anything else worth keeping, as JSON text.
        metadata,
        /// Gives the code of the failure.
        error_code,
        /// Gives the words of the failure.
        error_message,
        /// Says what an operator should do next.
        next_action_hint,
        /// Gives the key of the original call.
        idempotency_key,
        /// Merges captures with this key while the first is live.
        dedup_key,
        /// Replays entries with this key in capture order.
        order_key,
        /// Groups by this key instead of the failure's own words.
        fingerprint_key,
        /// Gives the trace of the call.
        traceparent,
    }

    /// Uses this id.
    #[must_use]
    pub fn id(mut self, id: EntryId) -> Self {
        self.id = Some(id);
        self
    }

    /// Says which thing the operation was about.
    #[must_use]
    pub fn entity(mut self, kind: impl Into<String>, id: impl Into<String>) -> Self {
        self.entity_type = Some(kind.into());
        self.entity_id = Some(id.into());
        self
    }

    /// Adds a label.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// Sets the budget of failed replays.
    #[must_use]
    pub fn max_retries(mut self, max_retries: u32) -> Self {
        self.max_retries = Some(max_retries);
        self
    }
}
