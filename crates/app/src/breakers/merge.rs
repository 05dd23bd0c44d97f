//! What one breaker hears of others, and tells them.

use std::time::Duration;

use baldur_core::{
    policy::{Breaker, BreakerState, Told},
    port::{SaveBreaker, SharedBreaker},
};

use super::managed::{ManagedBreaker, Pending, Source, forced, obey};
use crate::{Env, Who};

/// An order that ends sooner is over before anybody hears of it.
const SHORTEST_ORDER: Duration = Duration::from_micros(1);

/// By which part an open time from elsewhere may be made longer.
const SPREAD: f64 = 0.2;

/// When and how something was heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    /// On the breaker's time, before the store was asked: remaining times run from then, so none gets longer on the way.
    pub(super) at: Duration,
    /// How long ago the shared breaker was changed.
    pub(super) age: Duration,
    /// A random number in `[0, 1)`.
    pub(super) unit: f64,
}

/// Which of two changes holds that didn't know of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// Half-open, or open with its time over.
    Probing,
    Closed,
    Open {
        reopenings: u32,
    },
}

impl Weight {
    fn of(state: BreakerState, open_for: Option<Duration>, reopenings: u32) -> Self {
        match state {
            BreakerState::Closed => Self::Closed,
            BreakerState::Open if open_for.is_some_and(|rest| !rest.is_zero()) => {
                Self::Open { reopenings }
            }
            BreakerState::Open | BreakerState::HalfOpen => Self::Probing,
        }
    }
}

/// What a shared breaker says; `None` when it is history.
fn told(shared: &SharedBreaker, heard: Heard, open_max: Duration) -> Option<Told> {
    let SharedBreaker { state, open_for, reopenings, .. } = *shared;
    match Weight::of(state, open_for, reopenings) {
        Weight::Closed => Some(Told::Closed),
        Weight::Open { reopenings } => {
            let remaining = open_for.unwrap_or_default();
            let longer = remaining.mul_f64(SPREAD * heard.unit);
            Some(Told::Open { remaining: remaining.saturating_add(longer), reopenings })
        }
        // Those who saw it are gone, or have nothing to call about: a fresh process must not start with probes for that.
        Weight::Probing if heard.age > open_max => None,
        Weight::Probing => Some(Told::HalfOpen { reopenings }),
    }
}

/// What is to be saved, and what others know then.
#[derive(Debug)]
pub(super) struct News {
    pub(super) save: SaveBreaker,
    pub(super) pending: Pending,
}

impl ManagedBreaker {
    /// Notices what time alone changed: that an order is over.
    pub(super) fn look(&self, now: Duration) {
        self.step(now, Source::Here, |_, _| ());
    }

    /// Takes over what others saved since this process looked last.
    pub(super) fn hear(&self, shared: &SharedBreaker, heard: Heard, now: Duration) {
        self.step(now, Source::Others, |breaker, pending| {
            heed(breaker, pending, shared, heard.at, now);
            adopt(breaker, pending, shared, heard, now);
        });
    }

    /// Does as others ordered before, where an order of this process stood against it and has ended.
    pub(super) fn hear_order(&self, shared: &SharedBreaker, at: Duration, now: Duration) {
        self.step(now, Source::Others, |breaker, pending| {
            if pending.order_is_over(breaker, now) {
                heed(breaker, pending, shared, at, now);
            }
        });
    }

    /// What others have yet to be told; also when there is no news, if they don't know the breaker at all.
    pub(super) fn news(&self, expected: u64, unknown: bool, env: &Env) -> Option<News> {
        let now = env.clock.mono();
        let (pending, state, open_for, reopenings, forced) = {
            let core = self.lock();
            let (breaker, pending) = core.parts();
            if !unknown && !pending.is_any() {
                return None;
            }
            // Others' orders are looked at again before anything is saved.
            if !unknown && pending.order_is_over(breaker, now) {
                return None;
            }
            let forced = forced(breaker, now);
            let state = breaker.state();
            (pending.clone(), state, breaker.open_for(now), breaker.reopenings(), forced)
        };
        let who = pending.who.clone().filter(|_| pending.orders > 0).unwrap_or_else(Who::system);
        let save = SaveBreaker {
            name: self.name().clone(),
            expected,
            state,
            open_for,
            reopenings,
            forced: forced.filter(|order| order.lasts.is_none_or(|lasts| lasts >= SHORTEST_ORDER)),
            evidence: env.evidence(&who),
        };
        Some(News { save, pending })
    }
}

/// Does as others ordered, unless they don't know yet what was ordered here.
fn heed(
    breaker: &mut Breaker,
    pending: &mut Pending,
    shared: &SharedBreaker,
    at: Duration,
    now: Duration,
) {
    if pending.order_is_over(breaker, now) {
        pending.orders = 0;
    }
    if pending.orders == 0 {
        obey(breaker, shared.forced, at);
    }
}

fn adopt(
    breaker: &mut Breaker,
    pending: &mut Pending,
    shared: &SharedBreaker,
    heard: Heard,
    now: Duration,
) {
    let open_max = breaker.policy().settings().open_max;
    let Some(told) = told(shared, heard, open_max) else {
        // Ours is what holds now, and is saved over it.
        pending.changes += u64::from(breaker.state() == BreakerState::Closed);
        return;
    };
    if pending.changes > 0 {
        let ours = Weight::of(breaker.state(), breaker.open_for(now), breaker.reopenings());
        if ours > Weight::of(shared.state, shared.open_for, shared.reopenings) {
            // Ours is saved over it.
            return;
        }
        // Of many that open at once, one tells it: else each would make the time of the others longer.
        pending.changes = 0;
    }
    // That it changed is no news to others.
    let _ = breaker.adopt(told, now);
}
