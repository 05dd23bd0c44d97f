//! A token bucket that is kept in a store, so that several processes take from it.

use std::time::Duration;

use super::rate::{BucketLevel, RateError, Throttled, TokenBucket};
use crate::time::Timestamp;

/// A pace, as those who take from it agree on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaceTerms {
    /// Permits per second: 0.001 to 1 000 000.
    pub per_second: f64,
    /// How many may be taken at once after a pause: at least 1.
    pub burst: u32,
    /// Start slower than that: permits per second at first, and how long it takes to reach the full pace.
    pub ramp: Option<(f64, Duration)>,
}

impl PaceTerms {
    fn bucket(&self) -> Result<TokenBucket, RateError> {
        let bucket = TokenBucket::new(self.per_second, self.burst)?;
        match self.ramp {
            Some((from, over)) => bucket.with_ramp(from, over),
            None => Ok(bucket),
        }
    }

    /// After how long without a taker a bucket starts over, with its ramp: as long as the ramp lasts, 10 seconds at least.
    fn forgotten_after(&self) -> Duration {
        self.ramp.map_or(Duration::ZERO, |(_, over)| over).max(Duration::from_secs(10))
    }
}

/// A bucket as a store keeps it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PaceLevel {
    /// What is in it.
    pub tokens: f64,
    /// When its ramp began, by the store's clock.
    pub started_at: Timestamp,
    /// When it was last taken from, by the store's clock.
    pub taken_at: Timestamp,
}

/// What was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paced {
    /// How many permits; fewer than asked for, or none, when there are no more.
    pub granted: u32,
    /// When none were granted: how long to wait before asking again, if nobody else takes.
    pub retry_in: Duration,
}

/// Takes up to `permits` at `now` from a bucket; `None` is one that nobody took from. Answers what to store.
///
/// A bucket that nobody took from for as long as its ramp lasts, 10 seconds at least, starts over. So does one that was
/// taken from so far in the future: a clock was wrong, and setting it right must not stop everybody until then.
/// Terms may change from call to call: what is in the bucket stays, up to the new burst.
///
/// # Errors
///
/// When the terms are out of their range.
pub fn pace(
    level: Option<PaceLevel>,
    terms: &PaceTerms,
    permits: u32,
    now: Timestamp,
) -> Result<(PaceLevel, Paced), RateError> {
    let fresh = terms.bucket()?;
    let kept = level.filter(|level| {
        let apart = now.since(level.taken_at).max(level.taken_at.since(now));
        apart < terms.forgotten_after()
    });
    // A clock that stepped back counts as standing still.
    let origin = kept.map_or(now, |level| level.started_at);
    let elapsed = now.max(origin).since(origin);
    let mut bucket = match kept {
        Some(level) => {
            let last = level.taken_at.since(origin);
            fresh.at_level(BucketLevel { tokens: level.tokens, last })
        }
        None => fresh,
    };
    let asked = permits.clamp(1, terms.burst);
    let granted = match bucket.take(asked, elapsed) {
        Ok(()) => asked,
        Err(_) => bucket.whole_tokens().min(asked),
    };
    let retry_in = match bucket.take(if granted == asked { 0 } else { granted.max(1) }, elapsed) {
        Err(Throttled::RetryIn(wait)) => wait,
        Ok(()) | Err(Throttled::NeverFits { .. }) => Duration::ZERO,
    };
    let BucketLevel { tokens, last } = bucket.level();
    let level = PaceLevel { tokens, started_at: origin, taken_at: origin.saturating_add(last) };
    Ok((level, Paced { granted, retry_in }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::UNIX_EPOCH
            .saturating_add(Duration::from_secs(1_000) + Duration::from_millis(millis))
    }

    fn terms(ramp: Option<(f64, Duration)>) -> PaceTerms {
        PaceTerms { per_second: 100.0, burst: 10, ramp }
    }

    /// Permits granted to takers that ask every `step` milliseconds in `[from, to)`.
    fn taken(
        level: &mut Option<PaceLevel>,
        terms: &PaceTerms,
        from: u64,
        to: u64,
        ask: u32,
    ) -> u32 {
        let mut sum = 0;
        for millis in from..to {
            let (next, paced) = pace(*level, terms, ask, at(millis)).expect("good terms");
            *level = Some(next);
            sum += paced.granted;
        }
        sum
    }

    #[test]
    fn takers_together_keep_the_pace() {
        let mut level = None;
        let sum = taken(&mut level, &terms(None), 0, 2_000, 3);
        assert!((200..=210).contains(&sum), "{sum}");
    }

    #[test]
    fn fewer_permits_than_asked_for_are_granted_and_then_a_wait_is_named() {
        let (level, paced) = pace(None, &terms(None), 1_000, at(0)).expect("good terms");
        assert_eq!(paced, Paced { granted: 10, retry_in: Duration::ZERO });
        let (level, paced) = pace(Some(level), &terms(None), 5, at(25)).expect("good terms");
        assert_eq!(paced.granted, 2);
        let (_, paced) = pace(Some(level), &terms(None), 5, at(25)).expect("good terms");
        assert_eq!(paced.granted, 0);
        assert!(
            paced.retry_in > Duration::from_millis(4) && paced.retry_in < Duration::from_millis(6)
        );
    }

    #[test]
    fn a_bucket_that_was_left_alone_ramps_again() {
        let ramped = terms(Some((1.0, Duration::from_secs(20))));
        let mut level = None;
        assert!(taken(&mut level, &ramped, 0, 1_000, 1) < 6);
        taken(&mut level, &ramped, 1_000, 30_000, 1);
        assert!(taken(&mut level, &ramped, 30_000, 31_000, 1) > 95);
        assert!(taken(&mut level, &ramped, 52_000, 53_000, 1) < 6);
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing() {
        let (level, _) = pace(None, &terms(None), 10, at(5_000)).expect("good terms");
        let (level, paced) = pace(Some(level), &terms(None), 10, at(1_000)).expect("good terms");
        assert_eq!(paced.granted, 0);
        assert_eq!(level.taken_at, at(5_000));
    }

    #[test]
    fn a_clock_that_was_far_ahead_stops_nobody_for_longer_than_a_ramp() {
        let ramped = terms(Some((1.0, Duration::from_secs(20))));
        let day = 24 * 3_600 * 1_000;
        let mut level = None;
        taken(&mut level, &ramped, day, day + 1_000, 1);
        // Set right again: a new start, with its ramp.
        assert!((1..6).contains(&taken(&mut level, &ramped, 0, 1_000, 1)));
        assert!(level.is_some_and(|level| level.taken_at < at(1_000)));
    }

    #[test]
    fn terms_out_of_range_are_refused() {
        let bad = PaceTerms { per_second: 0.0, burst: 1, ramp: None };
        assert_eq!(pace(None, &bad, 1, at(0)).map(|_| ()), Err(RateError::Rate));
    }
}
