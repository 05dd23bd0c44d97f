//! The limits of capture.

use std::time::Duration;

use baldur_core::{
    failed_op::{DEFAULT_MAX_RETRIES, MAX_MAX_RETRIES},
    policy::redact::RedactionRules,
};

use super::overflow::{DedupPolicy, OverflowPolicy};

/// What capture accepts, how much of it is kept, and what it fills in. Sizes are in bytes.
///
/// Check it with [`validate`](Self::validate) where it comes from outside, such as a settings file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturePolicy {
    /// The longest `request_data`, which is kept whole or not at all. 1 to [`MAX_REQUEST_BYTES`](Self::MAX_REQUEST_BYTES).
    pub max_request_bytes: usize,
    /// The hard cap: all texts of one operation together. `max_request_bytes` to
    /// [`MAX_INPUT_BYTES`](Self::MAX_INPUT_BYTES).
    pub max_input_bytes: usize,
    /// The longest that each of `snapshot_data`, `response_data`, `metadata` and `entity_refs` is kept.
    /// [`MIN_FIELD_BYTES`](Self::MIN_FIELD_BYTES) to [`MAX_FIELD_BYTES`](Self::MAX_FIELD_BYTES).
    pub max_field_bytes: usize,
    /// The longest that the error message and the hint for operators are kept each.
    /// [`MIN_FIELD_BYTES`](Self::MIN_FIELD_BYTES) to [`MAX_ERROR_BYTES`](Self::MAX_ERROR_BYTES).
    pub max_error_bytes: usize,
    /// The budget of an operation that names none. 1 to [`MAX_MAX_RETRIES`].
    pub max_retries: u32,
    /// How long an operation that names nothing waits before it expires; for ever when absent.
    pub expires_in: Option<Duration>,
    /// What is secret.
    pub redaction: RedactionRules,
    /// How many live entries there may be.
    pub overflow: OverflowPolicy,
    /// Whose payload a merge keeps.
    pub dedup: DedupPolicy,
}

/// A limit outside its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {given}; {min} to {max} are allowed")]
pub struct CapturePolicyError {
    field: &'static str,
    given: u64,
    min: u64,
    max: u64,
}

impl CapturePolicyError {
    /// The field that is out of its range.
    pub fn field(&self) -> &'static str {
        self.field
    }
}

impl CapturePolicy {
    /// 4 MiB. Redaction may make a request three times as long, and a store takes 16 MiB.
    pub const MAX_REQUEST_BYTES: usize = 4 << 20;

    /// 64 MiB.
    pub const MAX_INPUT_BYTES: usize = 64 << 20;

    /// 256 bytes: room for a marker that says what is missing.
    pub const MIN_FIELD_BYTES: usize = 256;

    /// 512 KiB.
    pub const MAX_FIELD_BYTES: usize = 512 << 10;

    /// 64 KiB.
    pub const MAX_ERROR_BYTES: usize = 64 << 10;

    /// Checks every limit.
    ///
    /// # Errors
    ///
    /// Names the first one outside its range, and the range.
    pub fn validate(&self) -> Result<(), CapturePolicyError> {
        let Self {
            max_request_bytes,
            max_input_bytes,
            max_field_bytes,
            max_error_bytes,
            max_retries,
            expires_in,
            redaction: _,
            // Any number is a limit, so there is no range.
            overflow: _,
            dedup: _,
        } = self;
        let sizes = [
            ("max_request_bytes", *max_request_bytes, 1, Self::MAX_REQUEST_BYTES),
            ("max_input_bytes", *max_input_bytes, *max_request_bytes, Self::MAX_INPUT_BYTES),
            ("max_field_bytes", *max_field_bytes, Self::MIN_FIELD_BYTES, Self::MAX_FIELD_BYTES),
            ("max_error_bytes", *max_error_bytes, Self::MIN_FIELD_BYTES, Self::MAX_ERROR_BYTES),
        ];
        for (field, given, min, max) in sizes {
            check(field, wide(given), wide(min), wide(max))?;
        }
        check("max_retries", u64::from(*max_retries), 1, u64::from(MAX_MAX_RETRIES))?;
        if expires_in.is_some_and(|after| after.is_zero()) {
            return check("expires_in", 0, 1, u64::MAX);
        }
        Ok(())
    }
}

impl Default for CapturePolicy {
    /// 1 MiB of request, 8 MiB in all, 64 KiB of each diagnostic field, 4 KiB of error text, two retries, no expiry, a million
    /// live entries in all, the first payload.
    fn default() -> Self {
        Self {
            max_request_bytes: 1 << 20,
            max_input_bytes: 8 << 20,
            max_field_bytes: 64 << 10,
            max_error_bytes: 4 << 10,
            max_retries: DEFAULT_MAX_RETRIES,
            expires_in: None,
            redaction: RedactionRules::default(),
            overflow: OverflowPolicy::default(),
            dedup: DedupPolicy::default(),
        }
    }
}

/// What to do with an operation that can't be kept as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Oversize {
    /// Refuse it, and say why. For callers that can correct it.
    Refuse,
    /// Keep what can be kept and note what was changed: nothing is refused. An operation whose request or idempotency key
    /// could not be kept waits for a person, as not replayable. For callers that have nowhere else to put it.
    KeepUnreplayable,
}

fn check(field: &'static str, given: u64, min: u64, max: u64) -> Result<(), CapturePolicyError> {
    if (min..=max).contains(&given) {
        Ok(())
    } else {
        Err(CapturePolicyError { field, given, min, max })
    }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        assert_eq!(CapturePolicy::default().validate(), Ok(()));
    }

    #[test]
    fn a_limit_out_of_its_range_is_named_with_the_range() {
        let policy = CapturePolicy { max_retries: 1_001, ..CapturePolicy::default() };
        let error = policy.validate().expect_err("too many");
        assert_eq!(error.to_string(), "max_retries is 1001; 1 to 1000 are allowed");
        for (policy, field) in [
            (CapturePolicy { max_request_bytes: 0, ..policy.clone() }, "max_request_bytes"),
            (CapturePolicy { max_input_bytes: (1 << 20) - 1, ..policy.clone() }, "max_input_bytes"),
            (CapturePolicy { max_field_bytes: 255, ..policy.clone() }, "max_field_bytes"),
            (CapturePolicy { max_error_bytes: 65_537, ..policy.clone() }, "max_error_bytes"),
            (
                CapturePolicy {
                    expires_in: Some(Duration::ZERO),
                    max_retries: 1,
                    ..policy.clone()
                },
                "expires_in",
            ),
        ] {
            assert_eq!(policy.validate().expect_err(field).field(), field);
        }
    }
}
