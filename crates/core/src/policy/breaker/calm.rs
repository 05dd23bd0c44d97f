//! When a closed breaker need not be asked about each call: as long as no success can open it.
//!
//! A success adds to the calls of the window and to none of its bad ones, and may push one of them out. So it can only
//! make the rates smaller, but for two moments: when it is the call that makes the window count at all
//! (`minimum_calls`), and when time has emptied a bucket of good calls. Outside of these, good calls can be counted apart
//! from the breaker, by many threads at once, and told to it all together before it hears of anything else.

use std::time::Duration;

use super::{Breaker, BreakerChange, Call, State, Ticket};

/// A good call, and a fast one.
const GOOD: Call = Call { failed: false, slow: false };

/// What a closed breaker allows to be done without it: [`Breaker::calm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calm {
    /// Which calls it is about: those whose tickets are of this generation.
    pub generation: u64,
    /// From when on the next call must be recorded by itself, on the breaker's time; `None` is never.
    pub until: Option<Duration>,
}

impl Ticket {
    /// The ticket of a call that was let pass by a calm breaker of this generation, which was not asked.
    ///
    /// As with a ticket that was asked for, there is one for each call.
    pub const fn of_calm(generation: u64) -> Self {
        Self { generation: Some(generation) }
    }

    /// Of which generation it is; `None` for a call that passes by an order.
    pub const fn generation(&self) -> Option<u64> {
        self.generation
    }
}

impl Breaker {
    /// Whether calls may pass without being asked for, and good ones be counted apart until they are
    /// [absorbed](Self::absorb); `None` when each call must be admitted and recorded by itself.
    ///
    /// It holds until anything else is done to the breaker. `Some` says that
    ///
    /// - it is closed and no order is in force, so [`admit`](Self::admit) would let every call pass;
    /// - however many calls of this generation end before `until` with a success that is not slow, none of them opens it.
    pub fn calm(&self) -> Option<Calm> {
        let State::Closed(window) = &self.state else { return None };
        let settings = self.policy.settings();
        let minimum = settings.minimum_calls;
        // As closed as it is now, it is below its rates if it counts, and good calls lead further down. If it does not
        // count yet, the rates are at most those that the bad calls have of the minimum.
        let counts = window.count() >= minimum;
        let too_bad = window.failures_of(minimum) >= settings.failure_rate;
        let too_slow = settings.slow_calls.is_some_and(|slow| window.slow_of(minimum) >= slow.rate);
        let is_calm = self.order.is_none() && (counts || !(too_bad || too_slow));
        is_calm.then(|| Calm { generation: self.generation, until: window.stays_until() })
    }

    /// Records so many calls of the present generation that ended with a success and were not slow, as if one by one,
    /// at the latest time seen. Only where the breaker is not [calm](Self::calm) may this open it; the calls after that
    /// one change nothing then, as they would not one by one.
    pub fn absorb(&mut self, mut successes: u64) -> Option<BreakerChange> {
        while successes > 0 {
            let is_calm = self.calm().is_some();
            let State::Closed(window) = &mut self.state else { return None };
            if is_calm {
                window.push_same(GOOD, successes);
                return None;
            }
            window.push_same(GOOD, 1);
            if self.should_open() {
                return Some(self.open());
            }
            successes -= 1;
        }
        None
    }

    /// Which calls its next ticket is about: grows with each change of state.
    pub const fn generation(&self) -> u64 {
        self.generation
    }
}
