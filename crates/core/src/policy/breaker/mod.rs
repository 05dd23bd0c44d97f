//! A circuit breaker as a pure state machine.
//!
//! Closed, it lets calls pass and watches the last of them. Open, it rejects until its time is over. Half-open, it
//! lets a few probes pass: enough successes close it, one failure opens it again, for longer each time.
//! A person's order overrides all that for a while, and what other processes saw can be taken over.
//!
//! Time is the `Duration` since an arbitrary monotonic origin, the same for all calls of one breaker; a time before
//! an earlier one counts as that earlier one. Memory is two bytes per call of a window of calls, and twelve per bucket
//! of a window of time; no call costs more work than there are buckets. Good calls of a [calm](Breaker::calm) breaker
//! may be counted elsewhere and absorbed all at once, for no more work than the window has places.

mod calm;
mod policy;
mod told;
mod window;

use std::time::Duration;

use self::window::{Call, Window};
pub use self::{
    calm::Calm,
    policy::{BreakerPolicy, BreakerPolicyError, BreakerSettings, BreakerWindow, SlowCalls},
    told::{ForcedState, Order, Told},
};

/// The name of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are rejected.
    Open,
    /// Probes pass.
    HalfOpen,
}

impl BreakerState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    /// The name on the wire, in SQL and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// A transition, for events and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerChange {
    /// The state before.
    pub from: BreakerState,
    /// The state after.
    pub to: BreakerState,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The dependency answered. If the policy knows slow calls, this may be one.
    Success,
    /// The dependency failed.
    Failure,
    /// The call says nothing about the dependency, such as a wrong request. Nothing is counted.
    Ignored,
    /// The call was given up before its end, such as by a cancelled caller. Nothing is counted.
    Dropped,
}

/// The right to one call, given back with its outcome by [`Breaker::record`].
///
/// It can't be copied, and others make one only for a call that a [calm](Breaker::calm) breaker let pass, so no call is
/// counted twice.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a ticket is recorded, or a probe counts as failed after its timeout"]
pub struct Ticket {
    /// `None` for a call that passes by an order and counts for nothing.
    generation: Option<u64>,
}

/// Whether a call may be made.
#[derive(Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Allowed {
        /// Whether the call decides about closing the breaker.
        probe: bool,
        /// To be given back.
        ticket: Ticket,
    },
    /// It may not.
    Rejected {
        /// How long to wait before asking again. While probes run it is a guess, since they may end at any time.
        retry_in: Duration,
    },
}

/// The answer of [`Breaker::admit`].
#[derive(Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Whether the call may be made.
    pub admission: Admission,
    /// The transition that asking caused: open to half-open, or back because a probe went missing.
    pub change: Option<BreakerChange>,
}

#[derive(Debug, Clone, PartialEq)]
enum State {
    Closed(Window),
    Open { until: Duration },
    HalfOpen { in_flight: u32, successes: u32, last_probe: Duration },
}

/// The breaker of one dependency.
///
/// # Guarantees
///
/// - Transitions are closed → open → half-open → closed or open, and no others, except by [`adopt`](Self::adopt).
/// - While half-open, at most `max_probes` tickets are out. Each one comes back by its outcome, whichever that is, or
///   all of them are written off after `probe_timeout`, which opens the breaker again.
/// - The result of a call that was admitted before the last transition changes nothing.
/// - While an order lasts ([`force`](Self::force)), every call is answered by it, and none that it lets pass is counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
    /// Grows with each transition, so that late results are known as such.
    generation: u64,
    /// How often it opened since it was last closed, less one.
    reopenings: u32,
    /// What a person ordered.
    order: Option<Order>,
    /// The latest time seen.
    now: Duration,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy) -> Self {
        let state = State::Closed(Window::new(policy.settings().window));
        Self { policy, state, generation: 0, reopenings: 0, order: None, now: Duration::ZERO }
    }

    /// What it was made with.
    pub const fn policy(&self) -> &BreakerPolicy {
        &self.policy
    }

    /// Its own state as of the last call, orders aside; an open breaker whose time is over becomes half-open when it is
    /// asked.
    pub const fn state(&self) -> BreakerState {
        match self.state {
            State::Closed(_) => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Asks whether a call may be made at `now`.
    pub fn admit(&mut self, now: Duration) -> Admitted {
        self.now = self.now.max(now);
        self.end_order();
        if let Some(admission) = self.ordered() {
            return Admitted { admission, change: None };
        }
        let change = self.advance();
        Admitted { admission: self.admission(), change }
    }

    /// Gives a ticket back at `now`, with how the call ended and how long it took.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a ticket that is taken cannot be recorded again"
    )]
    pub fn record(
        &mut self,
        ticket: Ticket,
        outcome: CallOutcome,
        elapsed: Duration,
        now: Duration,
    ) -> Option<BreakerChange> {
        self.now = self.now.max(now);
        let Ticket { generation } = ticket;
        if generation != Some(self.generation) {
            return None;
        }
        let slow = self.policy.is_slow(elapsed);
        let call = match outcome {
            CallOutcome::Success => Some(Call { failed: false, slow }),
            CallOutcome::Failure => Some(Call { failed: true, slow }),
            CallOutcome::Ignored | CallOutcome::Dropped => None,
        };
        match &mut self.state {
            State::Closed(window) => {
                window.push(call?, self.now);
                self.should_open().then(|| self.open())
            }
            State::HalfOpen { in_flight, .. } => {
                *in_flight = in_flight.saturating_sub(1);
                self.probed(call?)
            }
            // Nobody is admitted while it is open, so there is no ticket of such a generation.
            State::Open { .. } => None,
        }
    }

    /// What time alone changes.
    fn advance(&mut self) -> Option<BreakerChange> {
        match self.state {
            State::Open { until } if self.now >= until => Some(self.probe()),
            // As long as a permit is free, the others can decide.
            State::HalfOpen { in_flight, last_probe, .. }
                if in_flight >= self.policy.settings().max_probes
                    && self.now >= last_probe.saturating_add(self.probe_timeout()) =>
            {
                Some(self.reopen())
            }
            State::Closed(_) | State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    fn admission(&mut self) -> Admission {
        let ticket = Ticket { generation: Some(self.generation) };
        let probe_timeout = self.probe_timeout();
        let (max_probes, open_base) =
            (self.policy.settings().max_probes, self.policy.settings().open_base);
        match &mut self.state {
            State::Closed(_) => Admission::Allowed { probe: false, ticket },
            State::Open { until } => {
                Admission::Rejected { retry_in: until.saturating_sub(self.now) }
            }
            State::HalfOpen { in_flight, last_probe, .. } if *in_flight < max_probes => {
                *in_flight += 1;
                *last_probe = self.now;
                Admission::Allowed { probe: true, ticket }
            }
            State::HalfOpen { last_probe, .. } => {
                let written_off = last_probe.saturating_add(probe_timeout);
                Admission::Rejected {
                    retry_in: written_off.saturating_sub(self.now).min(open_base),
                }
            }
        }
    }

    fn should_open(&self) -> bool {
        let State::Closed(window) = &self.state else { return false };
        let settings = self.policy.settings();
        let in_a_row =
            settings.consecutive_failures.is_some_and(|most| window.failed_in_a_row() >= most);
        let too_slow = settings.slow_calls.is_some_and(|slow| window.slow_rate() >= slow.rate);
        let too_bad = window.failure_rate() >= settings.failure_rate;
        in_a_row || (window.count() >= settings.minimum_calls && (too_bad || too_slow))
    }

    /// Counts a finished probe. A slow one is a failure: what opened the breaker for slowness must not close it.
    fn probed(&mut self, call: Call) -> Option<BreakerChange> {
        let State::HalfOpen { successes, .. } = &mut self.state else { return None };
        if call.failed || call.slow {
            return Some(self.reopen());
        }
        *successes += 1;
        if *successes < self.policy.settings().successes_to_close {
            return None;
        }
        Some(self.close())
    }

    fn reopen(&mut self) -> BreakerChange {
        self.reopenings = self.reopenings.saturating_add(1);
        self.open()
    }

    fn open(&mut self) -> BreakerChange {
        let until = self.now.saturating_add(self.policy.open_for(self.reopenings));
        self.enter(State::Open { until })
    }

    fn enter(&mut self, state: State) -> BreakerChange {
        let from = self.state();
        self.state = state;
        self.generation += 1;
        BreakerChange { from, to: self.state() }
    }

    const fn probe_timeout(&self) -> Duration {
        self.policy.settings().probe_timeout
    }
}
