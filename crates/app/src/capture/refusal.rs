//! Why a capture did not happen.

use baldur_core::{
    Outcome, Retry,
    failed_op::{MAX_LABELS, MAX_MAX_RETRIES},
    name::NameError,
    policy::redact::RedactError,
    port::{CaptureError, LimitScope},
};

/// Why an operation was refused. Nothing was changed, and the same operation would be refused again.
///
/// Each refusal says what was wrong and what is allowed, and never repeats a value: it may be a secret.
/// Its [`code`](Self::code) is stable:
///
/// | code | what was wrong |
/// |---|---|
/// | `input_too_large` | all texts of the operation together are longer than the hard cap |
/// | `too_many_labels` | more than 16 labels |
/// | `label_name_invalid` | a label name breaks its rules, or holds a secret |
/// | `label_repeated` | two labels have one name |
/// | `order_key_invalid` | the order key breaks its rules |
/// | `dedup_key_invalid` | the dedup key breaks its rules |
/// | `idempotency_key_invalid` | the idempotency key breaks its rules |
/// | `idempotency_key_secret` | the idempotency key looks like a secret, which is never stored |
/// | `request_not_json` | `request_data` is no JSON |
/// | `request_too_large` | `request_data` is longer than the limit; it is never cut |
/// | `request_not_redactable` | secrets can't be looked for in `request_data`: it nests too deeply |
/// | `max_retries_out_of_range` | the budget is not 1 to 1000 |
/// | `expires_in_zero` | the operation would expire at once |
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The hard cap.
    #[error("the operation has {bytes} bytes of text in all; at most {max} are allowed")]
    InputTooLarge {
        /// How many it has.
        bytes: usize,
        /// How many are allowed.
        max: usize,
    },
    /// Too many labels.
    #[error("the operation has {0} labels; at most {MAX_LABELS} are allowed")]
    TooManyLabels(usize),
    /// A bad label name.
    #[error("label {position}: {problem}")]
    LabelName {
        /// Which label, counted from 1.
        position: usize,
        /// What is wrong.
        problem: NameError,
    },
    /// A label name that redaction would change.
    #[error(
        "label {position}: label name looks like a secret; use a name that says what the value is"
    )]
    LabelNameSecret {
        /// Which label, counted from 1.
        position: usize,
    },
    /// Two labels with one name.
    #[error("label {position}: its name was used before; each name may be used once")]
    LabelRepeated {
        /// Which label, counted from 1.
        position: usize,
    },
    /// A bad order key.
    #[error("{0}")]
    OrderKey(NameError),
    /// A bad dedup key.
    #[error("{0}")]
    DedupKey(NameError),
    /// A bad idempotency key.
    #[error("{0}")]
    IdempotencyKey(NameError),
    /// An idempotency key that redaction would change.
    #[error(
        "idempotency key looks like a secret, which is never stored; use a random one, such as a UUID"
    )]
    IdempotencyKeySecret,
    /// A request that is no JSON.
    #[error("request_data is not valid JSON, from byte {at} on; give one JSON value")]
    RequestNotJson {
        /// Where the mistake was noticed, in bytes from its start.
        at: usize,
    },
    /// A request above the limit.
    #[error("request_data has {bytes} bytes; at most {max} are allowed, since it is never cut")]
    RequestTooLarge {
        /// How many it has.
        bytes: usize,
        /// How many are allowed.
        max: usize,
    },
    /// A request that can't be redacted.
    #[error("request_data can't be searched for secrets: {0}")]
    RequestNotRedactable(RedactError),
    /// A budget out of its range.
    #[error("max_retries is {0}; 1 to {MAX_MAX_RETRIES} are allowed")]
    MaxRetries(u32),
    /// No time to live.
    #[error(
        "expires_in is zero, so the operation would expire at once; leave it out, or make it longer"
    )]
    ExpiresInZero,
}

impl Refusal {
    /// Every code, in the order of the table above.
    pub const CODES: [&'static str; 13] = [
        "input_too_large",
        "too_many_labels",
        "label_name_invalid",
        "label_repeated",
        "order_key_invalid",
        "dedup_key_invalid",
        "idempotency_key_invalid",
        "idempotency_key_secret",
        "request_not_json",
        "request_too_large",
        "request_not_redactable",
        "max_retries_out_of_range",
        "expires_in_zero",
    ];

    /// The stable code for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::InputTooLarge { .. } => "input_too_large",
            Self::TooManyLabels(_) => "too_many_labels",
            Self::LabelName { .. } | Self::LabelNameSecret { .. } => "label_name_invalid",
            Self::LabelRepeated { .. } => "label_repeated",
            Self::OrderKey(_) => "order_key_invalid",
            Self::DedupKey(_) => "dedup_key_invalid",
            Self::IdempotencyKey(_) => "idempotency_key_invalid",
            Self::IdempotencyKeySecret => "idempotency_key_secret",
            Self::RequestNotJson { .. } => "request_not_json",
            Self::RequestTooLarge { .. } => "request_too_large",
            Self::RequestNotRedactable(_) => "request_not_redactable",
            Self::MaxRetries(_) => "max_retries_out_of_range",
            Self::ExpiresInZero => "expires_in_zero",
        }
    }
}

/// Why a capture did not happen.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureFailure {
    /// The operation is not acceptable; the store was not asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store did not keep it, or its answer is missing.
    #[error(transparent)]
    Store(#[from] CaptureError),
}

impl CaptureFailure {
    /// The stable code for programs: one of [`Refusal::CODES`], `store_refused` for an operation that this store can't
    /// hold, `limit_reached_domain` or `limit_reached_all` when there is no room for another live entry, or the kind of the backend's trouble ([`BackendKind::as_str`](baldur_core::BackendKind::as_str)).
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Store(CaptureError::Backend(error)) => error.kind().as_str(),
            Self::Store(CaptureError::LimitReached { scope: LimitScope::Domain, .. }) => {
                "limit_reached_domain"
            }
            Self::Store(CaptureError::LimitReached { scope: LimitScope::All, .. }) => {
                "limit_reached_all"
            }
            Self::Store(_) => "store_refused",
        }
    }

    /// Whether trying again can help. A capture is idempotent by id, so give an id where you mean to repeat.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Refused(_) => Retry::Never,
            Self::Store(error) => error.retry(),
        }
    }

    /// What is known about the effect.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(_) => Outcome::NotApplied,
            Self::Store(error) => error.outcome(),
        }
    }
}
