//! The concurrency limit of one guard.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use super::ConcurrencyPolicy;

/// So many calls at once, and so many that wait for their turn, in order of their coming.
#[derive(Debug)]
pub(super) struct Bulkhead {
    slots: Semaphore,
    waiting: AtomicUsize,
    policy: ConcurrencyPolicy,
}

/// The right to make a call. Dropping it gives it to the next who waits.
#[derive(Debug)]
pub(super) struct Slot<'b> {
    _permit: SemaphorePermit<'b>,
    /// Whether time has passed before it was there.
    pub(super) waited: bool,
}

impl Bulkhead {
    pub(super) fn new(policy: ConcurrencyPolicy) -> Self {
        let slots = Semaphore::new(policy.calls);
        Self { slots, waiting: AtomicUsize::new(0), policy }
    }

    /// A slot, if one is free.
    pub(super) fn enter(&self) -> Option<Slot<'_>> {
        // Fair: a slot that is given back goes to who waits, and is never seen here.
        let permit = self.slots.try_acquire().ok()?;
        Some(Slot { _permit: permit, waited: false })
    }

    /// Waits for a slot, `until` at most; `Err` says how long. Who goes away leaves the queue.
    pub(super) async fn wait(&self, now: Instant, until: Instant) -> Result<Slot<'_>, Duration> {
        let Some(place) = Place::take(self) else { return Err(Duration::ZERO) };
        let until = until.min(now + self.policy.max_wait);
        let acquired = timeout_at(until, self.slots.acquire()).await;
        drop(place);
        match acquired {
            Ok(Ok(permit)) => Ok(Slot { _permit: permit, waited: true }),
            // The semaphore is never closed.
            Ok(Err(_)) | Err(_) => Err(until.saturating_duration_since(now)),
        }
    }
}

/// A place in the queue.
struct Place<'b>(&'b Bulkhead);

impl<'b> Place<'b> {
    fn take(bulkhead: &'b Bulkhead) -> Option<Self> {
        let most = bulkhead.policy.waiting;
        let one_more = |waiting: usize| (waiting < most).then_some(waiting + 1);
        let waiting = &bulkhead.waiting;
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self(bulkhead))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
