//! The right to one call, which comes back whatever becomes of the call.

use std::{borrow::Cow, mem, time::Duration};

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

/// What is to be given back.
#[derive(Debug)]
enum Held {
    Pass(Ticket),
    Probe(Ticket),
    Nothing,
}

/// The right to one call whose length its caller knows. Dropping it gives it back without an outcome.
///
/// Whole words, and few of them: each protected call moves one.
#[derive(Debug)]
pub(crate) struct Right<'b> {
    /// Borrowed by those who can: a count of holders would be one more number that all threads write.
    breaker: Cow<'b, ManagedBreaker>,
    held: Held,
}

impl<'b> Right<'b> {
    #[inline]
    pub(super) fn to_pass(breaker: &'b ManagedBreaker, ticket: Ticket) -> Self {
        Self { breaker: Cow::Borrowed(breaker), held: Held::Pass(ticket) }
    }

    pub(super) fn to_probe(breaker: &'b ManagedBreaker, ticket: Ticket) -> Self {
        Self { breaker: Cow::Borrowed(breaker), held: Held::Probe(ticket) }
    }

    /// Gives it back with how the call ended and how long it took.
    pub(crate) fn end(&mut self, outcome: CallOutcome, elapsed: Duration) {
        self.give_back(outcome, Length::Known(elapsed));
    }

    fn give_back(&mut self, outcome: CallOutcome, length: Length) {
        match mem::replace(&mut self.held, Held::Nothing) {
            Held::Pass(ticket) | Held::Probe(ticket) => {
                self.breaker.record(ticket, outcome, length);
            }
            Held::Nothing => {}
        }
    }
}

impl Drop for Right<'_> {
    fn drop(&mut self) {
        self.end(CallOutcome::Dropped, Duration::ZERO);
    }
}

/// The right to one call. Dropping it gives it back without an outcome.
#[derive(Debug)]
#[must_use = "a permit that is dropped counts for nothing"]
pub struct Permit<'b> {
    right: Right<'b>,
    /// On the breaker's time, if it looks for slow calls.
    started: Duration,
}

impl<'b> Permit<'b> {
    pub(super) fn new(right: Right<'b>, started: Duration) -> Self {
        Self { right, started }
    }

    /// The same permit for as long as it is wanted, such as in another task.
    pub fn into_owned(mut self) -> Permit<'static> {
        let breaker = Cow::Owned(ManagedBreaker::clone(&self.right.breaker));
        let held = mem::replace(&mut self.right.held, Held::Nothing);
        Permit { right: Right { breaker, held }, started: self.started }
    }

    /// Whether the call decides about closing the breaker.
    pub fn is_probe(&self) -> bool {
        matches!(self.right.held, Held::Probe(_))
    }

    /// Takes the time from now on: what came before was not the dependency's, such as a wait of the caller's own.
    pub fn restart(&mut self) {
        self.started = self.right.breaker.mono();
    }

    /// Gives it back with how the call ended. How long it took is the time since it was admitted or restarted.
    pub fn end(mut self, outcome: CallOutcome) {
        self.right.give_back(outcome, Length::Since(self.started));
    }
}
