//! When something was captured: the order in which one process captured is kept.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use baldur_core::Timestamp;

/// How far a stamp may run ahead of the clock. Ties and small steps back are hidden; after a large step, such as that of a
/// machine whose clock was wrong when it started, the clock is believed.
const MAX_AHEAD: i64 = 1_000_000;

/// Hands out points in time that grow.
///
/// Replays of one order key follow (captured at, id), and ids are random: two captures within a microsecond, or around a small
/// step back of the clock, would else be replayed in any order.
#[derive(Debug)]
pub(super) struct Stamps {
    /// The last stamp, in microseconds.
    last: AtomicI64,
}

impl Stamps {
    pub(super) const fn new() -> Self {
        Self { last: AtomicI64::new(i64::MIN) }
    }

    /// `now`, or the microsecond after the last stamp where that is a little later.
    pub(super) fn next(&self, now: Timestamp) -> Timestamp {
        let after = |last| now.saturating_add(Duration::from_micros(ahead(last, now)));
        let advance = |last| Some(after(last).as_micros());
        match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, advance) {
            Ok(last) | Err(last) => after(last),
        }
    }
}

/// How many microseconds after `now` the next stamp lies.
fn ahead(last: i64, now: Timestamp) -> u64 {
    let ahead = last.saturating_sub(now.as_micros()).saturating_add(1);
    if (0..=MAX_AHEAD).contains(&ahead) { ahead.unsigned_abs() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros).expect("in range")
    }

    #[test]
    fn stamps_grow_through_ties_and_small_steps_back() {
        let stamps = Stamps::new();
        let given = [5_000_000, 5_000_000, 4_500_000, 5_000_001, 6_000_000];
        let stamped: Vec<i64> =
            given.into_iter().map(|now| stamps.next(at(now)).as_micros()).collect();
        assert_eq!(stamped, [5_000_000, 5_000_001, 5_000_002, 5_000_003, 6_000_000]);
    }

    #[test]
    fn after_a_large_step_back_the_clock_is_believed() {
        let stamps = Stamps::new();
        stamps.next(at(5_000_000));
        assert_eq!(stamps.next(at(4_000_000)), at(4_000_000));
        assert_eq!(stamps.next(at(4_000_000)), at(4_000_001));
    }
}
