//! Exponential back-off with jitter.
//!
//! The formulas are those of Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015:
//! with `t = min(cap, base · factor^attempt)`, *full jitter* waits `random(0, t)` and *equal jitter*
//! waits `t/2 + random(0, t/2)`. Ours differ by a floor below which no wait goes, because full jitter alone
//! may spend two attempts in one instant.

use std::time::Duration;

use thiserror::Error;

/// The longest cap that a policy may have.
pub const MAX_BACKOFF: Duration = Duration::from_hours(30 * 24);

/// How waits are spread, so that clients that failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// No spread: always `t`.
    None,
    /// Between nothing and `t`.
    Full,
    /// Between half of `t` and `t`.
    Equal,
}

/// Why a [`BackoffPolicy`] was refused.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum BackoffPolicyError {
    /// The base is zero or above the cap.
    #[error("back-off base must be above zero and at most the cap")]
    Base,
    /// The factor is not between 1 and 100.
    #[error("back-off factor must be between 1 and 100")]
    Factor,
    /// The cap is above [`MAX_BACKOFF`].
    #[error("back-off cap must be at most 30 days")]
    Cap,
    /// The floor is above the base.
    #[error("back-off floor must be at most the base")]
    Floor,
}

/// How long to wait before the next attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffPolicy {
    base: Duration,
    factor: f64,
    cap: Duration,
    jitter: Jitter,
    floor: Duration,
}

impl BackoffPolicy {
    /// A policy without a floor.
    ///
    /// `base`: above zero, at most `cap`. `factor`: 1 to 100. `cap`: at most [`MAX_BACKOFF`].
    pub fn new(
        base: Duration,
        factor: f64,
        cap: Duration,
        jitter: Jitter,
    ) -> Result<Self, BackoffPolicyError> {
        if cap > MAX_BACKOFF {
            return Err(BackoffPolicyError::Cap);
        }
        if base.is_zero() || base > cap {
            return Err(BackoffPolicyError::Base);
        }
        if !(1.0..=100.0).contains(&factor) {
            return Err(BackoffPolicyError::Factor);
        }
        Ok(Self { base, factor, cap, jitter, floor: Duration::ZERO })
    }

    /// The same policy with a shortest wait, at most its base.
    pub fn with_floor(self, floor: Duration) -> Result<Self, BackoffPolicyError> {
        if floor > self.base {
            return Err(BackoffPolicyError::Floor);
        }
        Ok(Self { floor, ..self })
    }

    /// The longest wait of [`delay`](Self::delay).
    pub const fn cap(&self) -> Duration {
        self.cap
    }

    /// The wait after attempt `attempt`, which counts from zero; `unit` is a random number in `[0, 1)`.
    ///
    /// For every attempt the wait lies between [`shortest`](Self::shortest) and [`longest`](Self::longest). A
    /// `unit` outside its range is brought to the nearer end, and NaN to zero.
    pub fn delay(&self, attempt: u32, unit: f64) -> Duration {
        let unit = if unit.is_nan() { 0.0 } else { unit.clamp(0.0, 1.0) };
        let (shortest, longest) = (self.shortest(attempt), self.longest(attempt));
        let spread = longest.saturating_sub(shortest).mul_f64(unit);
        shortest.saturating_add(spread).min(longest)
    }

    /// The shortest wait after attempt `attempt`: the floor, or more where the jitter says so.
    pub fn shortest(&self, attempt: u32) -> Duration {
        let longest = self.longest(attempt);
        let least = match self.jitter {
            Jitter::None => longest,
            Jitter::Full => Duration::ZERO,
            Jitter::Equal => longest / 2,
        };
        least.max(self.floor)
    }

    /// The longest wait after attempt `attempt`: `min(cap, base · factor^attempt)`, which never shrinks as
    /// attempts grow.
    pub fn longest(&self, attempt: u32) -> Duration {
        grown(self.base, self.factor, self.cap, attempt)
    }
}

impl Default for BackoffPolicy {
    /// One second, doubled up to five minutes, equal jitter, never below half a second.
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            factor: 2.0,
            cap: Duration::from_mins(5),
            jitter: Jitter::Equal,
            floor: Duration::from_millis(500),
        }
    }
}

/// `min(cap, base · factor^times)` for any `times`; it needs `base ≤ cap` and a factor of at least 1.
pub(crate) fn grown(base: Duration, factor: f64, cap: Duration, times: u32) -> Duration {
    let exponent = i32::try_from(times).unwrap_or(i32::MAX);
    let seconds = base.as_secs_f64() * factor.powi(exponent);
    // Above the cap, or infinite: both mean the cap.
    if seconds >= cap.as_secs_f64() {
        return cap;
    }
    Duration::try_from_secs_f64(seconds).unwrap_or(cap).clamp(base, cap)
}

/// The wait that honours what the other side asked for, up to `max`.
///
/// The result is never shorter than `delay`. It may be longer than a policy's cap: the other side knows better
/// than our policy, but no header may park an entry for longer than `max`.
pub fn at_least(delay: Duration, retry_after: Option<Duration>, max: Duration) -> Duration {
    retry_after.map_or(delay, |asked| delay.max(asked.min(max)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn policy(jitter: Jitter) -> BackoffPolicy {
        BackoffPolicy::new(SECOND, 2.0, Duration::from_mins(1), jitter).unwrap()
    }

    #[test]
    fn the_jitter_formulas_hold() {
        assert_eq!(policy(Jitter::None).delay(3, 0.9), SECOND * 8);
        assert_eq!(policy(Jitter::Full).delay(3, 0.25), SECOND * 2);
        assert_eq!(policy(Jitter::Equal).delay(3, 0.25), SECOND * 5);
        assert_eq!(policy(Jitter::None).delay(u32::MAX, 0.0), Duration::from_mins(1));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let new = |base, factor, cap| BackoffPolicy::new(base, factor, cap, Jitter::Full);
        assert_eq!(new(Duration::ZERO, 2.0, SECOND), Err(BackoffPolicyError::Base));
        assert_eq!(new(SECOND * 2, 2.0, SECOND), Err(BackoffPolicyError::Base));
        assert_eq!(new(SECOND, f64::NAN, SECOND), Err(BackoffPolicyError::Factor));
        assert_eq!(new(SECOND, 0.5, SECOND), Err(BackoffPolicyError::Factor));
        assert_eq!(new(SECOND, 2.0, Duration::MAX), Err(BackoffPolicyError::Cap));
        assert_eq!(policy(Jitter::Full).with_floor(SECOND * 2), Err(BackoffPolicyError::Floor));
    }

    #[test]
    fn the_other_side_may_ask_for_more_but_not_for_less() {
        let max = Duration::from_mins(10);
        assert_eq!(at_least(SECOND, None, max), SECOND);
        assert_eq!(at_least(SECOND * 9, Some(SECOND), max), SECOND * 9);
        assert_eq!(at_least(SECOND, Some(Duration::MAX), max), max);
    }

    fn any_policy() -> impl Strategy<Value = BackoffPolicy> {
        let jitter = prop_oneof![Just(Jitter::None), Just(Jitter::Full), Just(Jitter::Equal)];
        (1_u64..10_000_000, 1.0..100.0, 1_u64..1_000_000, jitter, 0.0..1.0).prop_map(
            |(base, factor, more, jitter, floor)| {
                let base = Duration::from_micros(base);
                let cap = base + Duration::from_secs(more);
                BackoffPolicy::new(base, factor, cap, jitter)
                    .and_then(|policy| policy.with_floor(base.mul_f64(floor)))
                    .unwrap()
            },
        )
    }

    proptest! {
        #[test]
        fn every_delay_lies_within_its_bounds(
            policy in any_policy(),
            attempt in prop_oneof![0_u32..70, any::<u32>()],
            unit in prop_oneof![0.0..1.0, any::<f64>()],
        ) {
            let delay = policy.delay(attempt, unit);
            prop_assert!(delay >= policy.shortest(attempt) && delay >= policy.floor);
            prop_assert!(delay <= policy.longest(attempt) && delay <= policy.cap());
            prop_assert!(policy.longest(attempt) <= policy.longest(attempt.saturating_add(1)));
        }
    }
}
