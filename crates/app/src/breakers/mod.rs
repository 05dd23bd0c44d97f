//! Circuit breakers: one for each dependency in a process, with events, orders of people, and states that processes share.
//!
//! A call asks [`ManagedBreaker::admit`] and gives the permit back with how it ended. Whatever changes a breaker is
//! told to everyone who [subscribed](Breakers::subscribe), in the order in which it happened.
//!
//! What decides is [`Breaker`], a pure state machine; this module gives it a clock, a lock
//! that is held for the few steps of one decision and never across an await, and a voice.
//!
//! While the breaker is closed and no good call could open it, which is nearly always, calls don't take that lock: they
//! pass by one look at a number, and good ones are counted apart, by each thread for itself. The breaker hears of them
//! before anything else happens to it, so it decides as if it had been asked about each: a failure that reaches the
//! rate opens it, and not a later one.
//!
//! # Sharing
//!
//! [`Breakers::share`] has one task tell other processes what happened here, and ask what happened there. What is newer
//! in the store holds; where two changes meet, before either process knew of the other:
//!
//! 1. A breaker that opened opens all. Of two, the one that opened more often in a row tells the others.
//! 2. Else one that closed after its probes closes all.
//! 3. A half-open one changes no others but those that are closed.
//!
//! A person's order overrides all of this in every process until it ends, and of two orders the later one saved holds.
//! An open time that comes from elsewhere is made longer by up to a fifth, at random, and holds if it is longer than the
//! breaker's own, so that processes don't all probe at once. Each process may then probe with the `max_probes` of its
//! policy. An open or half-open state that nobody changed for the longest open time of the policy is history.
//!
//! A process may also [follow](Breakers::follow) breakers that only others have: it tells of their changes, for those who act
//! on recoveries without calling the dependency themselves.
//!
//! Calls never wait for any of this. What one process notices holds in another after at most the interval and two store
//! timeouts; without the store each process goes on by itself.

mod event;
mod follow;
mod managed;
mod merge;
mod permit;
mod share;
mod tally;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
};

use baldur_core::{
    name::ServiceName,
    policy::{Breaker, BreakerPolicy},
    port::ForcedBreaker,
};
use tokio::sync::{Notify, broadcast};

pub use event::{BreakerEvent, BreakerStatus};
pub use follow::MAX_FOLLOWED;
pub use managed::{ManagedBreaker, Rejection};
pub use permit::Permit;
pub use share::{ShareError, SyncPolicy};

use crate::{Env, Who};

/// How many events a subscriber may fall behind before it loses the oldest of them.
const EVENTS: usize = 1024;

/// The breakers of a process, one for each dependency. Cheap to clone; clones share the breakers.
///
/// A breaker is never forgotten: name dependencies by a set that doesn't grow with the traffic.
#[derive(Clone)]
pub struct Breakers {
    inner: Arc<Inner>,
}

struct Inner {
    env: Env,
    voice: managed::Voice,
    is_shared: AtomicBool,
    follows: AtomicBool,
    /// Those that only others have. Kept here, since the task that looks at them may be started again.
    followed: Mutex<BTreeMap<ServiceName, follow::Followed>>,
    breakers: Mutex<BTreeMap<ServiceName, ManagedBreaker>>,
}

/// An order for a breaker that this process doesn't have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this process has no breaker {0}")]
pub struct UnknownBreaker(pub ServiceName);

impl Breakers {
    /// No breakers yet. They take their time from the clock of `env`.
    pub fn new(env: &Env) -> Self {
        let voice = managed::Voice {
            clock: Arc::clone(&env.clock),
            events: broadcast::channel(EVENTS).0,
            changed: Arc::new(Notify::new()),
        };
        let inner = Inner {
            env: env.clone(),
            voice,
            is_shared: AtomicBool::new(false),
            follows: AtomicBool::new(false),
            followed: Mutex::default(),
            breakers: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The breaker of this dependency; a closed one with this policy if there is none yet.
    ///
    /// All who ask by one name get one breaker. It keeps the policy that it was made with; that a later one differs is
    /// logged.
    pub fn get(&self, name: &ServiceName, policy: BreakerPolicy) -> ManagedBreaker {
        let mut breakers = self.lock();
        if let Some(breaker) = breakers.get(name) {
            if breaker.policy() != policy {
                tracing::warn!(dependency = %name, "breaker.policy_ignored");
            }
            return breaker.clone();
        }
        let voice = self.inner.voice.clone();
        let breaker = ManagedBreaker::new(name.clone(), Breaker::new(policy), voice);
        breakers.insert(name.clone(), breaker.clone());
        breaker
    }

    /// Every change from now on, of every breaker, and of those that are [followed](Self::follow). Who falls 1024 events behind is told how many it missed; then
    /// [`states`](Self::states) says how things are.
    pub fn subscribe(&self) -> broadcast::Receiver<BreakerEvent> {
        self.inner.voice.events.subscribe()
    }

    /// How every breaker stands now, in order of name.
    pub fn states(&self) -> Vec<BreakerStatus> {
        self.all().iter().map(ManagedBreaker::status).collect()
    }

    /// Overrides a breaker of this process, and of all that share it, by an order of a person.
    ///
    /// # Errors
    ///
    /// When this process has no breaker of that name.
    pub fn force(
        &self,
        name: &ServiceName,
        order: ForcedBreaker,
        who: &Who,
    ) -> Result<(), UnknownBreaker> {
        self.known(name)?.order(Some(order), who);
        Ok(())
    }

    /// Ends the order, if there is one: the breaker goes on by itself from where it stood.
    ///
    /// # Errors
    ///
    /// When this process has no breaker of that name.
    pub fn lift(&self, name: &ServiceName, who: &Who) -> Result<(), UnknownBreaker> {
        self.known(name)?.order(None, who);
        Ok(())
    }

    fn known(&self, name: &ServiceName) -> Result<ManagedBreaker, UnknownBreaker> {
        self.lock().get(name).cloned().ok_or_else(|| UnknownBreaker(name.clone()))
    }

    fn all(&self) -> Vec<ManagedBreaker> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServiceName, ManagedBreaker>> {
        // Only whole breakers are put in and nothing is taken out, so a panic elsewhere doesn't spoil it.
        self.inner.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Breakers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breakers").field("breakers", &self.lock().len()).finish_non_exhaustive()
    }
}
