//! How much is drained at once.

use std::time::Duration;

use baldur_core::policy::{BackoffPolicy, Jitter};

use crate::range::within;

/// How a spool is drained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DrainPolicy {
    /// How many records the first batch has, and the first after a failure: 1 to `largest_batch`.
    pub first_batch: usize,
    /// How many records a batch has at most: 1 to 10 000. Batches double while answers are quick.
    pub largest_batch: usize,
    /// Which answers are quick. A slower one halves the batches.
    pub quick: Duration,
    /// How long one answer of the store or the spool may take: 10 ms to 5 min.
    pub timeout: Duration,
    /// The longest rest between two batches. Each rest is about as long as the batch before took.
    pub longest_rest: Duration,
    /// How long to wait after failures.
    pub backoff: BackoffPolicy,
    /// How often to look at the spool without being told of a record.
    pub look_every: Duration,
    /// How often to look for lanes whose process died.
    pub adopt_every: Duration,
    /// How often in a row the store must have failed at a record, and have taken another one each time, before the record is put
    /// aside: 2 to 10 000; 0 for never, and then it holds up its lane for as long as the store fails at it. A failure for want of
    /// room, time or a lock counts only with another one that was new to the store, be it of the spool or of a caller.
    pub park_attempts: u32,
    /// For how long that must have gone on, whatever the number of attempts: 1 s to 7 days.
    pub park_after: Duration,
}

impl Default for DrainPolicy {
    fn default() -> Self {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(5));
        Self {
            first_batch: 8,
            largest_batch: 256,
            quick: Duration::from_millis(250),
            timeout: Duration::from_secs(10),
            longest_rest: Duration::from_secs(2),
            backoff: BackoffPolicy::new(base, 2.0, cap, Jitter::Equal).unwrap_or_default(),
            look_every: Duration::from_secs(5),
            adopt_every: Duration::from_secs(30),
            park_attempts: 10,
            park_after: Duration::from_mins(10),
        }
    }
}

impl DrainPolicy {
    /// Whether every value lies in its range.
    ///
    /// # Errors
    ///
    /// Names the first value that does not.
    pub fn check(&self) -> Result<(), String> {
        let waits = Duration::from_millis(1)..=Duration::from_hours(1);
        within("largest batch", self.largest_batch, 1..=10_000)?;
        within("first batch", self.first_batch, 1..=self.largest_batch)?;
        let timeout = Duration::from_millis(10)..=Duration::from_mins(5);
        within("timeout of draining", self.timeout, timeout)?;
        within("pause between looks", self.look_every, waits.clone())?;
        within("pause between adoptions", self.adopt_every, waits)?;
        if self.park_attempts == 1 || self.park_attempts > 10_000 {
            let given = self.park_attempts;
            return Err(format!("park attempts is {given}; 0 or 2 to 10000 is allowed"));
        }
        let park_after = Duration::from_secs(1)..=Duration::from_hours(7 * 24);
        within("time before parking", self.park_after, park_after)
    }
}

/// The size of the next batch.
#[derive(Debug)]
pub(super) struct Pace {
    first: usize,
    largest: usize,
    quick: Duration,
    batch: usize,
}

impl Pace {
    pub(super) fn new(policy: &DrainPolicy) -> Self {
        let DrainPolicy { first_batch: first, largest_batch: largest, quick, .. } = *policy;
        Self { first, largest, quick, batch: first }
    }

    pub(super) fn batch(&self) -> usize {
        self.batch
    }

    pub(super) fn succeeded(&mut self, took: Duration) {
        self.batch = if took <= self.quick {
            self.batch.saturating_mul(2).min(self.largest)
        } else {
            (self.batch / 2).max(1)
        };
    }

    /// A store that fails is asked with few records, so that each try costs it little.
    pub(super) fn failed(&mut self) {
        self.batch = self.first.min((self.batch / 2).max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_while_answers_are_quick_and_shrink_when_not() {
        let policy = DrainPolicy { first_batch: 4, largest_batch: 10, ..DrainPolicy::default() };
        let mut pace = Pace::new(&policy);
        let sizes: Vec<usize> = [10, 10, 10, 900, 900, 900, 900]
            .map(|millis| {
                pace.succeeded(Duration::from_millis(millis));
                pace.batch()
            })
            .into();
        assert_eq!(sizes, [8, 10, 10, 5, 2, 1, 1]);
        pace.succeeded(Duration::ZERO);
        pace.succeeded(Duration::ZERO);
        pace.succeeded(Duration::ZERO);
        pace.failed();
        assert_eq!(pace.batch(), 4);
        pace.failed();
        assert_eq!(pace.batch(), 2, "smaller, so that one record can't hold up many");
    }
}
