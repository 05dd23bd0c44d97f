//! When a breaker opens and how it closes again.

use std::time::Duration;

use thiserror::Error;

use crate::policy::backoff::grown;

/// The longest time that a policy may name.
const MAX_TIME: Duration = Duration::from_hours(24);

/// What a call may take before it counts as slow, and how many may.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SlowCalls {
    /// A call of at least this length is slow. Above zero, at most a day.
    pub threshold: Duration,
    /// The share of slow calls in the window that opens the breaker. Above 0, at most 1.
    pub rate: f64,
}

/// Which calls the rates are taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerWindow {
    /// So many of the last calls: 1 to 10 000. Right for steady traffic, and for little.
    Calls(u32),
    /// The calls that ended within the last time. Right where an outage of seconds means thousands of calls.
    ///
    /// Calls leave by the bucket, so the time looked at is between `length` less one bucket and `length`. A row of
    /// failures is forgotten when the window has emptied.
    Time {
        /// How far back: 100 milliseconds to a day.
        length: Duration,
        /// In how many steps: 1 to 1000.
        buckets: u32,
    },
}

impl From<u32> for BreakerWindow {
    fn from(calls: u32) -> Self {
        Self::Calls(calls)
    }
}

impl BreakerWindow {
    /// The largest minimum of calls that can ever be reached; `None` when the window itself is out of range.
    fn most_calls(self) -> Option<u32> {
        match self {
            Self::Calls(calls) => (1..=10_000).contains(&calls).then_some(calls),
            Self::Time { length, buckets } => {
                let in_range = (Duration::from_millis(100)..=MAX_TIME).contains(&length);
                (in_range && (1..=1_000).contains(&buckets)).then_some(1_000_000)
            }
        }
    }
}

/// The values of a [`BreakerPolicy`], not yet checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BreakerSettings {
    /// Which calls are looked at.
    pub window: BreakerWindow,
    /// No rate opens the breaker before so many calls are in the window. 1 to as many as a window of calls holds, or
    /// to 1 000 000 in a window of time.
    pub minimum_calls: u32,
    /// The share of failures in the window that opens the breaker. Above 0, at most 1.
    pub failure_rate: f64,
    /// So many failures in a row open the breaker, the minimum notwithstanding. At least 1; `None` is off.
    pub consecutive_failures: Option<u32>,
    /// When slow calls open the breaker; `None` is never.
    pub slow_calls: Option<SlowCalls>,
    /// How long the breaker stays open the first time. Above zero, at most `open_max`.
    pub open_base: Duration,
    /// By how much that grows each time a probe fails. 1 to 10.
    pub open_factor: f64,
    /// The longest time open. At most a day.
    pub open_max: Duration,
    /// How many probes may run at once while half-open. 1 to 1000.
    pub max_probes: u32,
    /// How many probes must succeed to close the breaker. 1 to 1000.
    pub successes_to_close: u32,
    /// A probe of which nothing is heard for so long counts as failed. Above zero, at most a day. It should be
    /// longer than the timeout of the call itself.
    pub probe_timeout: Duration,
}

impl Default for BreakerSettings {
    /// Half of the last 20 calls, or five in a row; open for 10 s up to 5 min; one probe at a time, two to close.
    fn default() -> Self {
        Self {
            window: BreakerWindow::Calls(20),
            minimum_calls: 10,
            failure_rate: 0.5,
            consecutive_failures: Some(5),
            slow_calls: None,
            open_base: Duration::from_secs(10),
            open_factor: 2.0,
            open_max: Duration::from_mins(5),
            max_probes: 1,
            successes_to_close: 2,
            probe_timeout: Duration::from_mins(1),
        }
    }
}

/// Which value of [`BreakerSettings`] is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BreakerPolicyError {
    /// `window`.
    #[error("breaker window must be 1 to 10000 calls, or 100 ms to a day in 1 to 1000 buckets")]
    Window,
    /// `minimum_calls`.
    #[error("breaker minimum calls must be between 1 and what the window holds")]
    MinimumCalls,
    /// `failure_rate`.
    #[error("breaker failure rate must be above 0 and at most 1")]
    FailureRate,
    /// `consecutive_failures`.
    #[error("breaker consecutive failures must be at least 1")]
    ConsecutiveFailures,
    /// `slow_calls`.
    #[error("breaker slow calls need a threshold up to a day and a rate above 0 and at most 1")]
    SlowCalls,
    /// `open_base`, `open_factor` or `open_max`.
    #[error("breaker open time must be above zero, grow by 1 to 10, and be at most a day")]
    OpenTime,
    /// `max_probes`, `successes_to_close` or `probe_timeout`.
    #[error("breaker probes must be between 1 and 1000 and their timeout at most a day")]
    Probes,
}

/// Checked [`BreakerSettings`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BreakerPolicy(BreakerSettings);

impl BreakerPolicy {
    /// Checks each value against the range that its field documents.
    pub fn new(settings: BreakerSettings) -> Result<Self, BreakerPolicyError> {
        let BreakerSettings {
            window,
            minimum_calls,
            failure_rate,
            consecutive_failures,
            slow_calls,
            open_base,
            open_factor,
            open_max,
            max_probes,
            successes_to_close,
            probe_timeout,
        } = settings;
        let is_share = |rate: f64| rate > 0.0 && rate <= 1.0;
        let is_time = |time: Duration| !time.is_zero() && time <= MAX_TIME;
        let checks = [
            (window.most_calls().is_some(), BreakerPolicyError::Window),
            (
                window.most_calls().is_some_and(|most| (1..=most).contains(&minimum_calls)),
                BreakerPolicyError::MinimumCalls,
            ),
            (is_share(failure_rate), BreakerPolicyError::FailureRate),
            (consecutive_failures != Some(0), BreakerPolicyError::ConsecutiveFailures),
            (
                slow_calls.is_none_or(|slow| is_time(slow.threshold) && is_share(slow.rate)),
                BreakerPolicyError::SlowCalls,
            ),
            (
                is_time(open_base)
                    && open_base <= open_max
                    && is_time(open_max)
                    && (1.0..=10.0).contains(&open_factor),
                BreakerPolicyError::OpenTime,
            ),
            (
                (1..=1000).contains(&max_probes)
                    && (1..=1000).contains(&successes_to_close)
                    && is_time(probe_timeout),
                BreakerPolicyError::Probes,
            ),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, error)) => Err(error),
            None => Ok(Self(settings)),
        }
    }

    /// The checked values.
    pub const fn settings(&self) -> &BreakerSettings {
        &self.0
    }

    /// How long the breaker stays open after `reopenings` failed recoveries in a row:
    /// `min(open_max, open_base · open_factor^reopenings)`.
    pub fn open_for(&self, reopenings: u32) -> Duration {
        let BreakerSettings { open_base, open_factor, open_max, .. } = self.0;
        grown(open_base, open_factor, open_max, reopenings)
    }

    /// Whether a call of this length is slow.
    pub fn is_slow(&self, elapsed: Duration) -> bool {
        self.0.slow_calls.is_some_and(|slow| elapsed >= slow.threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(BreakerPolicy::new(BreakerSettings::default()), Ok(BreakerPolicy::default()));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        use BreakerPolicyError as E;
        let ok = BreakerSettings::default();
        let time = |millis, buckets| BreakerWindow::Time {
            length: Duration::from_millis(millis),
            buckets,
        };
        let slow = SlowCalls { threshold: Duration::from_secs(1), rate: 1.5 };
        for (settings, error) in [
            (BreakerSettings { window: 0.into(), ..ok }, E::Window),
            (BreakerSettings { window: 10_001.into(), ..ok }, E::Window),
            (BreakerSettings { window: time(99, 1), ..ok }, E::Window),
            (BreakerSettings { window: time(1_000, 0), ..ok }, E::Window),
            (BreakerSettings { window: time(1_000, 1_001), ..ok }, E::Window),
            (
                BreakerSettings { window: time(1_000, 10), minimum_calls: 1_000_001, ..ok },
                E::MinimumCalls,
            ),
            (BreakerSettings { minimum_calls: 21, ..ok }, E::MinimumCalls),
            (BreakerSettings { failure_rate: 0.0, ..ok }, E::FailureRate),
            (BreakerSettings { failure_rate: f64::NAN, ..ok }, E::FailureRate),
            (BreakerSettings { consecutive_failures: Some(0), ..ok }, E::ConsecutiveFailures),
            (BreakerSettings { slow_calls: Some(slow), ..ok }, E::SlowCalls),
            (BreakerSettings { open_base: Duration::MAX, ..ok }, E::OpenTime),
            (BreakerSettings { open_max: Duration::MAX, ..ok }, E::OpenTime),
            (BreakerSettings { open_factor: 0.5, ..ok }, E::OpenTime),
            (BreakerSettings { max_probes: 0, ..ok }, E::Probes),
            (BreakerSettings { probe_timeout: Duration::ZERO, ..ok }, E::Probes),
        ] {
            assert_eq!(BreakerPolicy::new(settings), Err(error));
        }
    }

    #[test]
    fn the_open_time_grows_up_to_its_maximum() {
        let policy = BreakerPolicy::default();
        let seconds = [0, 1, 4, 5, u32::MAX].map(|n| policy.open_for(n).as_secs());
        assert_eq!(seconds, [10, 20, 160, 300, 300]);
    }
}
