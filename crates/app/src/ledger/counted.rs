//! A store whose captures are counted.

use std::sync::Arc;

use async_trait::async_trait;
use baldur_core::{
    command::Capture,
    port::{CaptureError, CaptureStore, Captured},
};

use super::{Account, Balance, Ledger, Ticket};

/// Counts each capture as offered and in flight, and then by its answer. What it wraps must not count.
///
/// A caller that goes away before the answer leaves its captures `unknown`.
#[derive(Clone, Debug)]
pub struct Counted {
    inner: Arc<dyn CaptureStore>,
    ledger: Ledger,
}

impl Counted {
    /// Counts what `inner` is asked for in `ledger`.
    pub fn new(inner: Arc<dyn CaptureStore>, ledger: Ledger) -> Self {
        Self { inner, ledger }
    }
}

#[async_trait]
impl CaptureStore for Counted {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        if captures.is_empty() {
            return Vec::new();
        }
        let under_way = UnderWay::offered(&self.ledger, &captures);
        let answers = self.inner.capture_batch(captures).await;
        under_way.answered(&answers);
        answers
    }
}

/// Captures in flight. Dropped without an answer, they become `unknown`.
#[derive(Debug)]
pub(crate) struct UnderWay<'l> {
    ledger: &'l Ledger,
    tickets: Vec<Ticket>,
}

impl<'l> UnderWay<'l> {
    pub(crate) fn offered(ledger: &'l Ledger, captures: &[Capture]) -> Self {
        let tickets: Vec<Ticket> = captures.iter().map(Ticket::of).collect();
        ledger.offer(Account::InFlight, u64::try_from(tickets.len()).unwrap_or(u64::MAX));
        Self { ledger, tickets }
    }

    pub(crate) fn answered(mut self, answers: &[Result<Captured, CaptureError>]) {
        for (position, ticket) in std::mem::take(&mut self.tickets).into_iter().enumerate() {
            self.ledger.answered(ticket, answers.get(position));
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        for ticket in self.tickets.drain(..) {
            self.ledger.lost_sight(Balance::InFlight, ticket);
        }
    }
}
