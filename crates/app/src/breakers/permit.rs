//! The right to one call, which comes back whatever becomes of the call.

use std::{borrow::Cow, time::Duration};

use baldur_core::policy::{CallOutcome, Ticket};

use super::ManagedBreaker;

/// How long a call took.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    /// Since then, on the breaker's time.
    Since(Duration),
    /// So long.
    Known(Duration),
}

/// The right to one call. Dropping it gives it back without an outcome.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts for nothing"]
pub struct Permit<'b> {
    breaker: Cow<'b, ManagedBreaker>,
    ticket: Option<Ticket>,
    probe: bool,
    /// On the breaker's time, if it looks for slow calls.
    started: Duration,
}

impl<'b> Permit<'b> {
    #[inline]
    pub(super) fn of(breaker: &'b ManagedBreaker, ticket: Ticket, probe: bool) -> Self {
        // Borrowed: a count of holders would be one more number that all threads write.
        let (breaker, ticket) = (Cow::Borrowed(breaker), Some(ticket));
        Self { breaker, ticket, probe, started: Duration::ZERO }
    }

    /// The same permit for as long as it is wanted, such as in another task.
    pub fn into_owned(mut self) -> Permit<'static> {
        let breaker = Cow::Owned(ManagedBreaker::clone(&self.breaker));
        let (ticket, probe, started) = (self.ticket.take(), self.probe, self.started);
        Permit { breaker, ticket, probe, started }
    }

    /// Whether the call decides about closing the breaker.
    pub fn is_probe(&self) -> bool {
        self.probe
    }

    /// Takes the time from now on: what came before was not the dependency's, such as a wait of the caller's own.
    pub fn restart(&mut self) {
        self.started = self.breaker.mono();
    }

    /// Gives it back with how the call ended. How long it took is the time since it was admitted or restarted.
    pub fn end(mut self, outcome: CallOutcome) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.record(ticket, outcome, Length::Since(self.started));
        }
    }

    /// The same where the caller knows how long it took. There is nothing left to give back then.
    pub(crate) fn took(&mut self, outcome: CallOutcome, elapsed: Duration) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.record(ticket, outcome, Length::Known(elapsed));
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.record(ticket, CallOutcome::Dropped, Length::Known(Duration::ZERO));
        }
    }
}
