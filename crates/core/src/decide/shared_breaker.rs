//! What becomes of a breaker that processes share when one of them saves it.

use std::time::Duration;

use crate::{
    evidence::Evidence,
    name::{Actor, Reason, ServiceName},
    policy::{BreakerState, ForcedState},
    port::{BreakerStoreError, ForcedBreaker, SaveBreaker, SharedBreaker},
    time::Timestamp,
};

/// A breaker as a store keeps it: remaining times are points in time, by the store's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerRecord {
    /// The dependency.
    pub name: ServiceName,
    /// Grows with each save, from 1.
    pub version: u64,
    /// What the breaker does by itself.
    pub state: BreakerState,
    /// When its open time is over; `None` when it is not open.
    pub open_until: Option<Timestamp>,
    /// How often it opened in a row without closing, less one.
    pub reopenings: u32,
    /// What a person ordered.
    pub forced: Option<OrderRecord>,
    /// How often it opened, in all.
    pub trips: u64,
    /// Who changed it last.
    pub changed_by: Actor,
    /// When, by the store's clock.
    pub changed_at: Timestamp,
    /// Why.
    pub reason: Option<Reason>,
}

/// An order as a store keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderRecord {
    /// Open or closed.
    pub state: ForcedState,
    /// When it ends by itself; `None` is when it is lifted.
    pub until: Option<Timestamp>,
}

impl BreakerRecord {
    /// What a reader is told at `now`, by the store's clock. An order whose time is over is none.
    pub fn seen_at(&self, now: Timestamp) -> SharedBreaker {
        let Self {
            name,
            version,
            state,
            open_until,
            reopenings,
            forced,
            trips,
            changed_by,
            changed_at,
            reason,
        } = self.clone();
        SharedBreaker {
            name,
            version,
            state,
            open_for: open_until.map(|until| until.since(now)),
            reopenings,
            forced: forced.and_then(|order| order.seen_at(now)),
            trips,
            changed_by,
            changed_at,
            reason,
        }
    }
}

impl OrderRecord {
    fn seen_at(self, now: Timestamp) -> Option<ForcedBreaker> {
        let Self { state, until } = self;
        let lasts = until.map(|until| until.since(now));
        (lasts != Some(Duration::ZERO)).then_some(ForcedBreaker { state, lasts })
    }
}

/// Decides what `save` makes of the breaker that is there, `None` for none.
///
/// # Errors
///
/// Those of [`CircuitBreakerStore::save`](crate::port::CircuitBreakerStore::save), but for the backend's.
pub fn save_breaker(
    current: Option<&BreakerRecord>,
    save: &SaveBreaker,
    now: Timestamp,
) -> Result<BreakerRecord, BreakerStoreError> {
    save.check().map_err(BreakerStoreError::Invalid)?;
    let SaveBreaker { name, expected, state, open_for, reopenings, forced, evidence } =
        save.clone();
    match current {
        None if expected > 0 => return Err(BreakerStoreError::NotFound(name)),
        Some(current) if current.version != expected => {
            return Err(BreakerStoreError::Conflict { current: Box::new(current.seen_at(now)) });
        }
        None | Some(_) => {}
    }
    let was_open = |current: &BreakerRecord| {
        current.state == BreakerState::Open && current.reopenings >= reopenings
    };
    let opened = state == BreakerState::Open && !current.is_some_and(was_open);
    let Evidence { actor, at: _, reason, trace: _ } = evidence;
    Ok(BreakerRecord {
        name,
        version: expected.saturating_add(1),
        state,
        open_until: open_for.map(|remaining| now.saturating_add(remaining)),
        reopenings,
        forced: forced.map(|ForcedBreaker { state, lasts }| OrderRecord {
            state,
            until: lasts.map(|lasts| now.saturating_add(lasts)),
        }),
        trips: current.map_or(0, |current| current.trips).saturating_add(u64::from(opened)),
        changed_by: actor,
        changed_at: now,
        reason,
    })
}
