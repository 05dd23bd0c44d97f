//! Time and ids that a test decides.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use baldur_core::{Clock, IdGen, Timestamp};

/// A clock that stands still until it is told otherwise.
#[derive(Debug)]
pub struct ManualClock {
    now: AtomicI64,
    mono: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub const fn at(now: Timestamp) -> Self {
        Self { now: AtomicI64::new(now.as_micros()), mono: AtomicU64::new(0) }
    }

    /// Lets time pass, on both clocks. Fractions of a microsecond are cut.
    pub fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        self.mono.fetch_add(micros, Ordering::SeqCst);
        self.set(self.now().saturating_add(by));
    }

    /// Sets the wall clock, as an administrator would. The monotonic clock does not notice.
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.as_micros(), Ordering::SeqCst);
    }

    /// Sets the wall clock back. The monotonic clock does not notice.
    pub fn jump_back(&self, by: Duration) {
        self.set(self.now().saturating_sub(by));
    }
}

impl Default for ManualClock {
    /// Shows 2026-01-01T00:00:00.000001Z: not a whole second, so that cut microseconds are noticed.
    fn default() -> Self {
        Self::at(Timestamp::UNIX_EPOCH.saturating_add(Duration::from_micros(1_767_225_600_000_001)))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        // Only timestamps are ever stored, so the number is one.
        Timestamp::from_micros(self.now.load(Ordering::SeqCst)).unwrap_or_default()
    }

    fn mono(&self) -> Duration {
        Duration::from_micros(self.mono.load(Ordering::SeqCst))
    }
}

/// Ids that are the same in every run with the same seed, and different within one.
#[derive(Debug)]
pub struct SeededIdGen(AtomicU64);

impl SeededIdGen {
    /// The sequence of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl IdGen for SeededIdGen {
    fn entropy(&self) -> [u8; 8] {
        // SplitMix64: one addition per draw, so concurrent draws differ, and a bijection, so values don't repeat.
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_be_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_monotonic_clock_never_goes_back() {
        let clock = ManualClock::default();
        let start = clock.now();
        clock.advance(Duration::from_secs(5));
        clock.jump_back(Duration::from_mins(1));
        assert_eq!(clock.mono(), Duration::from_secs(5));
        assert_eq!(start.since(clock.now()), Duration::from_secs(55));
    }

    #[test]
    fn seeded_ids_repeat_between_runs_and_not_within_one() {
        let draw = |seed| {
            let ids = SeededIdGen::new(seed);
            (0..1_000).map(|_| ids.entropy()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_eq!(draw(7).into_iter().collect::<BTreeSet<_>>().len(), 1_000);
    }
}
