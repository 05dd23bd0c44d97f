//! What others say to a breaker: a person's order, and what another process saw.

use std::time::Duration;

use super::{Admission, Breaker, BreakerChange, BreakerState, State, Ticket, Window};

/// The longest time open that is taken over from others.
const MAX_TOLD: Duration = Duration::from_hours(24);

/// What a breaker can be forced to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ForcedState {
    /// Every call is rejected.
    Open,
    /// Every call passes.
    Closed,
}

impl ForcedState {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Open, Self::Closed];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }

    /// The state with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The state that callers meet.
    pub const fn state(self) -> BreakerState {
        match self {
            Self::Open => BreakerState::Open,
            Self::Closed => BreakerState::Closed,
        }
    }
}

/// An order in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// To what the breaker is forced.
    pub state: ForcedState,
    /// When the order ends by itself, on the breaker's time; `None` is when it is lifted.
    pub until: Option<Duration>,
}

/// What another process saw of the same dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Its breaker closed after successful probes.
    Closed,
    /// Its breaker opened.
    Open {
        /// How long it stays open.
        remaining: Duration,
        /// How often it opened in a row without closing, less one.
        reopenings: u32,
    },
    /// Its breaker lets probes pass.
    HalfOpen {
        /// How often it opened in a row without closing, less one.
        reopenings: u32,
    },
}

impl Breaker {
    /// Makes every call rejected or pass until `until`, or until [`lift`](Self::lift) when absent. A later order
    /// replaces an earlier one; one whose time is over already is none.
    ///
    /// While the order lasts, the breaker's own state stands still but for calls that were admitted before: calls that
    /// pass by an order are not counted. When it ends, the breaker goes on from there.
    pub fn force(&mut self, state: ForcedState, until: Option<Duration>, now: Duration) {
        self.now = self.now.max(now);
        self.order = Some(Order { state, until });
        self.end_order();
    }

    /// Ends the order, if there is one.
    pub fn lift(&mut self) {
        self.order = None;
    }

    /// The order that is in force at `now`.
    pub fn order(&self, now: Duration) -> Option<Order> {
        let now = self.now.max(now);
        self.order.filter(|order| order.until.is_none_or(|until| now < until))
    }

    /// What callers meet at `now`: the order, or else the breaker's own state.
    pub fn effective(&self, now: Duration) -> BreakerState {
        self.order(now).map_or_else(|| self.state(), |order| order.state.state())
    }

    /// How long the breaker by itself stays open from `now`: zero when its time is over, `None` when it is not open.
    pub fn open_for(&self, now: Duration) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until.saturating_sub(self.now.max(now))),
            State::Closed(_) | State::HalfOpen { .. } => None,
        }
    }

    /// How often it opened since it was last closed, less one.
    pub const fn reopenings(&self) -> u32 {
        self.reopenings
    }

    /// Takes over what another process saw, and answers the transition that this made:
    ///
    /// | own state | told `Closed` | told `Open` | told `HalfOpen` |
    /// |---|---|---|---|
    /// | closed | stays | opens | becomes half-open |
    /// | open | closes | stays open, for the longer of both times | stays open for its own time |
    /// | half-open | closes | opens | stays |
    ///
    /// An open time is taken over up to a day, whatever the policy. The number of reopenings is taken over if it is
    /// larger, so that the next open time is not shorter than that of others.
    pub fn adopt(&mut self, told: Told, now: Duration) -> Option<BreakerChange> {
        self.now = self.now.max(now);
        match told {
            Told::Closed => {
                self.reopenings = 0;
                let is_closed = self.state() == BreakerState::Closed;
                (!is_closed).then(|| self.close())
            }
            Told::Open { remaining, reopenings } => {
                self.reopenings = self.reopenings.max(reopenings);
                let told = self.now.saturating_add(remaining.min(MAX_TOLD));
                if let State::Open { until } = &mut self.state {
                    *until = told.max(*until);
                    return None;
                }
                Some(self.enter(State::Open { until: told }))
            }
            Told::HalfOpen { reopenings } => {
                self.reopenings = self.reopenings.max(reopenings);
                let is_closed = self.state() == BreakerState::Closed;
                is_closed.then(|| self.probe())
            }
        }
    }

    /// Forgets an order whose time is over.
    pub(super) fn end_order(&mut self) {
        self.order = self.order(self.now);
    }

    /// What the order says about a call, if there is one.
    pub(super) fn ordered(&self) -> Option<Admission> {
        let Order { state, until } = self.order?;
        Some(match state {
            ForcedState::Closed => {
                Admission::Allowed { probe: false, ticket: Ticket { generation: None } }
            }
            ForcedState::Open => {
                let open_max = self.policy.settings().open_max;
                let retry_in = until.map_or(open_max, |until| until.saturating_sub(self.now));
                Admission::Rejected { retry_in }
            }
        })
    }

    pub(super) fn close(&mut self) -> BreakerChange {
        self.reopenings = 0;
        self.enter(State::Closed(Window::new(self.policy.settings().window)))
    }

    pub(super) fn probe(&mut self) -> BreakerChange {
        let last_probe = self.now;
        self.enter(State::HalfOpen { in_flight: 0, successes: 0, last_probe })
    }
}
