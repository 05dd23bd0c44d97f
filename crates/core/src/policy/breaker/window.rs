//! What a closed breaker remembers of its calls.

use std::{collections::VecDeque, time::Duration};

use super::BreakerWindow;

/// What is remembered of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// How many calls there were, and of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sums {
    count: u32,
    failed: u32,
    slow: u32,
}

impl Sums {
    fn add(&mut self, call: Call, times: u32) {
        self.count += times;
        self.failed += times * u32::from(call.failed);
        self.slow += times * u32::from(call.slow);
    }

    fn subtract(&mut self, other: Self) {
        let Self { count, failed, slow } = other;
        self.count -= count;
        self.failed -= failed;
        self.slow -= slow;
    }
}

impl From<Call> for Sums {
    fn from(call: Call) -> Self {
        let mut sums = Self::default();
        sums.add(call, 1);
        sums
    }
}

/// The calls of a window with their sums, which are kept up to date call by call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    kept: Kept,
    sums: Sums,
    failed_in_a_row: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kept {
    /// Two bytes per call.
    Calls { size: u32, calls: VecDeque<Call> },
    /// Twelve bytes per bucket, however many calls there are.
    Time {
        /// How much time a bucket covers; above zero.
        width: Duration,
        buckets: Box<[Sums]>,
        /// The number of the bucket in use, counted from the origin of time.
        current: u128,
    },
}

impl Window {
    pub(super) fn new(window: BreakerWindow) -> Self {
        let kept = match window {
            BreakerWindow::Calls(size) => Kept::Calls { size, calls: VecDeque::new() },
            BreakerWindow::Time { length, buckets } => {
                let count = usize::try_from(buckets.max(1)).unwrap_or(1);
                Kept::Time {
                    width: (length / buckets.max(1)).max(Duration::from_nanos(1)),
                    buckets: vec![Sums::default(); count].into_boxed_slice(),
                    current: 0,
                }
            }
        };
        Self { kept, sums: Sums::default(), failed_in_a_row: 0 }
    }

    /// Adds a call that ended at `now`, and forgets those that have left the window.
    pub(super) fn push(&mut self, call: Call, now: Duration) {
        self.forget_before(now);
        self.push_same(call, 1);
    }

    /// Adds so many calls of one kind that ended no later than the bucket in use.
    pub(super) fn push_same(&mut self, call: Call, times: u64) {
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        self.failed_in_a_row =
            if call.failed { self.failed_in_a_row.saturating_add(times) } else { 0 };
        match &mut self.kept {
            Kept::Calls { size, calls } => {
                // More than there are places leave no more behind than that many.
                for _ in 0..times.min(*size) {
                    if self.sums.count == *size
                        && let Some(oldest) = calls.pop_front()
                    {
                        self.sums.subtract(oldest.into());
                    }
                    calls.push_back(call);
                    self.sums.add(call, 1);
                }
            }
            Kept::Time { buckets, current, .. } => {
                // More calls than can be counted change no rate any more.
                let times = times.min(u32::MAX - self.sums.count);
                let at = place(*current, buckets.len());
                if let Some(bucket) = buckets.get_mut(at) {
                    bucket.add(call, times);
                }
                self.sums.add(call, times);
            }
        }
    }

    /// Empties the buckets that time has passed over: each at most once per call, however long nobody called.
    fn forget_before(&mut self, now: Duration) {
        let Kept::Time { width, buckets, current } = &mut self.kept else { return };
        let reached = now.as_nanos() / width.as_nanos();
        let passed = usize::try_from(reached.saturating_sub(*current)).unwrap_or(usize::MAX);
        for step in 1..=passed.min(buckets.len()) {
            let at = place(current.saturating_add(step as u128), buckets.len());
            if let Some(bucket) = buckets.get_mut(at) {
                self.sums.subtract(std::mem::take(bucket));
            }
        }
        *current = reached.max(*current);
        if self.sums.count == 0 {
            // Failures that nobody remembers are in no row.
            self.failed_in_a_row = 0;
        }
    }

    pub(super) const fn count(&self) -> u32 {
        self.sums.count
    }

    pub(super) const fn failed_in_a_row(&self) -> u32 {
        self.failed_in_a_row
    }

    /// The share of failures; zero without calls.
    pub(super) fn failure_rate(&self) -> f64 {
        self.failures_of(self.sums.count)
    }

    /// The share of slow calls; zero without calls.
    pub(super) fn slow_rate(&self) -> f64 {
        self.slow_of(self.sums.count)
    }

    /// The share of failures, were there so many calls.
    pub(super) fn failures_of(&self, calls: u32) -> f64 {
        f64::from(self.sums.failed) / f64::from(calls.max(1))
    }

    /// The share of slow calls, were there so many calls.
    pub(super) fn slow_of(&self, calls: u32) -> f64 {
        f64::from(self.sums.slow) / f64::from(calls.max(1))
    }

    /// From when on the next call makes earlier ones leave by their time; `None` is never.
    pub(super) fn stays_until(&self) -> Option<Duration> {
        let Kept::Time { width, current, .. } = &self.kept else { return None };
        let end = width.as_nanos().saturating_mul(current.saturating_add(1));
        Some(u64::try_from(end).map_or(Duration::MAX, Duration::from_nanos))
    }
}

/// Where a bucket lies in the ring.
fn place(number: u128, buckets: usize) -> usize {
    usize::try_from(number % (buckets.max(1) as u128)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sums(calls: &[(bool, bool)]) -> Sums {
        let mut sums = Sums::default();
        for (failed, slow) in calls {
            sums.add(Call { failed: *failed, slow: *slow }, 1);
        }
        sums
    }

    proptest! {
        #[test]
        fn the_sums_are_those_of_the_last_calls(
            size in 1_u32..20,
            calls in prop::collection::vec((any::<bool>(), any::<bool>()), 0..80),
        ) {
            let mut window = Window::new(BreakerWindow::Calls(size));
            for (failed, slow) in &calls {
                window.push(Call { failed: *failed, slow: *slow }, Duration::ZERO);
            }
            let last = &calls[calls.len().saturating_sub(size as usize)..];
            let Kept::Calls { calls: kept, .. } = &window.kept else { panic!("counts calls") };
            prop_assert_eq!(kept.len(), last.len());
            prop_assert_eq!(window.sums, sums(last));
            let streak = calls.iter().rev().take_while(|(failed, _)| *failed).count();
            prop_assert_eq!(window.failed_in_a_row() as usize, streak);
        }

        #[test]
        fn the_sums_are_those_of_the_last_time(
            buckets in 1_u32..12,
            steps in prop::collection::vec((0_u64..40, any::<bool>(), any::<bool>()), 1..80),
        ) {
            let width = Duration::from_millis(10);
            let length = width * buckets;
            let mut window = Window::new(BreakerWindow::Time { length, buckets });
            let mut now = Duration::from_secs(3);
            let mut seen = Vec::new();
            for (wait, failed, slow) in steps {
                now += Duration::from_millis(wait);
                window.push(Call { failed, slow }, now);
                let bucket = now.as_millis() / width.as_millis();
                seen.push((bucket, (failed, slow)));
                let first = bucket + 1 - u128::from(buckets);
                let inside: Vec<_> =
                    seen.iter().filter(|(at, _)| *at >= first).map(|(_, call)| *call).collect();
                prop_assert_eq!(window.sums, sums(&inside));
            }
        }
    }

    #[test]
    fn a_row_of_failures_ends_when_the_window_empties() {
        let length = Duration::from_secs(1);
        let mut window = Window::new(BreakerWindow::Time { length, buckets: 10 });
        let failed = Call { failed: true, slow: false };
        window.push(failed, Duration::from_millis(100));
        window.push(failed, Duration::from_millis(900));
        assert_eq!(window.failed_in_a_row(), 2);
        window.push(failed, Duration::from_secs(9));
        assert_eq!((window.failed_in_a_row(), window.count()), (1, 1));
    }
}
