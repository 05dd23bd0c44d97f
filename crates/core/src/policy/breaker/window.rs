//! The last calls of a closed breaker.

use std::collections::VecDeque;

/// What is remembered of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) failed: bool,
    pub(super) slow: bool,
}

/// At most `size` calls with their sums; two bytes per call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Window {
    size: u32,
    calls: VecDeque<Call>,
    count: u32,
    failed: u32,
    slow: u32,
    failed_in_a_row: u32,
}

impl Window {
    pub(super) fn new(size: u32) -> Self {
        Self { size, calls: VecDeque::new(), count: 0, failed: 0, slow: 0, failed_in_a_row: 0 }
    }

    pub(super) fn push(&mut self, call: Call) {
        if self.count == self.size
            && let Some(oldest) = self.calls.pop_front()
        {
            self.count -= 1;
            self.failed -= u32::from(oldest.failed);
            self.slow -= u32::from(oldest.slow);
        }
        self.calls.push_back(call);
        self.count += 1;
        self.failed += u32::from(call.failed);
        self.slow += u32::from(call.slow);
        self.failed_in_a_row = if call.failed { self.failed_in_a_row.saturating_add(1) } else { 0 };
    }

    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) const fn failed_in_a_row(&self) -> u32 {
        self.failed_in_a_row
    }

    /// The share of failures; zero without calls.
    pub(super) fn failure_rate(&self) -> f64 {
        f64::from(self.failed) / f64::from(self.count.max(1))
    }

    /// The share of slow calls; zero without calls.
    pub(super) fn slow_rate(&self) -> f64 {
        f64::from(self.slow) / f64::from(self.count.max(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_sums_are_those_of_the_last_calls(
            size in 1_u32..20,
            calls in prop::collection::vec((any::<bool>(), any::<bool>()), 0..80),
        ) {
            let mut window = Window::new(size);
            for (failed, slow) in &calls {
                window.push(Call { failed: *failed, slow: *slow });
            }
            let last: Vec<_> = calls.iter().rev().take(size as usize).collect();
            prop_assert_eq!(window.calls.len(), last.len());
            prop_assert_eq!(window.count() as usize, last.len());
            prop_assert_eq!(window.failed as usize, last.iter().filter(|(failed, _)| *failed).count());
            prop_assert_eq!(window.slow as usize, last.iter().filter(|(_, slow)| *slow).count());
            let streak = calls.iter().rev().take_while(|(failed, _)| *failed).count();
            prop_assert_eq!(window.failed_in_a_row() as usize, streak);
        }
    }
}
