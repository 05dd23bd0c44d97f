//! How a call is protected.

use std::time::Duration;

use baldur_core::policy::{BackoffPolicy, BreakerPolicy};

use super::ProtectError;
use crate::range::within;

/// How calls to one dependency are protected. Checked by [`Protect::new`](super::Protect::new).
#[derive(Clone, Debug, PartialEq)]
pub struct ProtectPolicy {
    /// How long one try may take: 1 millisecond to 1 hour, and less than the breaker's probe timeout.
    pub timeout: Duration,
    /// How often a call is tried before it counts as failed: 1 to 10. Only transient failures and timeouts are tried again.
    pub tries: u32,
    /// How long to wait between tries.
    pub backoff: BackoffPolicy,
    /// When the breaker opens and closes.
    pub breaker: BreakerPolicy,
    /// How long a capture may take, repetitions included: 10 milliseconds to 5 minutes.
    pub capture_timeout: Duration,
    /// The longest wait before the first replay that a target may ask for by `Retry-After`: up to 30 days.
    pub max_wait: Duration,
    /// What to do with permanent failures.
    pub on_permanent: OnPermanent,
    /// What to do when the future of a call is dropped.
    pub on_drop: OnDrop,
    /// How many captures of dropped calls may be under way: 1 to 10 000.
    pub background_captures: usize,
}

/// What to do with failures that will never work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnPermanent {
    /// Capture them, so that a person can look at them.
    #[default]
    Capture,
    /// Return them only.
    Return,
}

/// What to do when the future of a call is dropped while the call is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnDrop {
    /// Capture the operation: nobody knows whether it worked, and its key makes a replay safe.
    #[default]
    Capture,
    /// Forget it, because whoever dropped it will try again or doesn't want it any more.
    Ignore,
}

impl Default for ProtectPolicy {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            tries: 1,
            backoff: BackoffPolicy::default(),
            breaker: BreakerPolicy::default(),
            capture_timeout: Duration::from_secs(5),
            max_wait: Duration::from_hours(1),
            on_permanent: OnPermanent::default(),
            on_drop: OnDrop::default(),
            background_captures: 256,
        }
    }
}

impl ProtectPolicy {
    /// Whether every value lies in its range.
    ///
    /// # Errors
    ///
    /// Names the first value that does not.
    pub fn check(&self) -> Result<(), ProtectError> {
        self.check_ranges().map_err(ProtectError::Invalid)?;
        if self.timeout >= self.breaker.settings().probe_timeout {
            return Err(ProtectError::Invalid(
                "timeout of a call must be shorter than the breaker's probe timeout".to_owned(),
            ));
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), String> {
        const HOUR: Duration = Duration::from_hours(1);
        const MONTH: Duration = Duration::from_hours(30 * 24);
        within("timeout", self.timeout, Duration::from_millis(1)..=HOUR)?;
        within("number of tries", self.tries, 1..=10)?;
        let capture_timeout = Duration::from_millis(10)..=Duration::from_mins(5);
        within("capture timeout", self.capture_timeout, capture_timeout)?;
        within("longest wait", self.max_wait, Duration::ZERO..=MONTH)?;
        within("number of background captures", self.background_captures, 1..=10_000)
    }
}
