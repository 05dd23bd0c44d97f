//! A store whose captures are counted.

use std::{panic::AssertUnwindSafe, sync::Arc};

use async_trait::async_trait;
use baldur_core::{
    BackendError, BackendKind,
    command::Capture,
    port::{CaptureError, CaptureStore, Captured},
};
use futures_util::FutureExt as _;

use super::{Account, Balance, Ledger, Ticket};

/// Counts each capture as offered and in flight, and then by its answer. What it wraps must not count.
///
/// A caller that goes away before the answer leaves its captures `unknown`. So does a store that panics; its panic doesn't reach the caller.
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
        let answers = answers_of(&*self.inner, captures).await;
        under_way.answered(&answers);
        answers
    }
}

/// The answers of a store. A panic of it is an unknown outcome for all.
pub(crate) async fn answers_of(
    store: &dyn CaptureStore,
    captures: Vec<Capture>,
) -> Vec<Result<Captured, CaptureError>> {
    let asked = captures.len();
    let call = AssertUnwindSafe(store.capture_batch(captures)).catch_unwind();
    call.await.unwrap_or_else(|_panic| {
        tracing::error!("capture.store_panicked");
        (0..asked).map(|_| Err(panicked())).collect()
    })
}

fn panicked() -> CaptureError {
    BackendError::new("store", "capture", BackendKind::Other).retryable().into()
}

/// Captures in flight. Dropped without an answer, they become `unknown`.
#[derive(Debug)]
struct UnderWay<'l> {
    ledger: &'l Ledger,
    tickets: Vec<Ticket>,
}

impl<'l> UnderWay<'l> {
    fn offered(ledger: &'l Ledger, captures: &[Capture]) -> Self {
        let tickets: Vec<Ticket> = captures.iter().map(Ticket::of).collect();
        ledger.offer(Account::InFlight, u64::try_from(tickets.len()).unwrap_or(u64::MAX));
        Self { ledger, tickets }
    }

    fn answered(mut self, answers: &[Result<Captured, CaptureError>]) {
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
