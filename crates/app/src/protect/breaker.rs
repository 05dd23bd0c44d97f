//! The breaker of one dependency, shared by the calls of a process.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use baldur_core::{
    Clock,
    name::ServiceName,
    policy::{Admission, Breaker, BreakerChange, BreakerState, CallOutcome, Ticket},
};

/// A breaker behind a lock that is never held across an await.
pub(super) struct SharedBreaker {
    name: ServiceName,
    clock: Arc<dyn Clock>,
    breaker: Mutex<Breaker>,
}

impl fmt::Debug for SharedBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBreaker").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl SharedBreaker {
    pub(super) fn new(name: ServiceName, clock: Arc<dyn Clock>, breaker: Breaker) -> Self {
        Self { name, clock, breaker: Mutex::new(breaker) }
    }

    pub(super) fn state(&self) -> BreakerState {
        self.lock().state()
    }

    /// The right to one try, or how long to wait before asking again.
    pub(super) fn admit(&self) -> Result<Permit<'_>, Duration> {
        let now = self.clock.mono();
        let admitted = self.lock().admit(now);
        self.tell(admitted.change);
        match admitted.admission {
            Admission::Allowed { probe: _, ticket } => {
                Ok(Permit { breaker: self, ticket: Some(ticket), started: now })
            }
            Admission::Rejected { retry_in } => Err(retry_in),
        }
    }

    fn record(&self, ticket: Ticket, outcome: CallOutcome, started: Duration) {
        let now = self.clock.mono();
        let elapsed = now.saturating_sub(started);
        let change = self.lock().record(ticket, outcome, elapsed, now);
        self.tell(change);
    }

    fn tell(&self, change: Option<BreakerChange>) {
        let Some(BreakerChange { from, to }) = change else { return };
        tracing::warn!(dependency = %self.name, ?from, ?to, "protect.breaker_changed");
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        // The breaker is plain data and whole after each step, so a panic elsewhere doesn't spoil it.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to one try. Dropping it gives it back without an outcome.
pub(super) struct Permit<'b> {
    breaker: &'b SharedBreaker,
    ticket: Option<Ticket>,
    started: Duration,
}

impl Permit<'_> {
    pub(super) fn end(mut self, outcome: CallOutcome) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.record(ticket, outcome, self.started);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.record(ticket, CallOutcome::Dropped, self.started);
        }
    }
}
