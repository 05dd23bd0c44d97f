//! What is told about breakers.

use std::time::Duration;

use baldur_core::{Timestamp, name::ServiceName, policy::BreakerState, port::ForcedBreaker};

/// A change of a breaker, as callers meet it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerEvent {
    /// The dependency.
    pub dependency: ServiceName,
    /// What callers met before.
    pub from: BreakerState,
    /// What they meet now; the same as before when only an order began or ended.
    pub to: BreakerState,
    /// Whether a person's order is in force now.
    pub forced: bool,
    /// Whether another process caused it.
    pub shared: bool,
    /// When it was noticed. A time that is over is noticed by the next call, or the next look at the shared states.
    pub at: Timestamp,
}

/// How a breaker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerStatus {
    /// The dependency.
    pub name: ServiceName,
    /// What callers meet: the order, or else the breaker's own state.
    pub state: BreakerState,
    /// What the breaker does by itself. An open one whose time is over lets the next call probe.
    pub own: BreakerState,
    /// How long it stays open by itself; zero when its time is over, `None` when it is not open.
    pub open_for: Option<Duration>,
    /// How often it opened in a row without closing, less one.
    pub reopenings: u32,
    /// A person's order, as long as it lasts.
    pub forced: Option<ForcedBreaker>,
}
