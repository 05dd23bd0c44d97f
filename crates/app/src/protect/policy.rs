//! How a call is protected.

use std::time::Duration;

use baldur_core::policy::{BackoffPolicy, BreakerPolicy, Jitter};

use super::ProtectError;
use crate::range::within;

/// The longest time that a policy may give to a call.
const HOUR: Duration = Duration::from_hours(1);

/// How calls to one dependency are protected. Checked when a guard is built.
#[derive(Clone, Debug, PartialEq)]
pub struct ProtectPolicy {
    /// How long a logical call may take, with its tries and all waits between and before them, and with its fallback: 1
    /// millisecond to 1 hour, and less than the breaker's probe timeout. A capture has its own time on top.
    pub deadline: Duration,
    /// How long one try may take: 1 millisecond to the deadline, which cuts it where less is left.
    pub timeout: Duration,
    /// How often a call is tried before it counts as failed: 1 to 10. Only transient failures and timeouts are tried again.
    pub tries: u32,
    /// How long to wait between tries. A dependency that asks by `Retry-After` for more than the cap is not tried again.
    pub backoff: BackoffPolicy,
    /// How many retries the calls of a guard may make, all together.
    pub retry_budget: RetryBudgetPolicy,
    /// When the breaker opens and closes.
    pub breaker: BreakerPolicy,
    /// How many calls may be under way at once; `None` is any number.
    pub concurrency: Option<ConcurrencyPolicy>,
    /// How much of the deadline is left to a fallback, for calls that have one: 1 millisecond to less than the deadline.
    pub fallback_timeout: Duration,
    /// What to do with a failed call whose fallback gave a value.
    pub on_fallback: OnFallback,
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

/// How many retries are allowed, for all calls together, so that they never amplify an outage.
///
/// Over any stretch of time, retries are at most `burst + ratio · calls + per_second · seconds`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudgetPolicy {
    /// How much of a retry each call pays in: 0 to 10.
    pub ratio: f64,
    /// How many retries flow in each second, so that rare calls may be retried, too: 0 to 10 000.
    pub per_second: f64,
    /// How many retries may be saved up: 1 to 100 000. A new budget is full.
    pub burst: u32,
}

impl Default for RetryBudgetPolicy {
    /// A fifth of the calls, one each second, ten saved up.
    fn default() -> Self {
        Self { ratio: 0.2, per_second: 1.0, burst: 10 }
    }
}

impl RetryBudgetPolicy {
    /// Whether every value lies in its range.
    ///
    /// # Errors
    ///
    /// Names the first value that does not.
    pub fn check(&self) -> Result<(), ProtectError> {
        within("ratio of the retry budget", self.ratio, 0.0..=10.0)
            .and_then(|()| {
                within("retries per second of the retry budget", self.per_second, 0.0..=10_000.0)
            })
            .and_then(|()| within("burst of the retry budget", self.burst, 1..=100_000))
            .map_err(ProtectError::Invalid)
    }
}

/// How many calls may be under way at once, and how many may wait for their turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyPolicy {
    /// How many calls may be under way: 1 to 100 000. A call that pauses between its tries is under way.
    pub calls: usize,
    /// How many calls may wait: 0 to 100 000.
    pub waiting: usize,
    /// How long a call may wait: up to 1 hour. The deadline cuts it.
    pub max_wait: Duration,
}

impl Default for ConcurrencyPolicy {
    /// 64 at once, 64 waiting for up to a second.
    fn default() -> Self {
        Self { calls: 64, waiting: 64, max_wait: Duration::from_secs(1) }
    }
}

impl ConcurrencyPolicy {
    fn check(&self) -> Result<(), String> {
        within("number of concurrent calls", self.calls, 1..=100_000)?;
        within("number of waiting calls", self.waiting, 0..=100_000)?;
        within("longest wait of a call", self.max_wait, Duration::ZERO..=HOUR)
    }
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

/// What to do with a failed call whose fallback gave a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFallback {
    /// Capture it: the caller has an answer, but the operation was not done.
    #[default]
    Capture,
    /// Don't: the fallback did all that was asked for.
    Skip,
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
            deadline: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            tries: 1,
            backoff: backoff(),
            retry_budget: RetryBudgetPolicy::default(),
            breaker: BreakerPolicy::default(),
            concurrency: None,
            fallback_timeout: Duration::from_millis(500),
            on_fallback: OnFallback::default(),
            capture_timeout: Duration::from_secs(5),
            max_wait: Duration::from_hours(1),
            on_permanent: OnPermanent::default(),
            on_drop: OnDrop::default(),
            background_captures: 256,
        }
    }
}

/// A tenth of a second, doubled up to ten seconds: somebody waits for these calls.
fn backoff() -> BackoffPolicy {
    let (base, cap) = (Duration::from_millis(100), Duration::from_secs(10));
    BackoffPolicy::new(base, 2.0, cap, Jitter::Equal).unwrap_or_default()
}

impl ProtectPolicy {
    /// Whether every value lies in its range.
    ///
    /// # Errors
    ///
    /// Names the first value that does not.
    pub fn check(&self) -> Result<(), ProtectError> {
        self.check_ranges().map_err(ProtectError::Invalid)?;
        self.retry_budget.check()?;
        if self.timeout > self.deadline {
            return Err(ProtectError::Invalid(
                "timeout of a try must be at most the deadline of the call".to_owned(),
            ));
        }
        if self.fallback_timeout >= self.deadline {
            return Err(ProtectError::Invalid(
                "fallback timeout must be shorter than the deadline".to_owned(),
            ));
        }
        self.check_with(&self.breaker)
    }

    /// Whether it goes together with this breaker.
    pub(super) fn check_with(&self, breaker: &BreakerPolicy) -> Result<(), ProtectError> {
        if self.deadline < breaker.settings().probe_timeout {
            return Ok(());
        }
        // A probe that may outlive its own timeout would never be counted.
        Err(ProtectError::Invalid(
            "deadline of a call must be shorter than the breaker's probe timeout".to_owned(),
        ))
    }

    fn check_ranges(&self) -> Result<(), String> {
        const MONTH: Duration = Duration::from_hours(30 * 24);
        let millisecond = Duration::from_millis(1);
        within("deadline", self.deadline, millisecond..=HOUR)?;
        within("timeout", self.timeout, millisecond..=HOUR)?;
        within("number of tries", self.tries, 1..=10)?;
        within("fallback timeout", self.fallback_timeout, millisecond..=HOUR)?;
        if let Some(concurrency) = &self.concurrency {
            concurrency.check()?;
        }
        let capture_timeout = Duration::from_millis(10)..=Duration::from_mins(5);
        within("capture timeout", self.capture_timeout, capture_timeout)?;
        within("longest wait", self.max_wait, Duration::ZERO..=MONTH)?;
        within("number of background captures", self.background_captures, 1..=10_000)
    }
}
