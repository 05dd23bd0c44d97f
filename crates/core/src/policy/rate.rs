//! A token bucket with an optional ramp, for the rate of replay.
//!
//! Time is given as the `Duration` since an arbitrary monotonic origin, the same for all calls of one bucket.

use std::time::Duration;

use thiserror::Error;

/// Slack for rounding of floating-point numbers, in tokens.
const EPSILON: f64 = 1e-9;

/// Why a [`TokenBucket`] was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RateError {
    /// A rate is not between 0.001 and 1 000 000 per second.
    #[error("rate must be between 0.001 and 1000000 per second")]
    Rate,
    /// The burst is zero.
    #[error("burst must be at least 1")]
    Burst,
    /// The ramp is zero, longer than a day, or starts above the rate.
    #[error("ramp must be above zero and at most a day, and start at most at the rate")]
    Ramp,
}

/// Why tokens were not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttled {
    /// Too few tokens now; with no other taker there are enough after this wait.
    RetryIn(Duration),
    /// More tokens were asked for than the bucket ever holds.
    NeverFits {
        /// The most that can be asked for at once.
        burst: u32,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Ramp {
    start_rate: f64,
    length: Duration,
}

/// How full a bucket is, for keeping it elsewhere.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct BucketLevel {
    /// The tokens in it.
    pub(super) tokens: f64,
    /// When they were counted, since its first call.
    pub(super) last: Duration,
}

/// Grants tokens at a steady rate with a bounded burst.
///
/// In every window of `t` seconds at most `burst + rate · t` tokens are granted (up to rounding of a
/// billionth). Rates are tokens per second. The bucket starts full at the first call.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenBucket {
    rate: f64,
    burst: u32,
    ramp: Option<Ramp>,
    tokens: f64,
    started: Option<Duration>,
    last: Duration,
}

impl TokenBucket {
    /// A bucket of `burst` tokens (at least 1), refilled by `rate_per_second` (0.001 to 1 000 000).
    pub fn new(rate_per_second: f64, burst: u32) -> Result<Self, RateError> {
        check_rate(rate_per_second)?;
        if burst == 0 {
            return Err(RateError::Burst);
        }
        Ok(Self {
            rate: rate_per_second,
            burst,
            ramp: None,
            tokens: f64::from(burst),
            started: None,
            last: Duration::ZERO,
        })
    }

    /// The same bucket whose rate grows linearly from `start_rate` to its rate within `length` of the first call.
    ///
    /// `start_rate`: 0.001 up to the rate. `length`: above zero, at most a day. The bucket then starts with a
    /// single token, since a full burst against a dependency that has just recovered is what a ramp prevents.
    pub fn with_ramp(self, start_rate: f64, length: Duration) -> Result<Self, RateError> {
        check_rate(start_rate)?;
        if start_rate > self.rate || length.is_zero() || length > Duration::from_hours(24) {
            return Err(RateError::Ramp);
        }
        Ok(Self { ramp: Some(Ramp { start_rate, length }), tokens: 1.0, ..self })
    }

    /// Takes `n` tokens at `now`, or none of them.
    ///
    /// A `now` before an earlier one counts as that earlier one.
    pub fn take(&mut self, n: u32, now: Duration) -> Result<(), Throttled> {
        if n > self.burst {
            return Err(Throttled::NeverFits { burst: self.burst });
        }
        self.refill(now);
        let missing = f64::from(n) - self.tokens;
        if missing <= EPSILON {
            self.tokens = (-missing).max(0.0);
            return Ok(());
        }
        Err(Throttled::RetryIn(self.time_for(missing)))
    }

    /// The same bucket as it was left: its first call was at zero.
    pub(super) fn at_level(self, level: BucketLevel) -> Self {
        let BucketLevel { tokens, last } = level;
        let tokens = tokens.clamp(0.0, f64::from(self.burst));
        Self { tokens, last, started: Some(Duration::ZERO), ..self }
    }

    /// How full it is.
    pub(super) fn level(&self) -> BucketLevel {
        BucketLevel { tokens: self.tokens, last: self.last }
    }

    /// How many whole tokens it has as of the last call.
    pub(super) fn whole_tokens(&self) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between zero and the burst"
        )]
        let whole = (self.tokens + EPSILON).floor().max(0.0) as u32;
        whole.min(self.burst)
    }

    fn refill(&mut self, now: Duration) {
        let Some(started) = self.started else {
            self.started = Some(now);
            self.last = now;
            return;
        };
        let now = now.max(self.last);
        let (from, to) = (self.last.saturating_sub(started), now.saturating_sub(started));
        let gained = self.gained(from, to);
        self.tokens = (self.tokens + gained).min(f64::from(self.burst));
        self.last = now;
    }

    /// The tokens that flow between two times since the first call: the area under the rate.
    fn gained(&self, from: Duration, to: Duration) -> f64 {
        let Some(ramp) = self.ramp else {
            return self.rate * to.saturating_sub(from).as_secs_f64();
        };
        let (ramp_from, ramp_to) = (from.min(ramp.length), to.min(ramp.length));
        let mean = f64::midpoint(self.rate_at(ramp, ramp_from), self.rate_at(ramp, ramp_to));
        let steady = to.saturating_sub(ramp_to).saturating_sub(from.saturating_sub(ramp_from));
        mean * ramp_to.saturating_sub(ramp_from).as_secs_f64() + self.rate * steady.as_secs_f64()
    }

    fn rate_at(&self, ramp: Ramp, time: Duration) -> f64 {
        let share = (time.as_secs_f64() / ramp.length.as_secs_f64()).min(1.0);
        ramp.start_rate + (self.rate - ramp.start_rate) * share
    }

    /// How long it takes for `missing` tokens to flow, rounded up.
    fn time_for(&self, missing: f64) -> Duration {
        let elapsed = self.last.saturating_sub(self.started.unwrap_or(self.last));
        let seconds = match self.ramp {
            Some(ramp) if elapsed < ramp.length => {
                let rest = ramp.length.saturating_sub(elapsed);
                let in_ramp = self.gained(elapsed, ramp.length);
                if missing >= in_ramp {
                    rest.as_secs_f64() + (missing - in_ramp) / self.rate
                } else {
                    // The root of `slope/2 · t² + now · t = missing`, in the form that does not cancel.
                    let now = self.rate_at(ramp, elapsed);
                    let slope = (self.rate - ramp.start_rate) / ramp.length.as_secs_f64();
                    2.0 * missing / (now + (now * now + 2.0 * slope * missing).sqrt())
                }
            }
            Some(_) | None => missing / self.rate,
        };
        // A rate of at least 0.001 keeps this far below the largest duration.
        Duration::try_from_secs_f64(seconds)
            .unwrap_or(Duration::MAX)
            .saturating_add(Duration::from_nanos(1))
    }
}

fn check_rate(rate: f64) -> Result<(), RateError> {
    if (0.001..=1_000_000.0).contains(&rate) { Ok(()) } else { Err(RateError::Rate) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let mut bucket = TokenBucket::new(10.0, 3).unwrap();
        assert_eq!(bucket.take(3, at(5000)), Ok(()));
        let Err(Throttled::RetryIn(wait)) = bucket.take(1, at(5000)) else { panic!() };
        assert!(wait >= at(100) && wait < at(101));
        assert_eq!(bucket.take(1, at(5000) + wait), Ok(()));
        assert_eq!(bucket.take(4, at(9000)), Err(Throttled::NeverFits { burst: 3 }));
    }

    #[test]
    fn a_ramp_starts_slowly() {
        let mut bucket = TokenBucket::new(100.0, 100).unwrap().with_ramp(1.0, at(10_000)).unwrap();
        let granted = |bucket: &mut TokenBucket, from: u64| {
            (from..from + 1000).filter(|t| bucket.take(1, at(*t)).is_ok()).count()
        };
        assert!(granted(&mut bucket, 0) < 10);
        assert!(granted(&mut bucket, 1000) < 20);
        let _ = bucket.take(100, at(20_000));
        assert_eq!(granted(&mut bucket, 20_001), 100);
    }

    #[test]
    fn values_out_of_range_are_refused() {
        assert_eq!(TokenBucket::new(0.0, 1), Err(RateError::Rate));
        assert_eq!(TokenBucket::new(f64::NAN, 1), Err(RateError::Rate));
        assert_eq!(TokenBucket::new(1.0, 0), Err(RateError::Burst));
        let bucket = TokenBucket::new(1.0, 1).unwrap();
        assert_eq!(bucket.clone().with_ramp(2.0, at(1)), Err(RateError::Ramp));
        assert_eq!(bucket.with_ramp(1.0, at(0)), Err(RateError::Ramp));
    }

    fn any_bucket() -> impl Strategy<Value = TokenBucket> {
        (0.01_f64..5000.0, 1_u32..50, prop::option::of((0.0_f64..1.0, 1_u64..100_000))).prop_map(
            |(rate, burst, ramp)| {
                let bucket = TokenBucket::new(rate, burst).unwrap();
                match ramp {
                    Some((share, millis)) => {
                        bucket.with_ramp((rate * share).max(0.001), at(millis)).unwrap()
                    }
                    None => bucket,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn no_window_grants_more_than_burst_and_rate(
            mut bucket in any_bucket(),
            steps in prop::collection::vec((0_u64..3_000_000, 1_u32..10), 1..80),
        ) {
            let (rate, burst) = (bucket.rate, f64::from(bucket.burst));
            let mut now = Duration::ZERO;
            let mut grants: Vec<(Duration, u32)> = Vec::new();
            for (micros, n) in steps {
                now += Duration::from_micros(micros);
                if bucket.take(n, now).is_ok() {
                    grants.push((now, n));
                }
            }
            for (first, (from, _)) in grants.iter().enumerate() {
                let mut sum = 0.0;
                for (to, n) in &grants[first..] {
                    sum += f64::from(*n);
                    prop_assert!(sum <= burst + rate * to.saturating_sub(*from).as_secs_f64() + 1e-6);
                }
            }
        }

        #[test]
        fn who_waits_as_told_is_served(
            mut bucket in any_bucket(),
            asks in prop::collection::vec(1_u32..50, 1..30),
        ) {
            let mut now = Duration::from_secs(1);
            for n in asks {
                let n = n.min(bucket.burst);
                if let Err(Throttled::RetryIn(wait)) = bucket.take(n, now) {
                    now += wait;
                    prop_assert_eq!(bucket.take(n, now), Ok(()));
                }
            }
        }
    }
}
