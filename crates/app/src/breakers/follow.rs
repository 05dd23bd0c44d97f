//! Follows the breakers of other processes that this one has none for.
//!
//! They are watched and told of, and nothing else: whoever asks for such a breaker later gets one of its own policy.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{MutexGuard, PoisonError, atomic::Ordering},
};

use baldur_core::{
    name::ServiceName,
    policy::{BreakerState, ForcedState},
    port::SharedBreaker,
};

use super::{BreakerEvent, Breakers, ManagedBreaker, managed::tell};

/// How many shared breakers are looked at in a round, the first ones in order of name.
pub const MAX_FOLLOWED: usize = 1000;

/// What was told last of a breaker that is only followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Followed {
    /// What callers meet elsewhere, and by which order.
    meets: (BreakerState, Option<ForcedState>),
    /// How often it opened, in all.
    trips: u64,
}

/// A breaker that is only followed, as it was seen last.
#[derive(Clone, Debug)]
pub(crate) struct FollowedStatus {
    pub(crate) name: ServiceName,
    pub(crate) state: BreakerState,
    pub(crate) is_forced: bool,
}

impl Followed {
    /// What callers meet where nothing is wrong; also what is assumed of a breaker that was never seen.
    const CLOSED: (BreakerState, Option<ForcedState>) = (BreakerState::Closed, None);

    fn of(shared: &SharedBreaker) -> Self {
        let order = shared.forced.map(|order| order.state);
        let state = match order {
            Some(ForcedState::Open) => BreakerState::Open,
            Some(ForcedState::Closed) => BreakerState::Closed,
            None => shared.state,
        };
        Self { meets: (state, order), trips: shared.trips }
    }

    /// What callers met since `before`, in order, and which of it was ordered.
    fn since(&self, before: Option<&Self>) -> Vec<(BreakerState, Option<ForcedState>)> {
        let met = before.map_or(Self::CLOSED, |before| before.meets);
        if met != self.meets {
            return vec![self.meets];
        }
        // It opened and closed between two looks, or while the store was away.
        let was_open =
            met == Self::CLOSED && before.is_some_and(|before| self.trips > before.trips);
        if was_open { vec![(BreakerState::Open, None), Self::CLOSED] } else { Vec::new() }
    }
}

impl Breakers {
    /// Hears from now on also of breakers that only other processes have, up to [`MAX_FOLLOWED`]: subscribers are told of
    /// their changes, as `shared`, once the breakers [are shared](Self::share). This process gets no breakers by that.
    ///
    /// The first look tells of those that are not closed. There is no way back.
    pub fn follow(&self) {
        if !self.inner.follows.swap(true, Ordering::AcqRel) {
            self.inner.voice.changed.notify_one();
        }
    }

    pub(super) fn follows(&self) -> bool {
        self.inner.follows.load(Ordering::Acquire)
    }

    /// How those stand that are only followed.
    pub(crate) fn followed(&self) -> Vec<FollowedStatus> {
        let own = self.lock();
        let followed = self.followed_now();
        let others = followed.iter().filter(|(name, _)| !own.contains_key(*name));
        others
            .map(|(name, Followed { meets: (state, order), .. })| FollowedStatus {
                name: name.clone(),
                state: *state,
                is_forced: order.is_some(),
            })
            .collect()
    }

    /// Tells of what changed at a breaker that this process has none for.
    pub(super) fn look_at(&self, shared: &SharedBreaker) {
        let mut told = Vec::new();
        {
            // One that is made from now on waits for this lock, and tells of its changes later.
            let own = self.lock();
            if own.contains_key(&shared.name) {
                return;
            }
            let mut followed = self.followed_now();
            let now = Followed::of(shared);
            let before = followed.insert(shared.name.clone(), now);
            let mut from = before.map_or(Followed::CLOSED, |before| before.meets).0;
            for (to, order) in now.since(before.as_ref()) {
                let event = BreakerEvent {
                    dependency: shared.name.clone(),
                    from,
                    to,
                    forced: order.is_some(),
                    shared: true,
                    at: self.inner.env.clock.now(),
                };
                self.inner.voice.send(&event);
                told.push(event);
                from = to;
            }
        }
        told.iter().for_each(tell);
    }

    /// Goes over to the breaker that this process has now, once that has heard of the others. It began closed, so it
    /// can't tell of a closing that came before.
    pub(super) fn hand_over(&self, breaker: &ManagedBreaker, shared: &SharedBreaker) {
        let before = self.followed_now().remove(&shared.name);
        let Some(Followed { meets: (from, _), .. }) = before else { return };
        let closed = Followed::of(shared).meets == Followed::CLOSED;
        if closed && from != BreakerState::Closed {
            breaker.closed_before(from);
        }
    }

    /// Forgets those that are not in the store, or not looked at, any more.
    pub(super) fn keep_followed(&self, listed: &BTreeSet<ServiceName>) {
        self.followed_now().retain(|name, _| listed.contains(name));
    }

    /// Taken after the lock of the breakers where both are.
    fn followed_now(&self) -> MutexGuard<'_, BTreeMap<ServiceName, Followed>> {
        // Plain data, whole after each step.
        self.inner.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
