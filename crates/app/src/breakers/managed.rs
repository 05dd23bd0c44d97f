//! The breaker of one dependency, shared by the calls of a process.

use std::{
    cell::LazyCell,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use baldur_core::{
    Clock,
    name::ServiceName,
    policy::{
        Admission, Breaker, BreakerChange, BreakerPolicy, BreakerState, CallOutcome, Calm,
        ForcedState, Ticket,
    },
    port::ForcedBreaker,
};
use tokio::sync::{Notify, broadcast};

use super::{
    BreakerEvent, BreakerStatus,
    permit::{Length, Permit, Right},
    tally::Tally,
};
use crate::{
    Who,
    metrics::{BREAKER_CHANGES, BREAKER_REJECTIONS, BREAKER_STATE},
};

/// What breakers of a process have in common.
#[derive(Clone)]
pub(super) struct Voice {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: broadcast::Sender<BreakerEvent>,
    /// Wakes whoever tells other processes.
    pub(super) changed: Arc<Notify>,
}

impl Voice {
    /// Sends an event to all who listen, and sets the gauge: under the lock of what it is about, so that the last one
    /// is the one that holds.
    pub(super) fn send(&self, event: &BreakerEvent) {
        // That nobody listens is no failure.
        let _ = self.events.send(event.clone());
        show(event);
    }
}

/// The breaker of one dependency. Cheap to clone; clones are the same breaker.
#[derive(Clone)]
pub struct ManagedBreaker {
    inner: Arc<Inner>,
}

struct Inner {
    name: ServiceName,
    policy: BreakerPolicy,
    voice: Voice,
    /// What happens without the lock, as long as the breaker is calm.
    tally: Tally,
    /// Held for one decision, never across an await.
    core: Mutex<Core>,
}

/// What the lock protects.
pub(super) struct Core {
    breaker: Breaker,
    /// What was told last: what callers meet, and by which order.
    told: (BreakerState, Option<ForcedState>),
    /// What other processes have yet to hear.
    pending: Pending,
}

impl Core {
    pub(super) fn parts(&self) -> (&Breaker, &Pending) {
        (&self.breaker, &self.pending)
    }
}

/// What other processes have yet to hear of a breaker. Kept whether or not there are any: it is a few numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    /// Changes by the breaker itself that others don't know.
    pub(super) changes: u64,
    /// Orders that others don't know.
    pub(super) orders: u64,
    /// Whether the last of them lifts what was ordered.
    pub(super) lifts: bool,
    /// Who gave or lifted the last of them.
    pub(super) who: Option<Who>,
}

impl Pending {
    pub(super) fn is_any(&self) -> bool {
        self.changes > 0 || self.orders > 0
    }

    /// Whether the order that others don't know has ended by itself: it must not lift what they ordered since.
    pub(super) fn order_is_over(&self, breaker: &Breaker, now: Duration) -> bool {
        self.orders > 0 && !self.lifts && breaker.order(now).is_none()
    }

    /// Forgets what others were told, but not what came in the meantime.
    fn told(&mut self, told: &Self) {
        self.changes = self.changes.saturating_sub(told.changes);
        self.orders = self.orders.saturating_sub(told.orders);
    }

    fn count(&mut self, change: Option<BreakerChange>) {
        self.changes += u64::from(change.is_some());
    }
}

/// Where a change comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Here,
    Others,
}

/// Why a call is not to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// How long to wait before asking again.
    pub retry_in: Duration,
    /// Whether a person ordered it.
    pub forced: bool,
}

impl ManagedBreaker {
    pub(super) fn new(name: ServiceName, mut breaker: Breaker, voice: Voice) -> Self {
        let told = (breaker.state(), None);
        let (policy, tally) = (*breaker.policy(), Tally::new());
        publish(&tally, &mut breaker);
        let core = Mutex::new(Core { breaker, told, pending: Pending::default() });
        Self { inner: Arc::new(Inner { name, policy, voice, tally, core }) }
    }

    /// The dependency.
    pub fn name(&self) -> &ServiceName {
        &self.inner.name
    }

    /// What it was made with.
    pub fn policy(&self) -> BreakerPolicy {
        self.inner.policy
    }

    /// What callers meet: the order, or else the breaker's own state as of the last call. An open one whose time is over
    /// lets the next call probe.
    pub fn state(&self) -> BreakerState {
        if self.inner.tally.generation().is_some() {
            return BreakerState::Closed;
        }
        let now = self.mono();
        self.lock().breaker.effective(now)
    }

    /// How it stands now, in full.
    pub fn status(&self) -> BreakerStatus {
        let now = self.mono();
        let core = self.lock();
        let Core { breaker, .. } = &*core;
        BreakerStatus {
            name: self.inner.name.clone(),
            state: breaker.effective(now),
            own: breaker.state(),
            open_for: breaker.open_for(now),
            reopenings: breaker.reopenings(),
            forced: forced(breaker, now),
        }
    }

    /// The right to one call.
    ///
    /// # Errors
    ///
    /// When the dependency is to be left alone.
    pub fn admit(&self) -> Result<Permit<'_>, Rejection> {
        let right = self.admit_untimed()?;
        let started = if self.times_calls() { self.mono() } else { Duration::ZERO };
        Ok(Permit::new(right, started))
    }

    /// The same for a caller that says itself how long the call took.
    #[inline]
    pub(crate) fn admit_untimed(&self) -> Result<Right<'_>, Rejection> {
        match self.inner.tally.generation() {
            Some(generation) => Ok(Right::to_pass(self, Ticket::of_calm(generation))),
            None => self.ask(),
        }
    }

    /// Asks the breaker itself.
    fn ask(&self) -> Result<Right<'_>, Rejection> {
        let now = self.mono();
        let (admission, forced) = self.step(now, Source::Here, |breaker, pending| {
            let admitted = breaker.admit(now);
            pending.count(admitted.change);
            (admitted.admission, breaker.order(now).is_some())
        });
        match admission {
            Admission::Allowed { probe: true, ticket } => Ok(Right::to_probe(self, ticket)),
            Admission::Allowed { probe: false, ticket } => Ok(Right::to_pass(self, ticket)),
            Admission::Rejected { retry_in } => {
                let why = if forced { "forced" } else { "open" };
                let labels =
                    [("dependency", self.inner.name.as_str().to_owned()), ("why", why.to_owned())];
                metrics::counter!(BREAKER_REJECTIONS.name, &labels).increment(1);
                Err(Rejection { retry_in, forced })
            }
        }
    }

    /// Hears how a call ended.
    pub(super) fn record(&self, ticket: Ticket, outcome: CallOutcome, length: Length) {
        let Inner { tally, policy, .. } = &*self.inner;
        // Most breakers need no time to count a good call.
        let now = LazyCell::new(|| self.mono());
        let elapsed = match length {
            Length::Known(elapsed) => elapsed,
            Length::Since(started) if self.times_calls() => now.saturating_sub(started),
            Length::Since(_) => Duration::ZERO,
        };
        if let Some(generation) = ticket.generation() {
            let is_done = match outcome {
                CallOutcome::Success => !policy.is_slow(elapsed) && tally.good(generation, || *now),
                // Calm, it counts nothing of them.
                CallOutcome::Ignored | CallOutcome::Dropped => {
                    tally.generation() == Some(generation)
                }
                CallOutcome::Failure => false,
            };
            if is_done {
                return;
            }
        }
        self.step(*now, Source::Here, |breaker, pending| {
            pending.count(breaker.record(ticket, outcome, elapsed, *now));
        });
    }

    fn times_calls(&self) -> bool {
        self.inner.policy.settings().slow_calls.is_some()
    }

    pub(super) fn mono(&self) -> Duration {
        self.inner.voice.clock.mono()
    }

    /// Gives an order, or lifts it.
    pub(super) fn order(&self, order: Option<ForcedBreaker>, who: &Who) {
        let now = self.mono();
        self.step(now, Source::Here, |breaker, pending| {
            obey(breaker, order, now);
            pending.orders += 1;
            pending.lifts = order.is_none();
            pending.who = Some(who.clone());
        });
        let to = order.map_or("auto", |order| order.state.as_str());
        let lasts = order.and_then(|order| order.lasts);
        let reason = who.reason.as_ref().map(AsRef::<str>::as_ref);
        tracing::warn!(dependency = %self.inner.name, to, ?lasts, actor = %who.actor, reason, "breaker.forced");
    }

    /// Takes one step under the lock, and tells what callers will notice of it.
    ///
    /// Events are sent under the lock, which waits for nobody, so that their order is that of the changes.
    pub(super) fn step<T>(
        &self,
        now: Duration,
        source: Source,
        step: impl FnOnce(&mut Breaker, &mut Pending) -> T,
    ) -> T {
        let Inner { name, voice, tally, .. } = &*self.inner;
        let mut core = self.lock();
        let Core { breaker, pending, told } = &mut *core;
        let known = (pending.changes, pending.orders);
        // What ended before comes first.
        pending.count(breaker.absorb(tally.take()));
        let answer = step(breaker, pending);
        pending.count(publish(tally, breaker));
        let is_news = source == Source::Here && (pending.changes, pending.orders) != known;
        if is_news {
            voice.changed.notify_one();
        }
        let meets = (breaker.effective(now), breaker.order(now).map(|order| order.state));
        if *told == meets {
            return answer;
        }
        let (from, _) = mem::replace(told, meets);
        let (to, order) = meets;
        let event = BreakerEvent {
            dependency: name.clone(),
            from,
            to,
            forced: order.is_some(),
            shared: source == Source::Others,
            at: voice.clock.now(),
        };
        voice.send(&event);
        drop(core);
        tell(&event);
        answer
    }

    /// Tells of a closing elsewhere that came before this breaker was asked anything, unless it has other news by now.
    pub(super) fn closed_before(&self, from: BreakerState) {
        let Inner { name, voice, .. } = &*self.inner;
        let core = self.lock();
        if core.told != (BreakerState::Closed, None) {
            return;
        }
        let event = BreakerEvent {
            dependency: name.clone(),
            from,
            to: BreakerState::Closed,
            forced: false,
            shared: true,
            at: voice.clock.now(),
        };
        voice.send(&event);
        drop(core);
        tell(&event);
    }

    /// Others know this now.
    pub(super) fn told_others(&self, told: &Pending) {
        self.lock().pending.told(told);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        // The breaker is plain data and whole after each step, so a panic elsewhere doesn't spoil it.
        self.inner.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says what may happen without the lock after a step. What did so during the step comes after it.
fn publish(tally: &Tally, breaker: &mut Breaker) -> Option<BreakerChange> {
    let is_same = |calm: Calm| tally.generation().is_none_or(|before| before == calm.generation);
    if let Some(calm) = breaker.calm().filter(|calm| is_same(*calm)) {
        tally.open(calm);
        return None;
    }
    let before = tally.generation();
    let late = tally.close();
    // Calls that were admitted before a change of state count for nothing after it.
    let change = (before == Some(breaker.generation())).then(|| breaker.absorb(late)).flatten();
    if let Some(calm) = breaker.calm() {
        tally.open(calm);
    }
    change
}

/// Logs and counts.
pub(super) fn tell(event: &BreakerEvent) {
    let BreakerEvent { dependency, from, to, forced, shared, at: _ } = event;
    let (from, to) = (from.as_str(), to.as_str());
    tracing::warn!(dependency = %dependency, from, to, forced, shared, "breaker.changed");
    let labels = [("dependency", dependency.as_str().to_owned()), ("to", to.to_owned())];
    if from != to {
        metrics::counter!(BREAKER_CHANGES.name, &labels).increment(1);
    }
}

/// Sets the gauge.
fn show(event: &BreakerEvent) {
    let labels = [("dependency", event.dependency.as_str().to_owned())];
    let level = match event.to {
        BreakerState::Closed => 0.0,
        BreakerState::HalfOpen => 1.0,
        BreakerState::Open => 2.0,
    };
    metrics::gauge!(BREAKER_STATE.name, &labels).set(level);
}

/// The order in force, with what is left of its time.
pub(super) fn forced(breaker: &Breaker, now: Duration) -> Option<ForcedBreaker> {
    let order = breaker.order(now)?;
    let lasts = order.until.map(|until| until.saturating_sub(now));
    Some(ForcedBreaker { state: order.state, lasts })
}

/// Does as ordered from `now` on.
pub(super) fn obey(breaker: &mut Breaker, order: Option<ForcedBreaker>, now: Duration) {
    match order {
        Some(ForcedBreaker { state, lasts }) => {
            breaker.force(state, lasts.map(|lasts| now.saturating_add(lasts)), now);
        }
        None => breaker.lift(),
    }
}

impl fmt::Debug for ManagedBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedBreaker")
            .field("name", &self.inner.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
