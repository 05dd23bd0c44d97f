//! Whether a sweep goes well, and how fast it may therefore go: pure.

use std::collections::VecDeque;

/// The least share of its pace that a sweep is slowed down to.
const SLOWEST: f64 = 1.0 / 16.0;

/// Watches the last results of a sweep.
///
/// A failure halves the pace, once at most in `size` results, since failures come in bunches. As many successes in a
/// row as `size` double it again, up to the full pace. When of the last `size` results fewer than the floor's share are
/// successes, the sweep is over.
#[derive(Clone, Debug)]
pub(super) struct SuccessWatch {
    window: VecDeque<bool>,
    size: usize,
    floor: f64,
    factor: f64,
    /// Results until a failure may slow it down again.
    spared: usize,
    in_a_row: usize,
    any: bool,
}

impl SuccessWatch {
    /// A watch over the last `size` results, 1 at least; `floor` is the least share of successes.
    pub(super) fn new(size: usize, floor: f64) -> Self {
        let window = VecDeque::with_capacity(size);
        Self { window, size, floor, factor: 1.0, spared: 0, in_a_row: 0, any: false }
    }

    /// Takes a result; answers whether the sweep may go on.
    pub(super) fn heard(&mut self, success: bool) -> bool {
        self.window.push_back(success);
        if self.window.len() > self.size {
            self.window.pop_front();
        }
        self.spared = self.spared.saturating_sub(1);
        if success {
            self.any = true;
            self.in_a_row += 1;
            if self.in_a_row == self.size {
                self.in_a_row = 0;
                self.factor = (self.factor * 2.0).min(1.0);
            }
        } else {
            self.in_a_row = 0;
            if self.spared == 0 {
                self.spared = self.size;
                self.factor = (self.factor / 2.0).max(SLOWEST);
            }
        }
        !self.is_below()
    }

    /// By how much the full pace is to be multiplied: above 0, at most 1.
    pub(super) fn factor(&self) -> f64 {
        self.factor
    }

    /// Whether there were results, and all of them failures.
    pub(super) fn only_failures(&self) -> bool {
        !self.any && !self.window.is_empty()
    }

    fn is_below(&self) -> bool {
        if self.window.len() < self.size {
            return false;
        }
        let successes = self.window.iter().filter(|success| **success).count();
        #[expect(clippy::cast_precision_loss, reason = "at most 1000")]
        let (successes, size) = (successes as f64, self.size as f64);
        successes < self.floor * size
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn failures_halve_it_once_in_a_window_and_successes_double_it() {
        let mut watch = SuccessWatch::new(4, 0.0);
        for (success, factor) in [
            (false, 0.5),
            (false, 0.5),
            (false, 0.5),
            (false, 0.5),
            (false, 0.25),
            (true, 0.25),
            (true, 0.25),
            (true, 0.25),
            (true, 0.5),
        ] {
            assert!(watch.heard(success));
            assert!((watch.factor() - factor).abs() < f64::EPSILON, "{watch:?}");
        }
    }

    #[test]
    fn too_few_results_conclude_nothing() {
        let mut watch = SuccessWatch::new(3, 0.5);
        assert!(watch.heard(false) && watch.heard(false));
        assert!(watch.only_failures());
        assert!(!watch.heard(false));
    }

    proptest! {
        /// From any past, a dependency that fails for good ends the sweep within `size` results, and within
        /// `⌊(1 − floor) · size⌋ + 1` when the window was full of successes.
        #[test]
        fn a_dead_dependency_ends_a_sweep_in_bounded_time(
            size in 1_usize..50,
            floor in 0.01_f64..1.0,
            past in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let mut watch = SuccessWatch::new(size, floor);
            for success in past {
                watch.heard(success);
            }
            let took = (1..=size).find(|_| !watch.heard(false));
            prop_assert!(took.is_some());
            let mut well = SuccessWatch::new(size, floor);
            for _ in 0..size {
                prop_assert!(well.heard(true));
            }
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let most = ((1.0 - floor) * size as f64 + 1e-9).floor() as usize + 1;
            prop_assert!((1..=most).any(|_| !well.heard(false)));
        }

        #[test]
        fn the_pace_is_never_stopped_or_exceeded(size in 1_usize..20, results in prop::collection::vec(any::<bool>(), 0..300)) {
            let mut watch = SuccessWatch::new(size, 0.0);
            for success in results {
                prop_assert!(watch.heard(success));
                prop_assert!((SLOWEST..=1.0).contains(&watch.factor()));
            }
        }
    }
}
