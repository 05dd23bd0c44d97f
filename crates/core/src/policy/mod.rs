//! Pure policies: decisions without I/O, clocks or randomness of their own.
//!
//! Whatever a decision needs is an argument: times are durations since an origin that the caller
//! chooses, random numbers are given, texts are borrowed.

pub mod backoff;
pub mod bound;
pub mod breaker;
pub mod domain;
pub mod fingerprint;
pub mod pace;
pub mod rate;
pub mod redact;
pub mod retry_after;

pub use backoff::{BackoffPolicy, BackoffPolicyError, Jitter, at_least};
pub use bound::{bound_json, bound_text};
pub use breaker::{
    Admission, Admitted, Breaker, BreakerChange, BreakerPolicy, BreakerPolicyError,
    BreakerSettings, BreakerState, BreakerWindow, CallOutcome, Calm, ForcedState, Order, SlowCalls,
    Ticket, Told,
};
pub use domain::{
    DomainChange, DomainRejection, NameChange, NormalizedDomain, NormalizedName, OTHER_DOMAIN,
    UNKNOWN_NAME, normalize_domain, normalize_failure_type, normalize_service,
};
pub use fingerprint::{
    FINGERPRINT_VERSION, Fingerprint, FingerprintInput, ParseFingerprintError, fingerprint,
};
pub use pace::{PaceLevel, PaceTerms, Paced, pace};
pub use rate::{RateError, Throttled, TokenBucket};
pub use redact::{
    RedactError, Redacted, RedactedField, RedactionRules, redact_json, redact_json_or_replace,
    redact_text,
};
pub use retry_after::parse_retry_after;
