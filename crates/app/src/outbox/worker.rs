//! The task that writes what waits.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use baldur_core::{
    Chain, Outcome,
    command::Capture,
    port::{CaptureError, Captured},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::Shared;
use crate::{
    env::unit,
    ledger::{Account, Balance, Ticket},
    metrics,
    spooling::refused_for_good,
};

/// How often the load is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Answer = Result<Captured, CaptureError>;

/// Keeps a worker running until everything was written after the outbox was closed, or until it is told to stop.
pub(super) async fn supervise(shared: Arc<Shared>) {
    let mut deaths = 0;
    loop {
        let mut work = AbortOnDropHandle::new(tokio::spawn(Arc::clone(&shared).work()));
        let ended = loop {
            tokio::select! {
                ended = &mut work => break ended,
                () = shared.stop.cancelled() => return,
                () = sleep(LOOK_EVERY) => shared.look(),
            }
        };
        let Err(error) = ended else { return };
        shared.restarts.fetch_add(1, Ordering::Relaxed);
        ::metrics::counter!(metrics::WORKER_RESTARTS.name, "worker" => "outbox").increment(1);
        tracing::error!(panicked = error.is_panic(), "outbox.worker_died");
        shared.pause(deaths).await;
        deaths += 1;
    }
}

impl Shared {
    /// Writes batch after batch. What an earlier worker left under way comes first.
    async fn work(self: Arc<Self>) {
        let mut failures = 0;
        while self.begin().await {
            if self.write().await {
                failures = 0;
            } else {
                self.pause(failures).await;
                failures += 1;
            }
        }
    }

    /// Waits until something is under way. Returns false when the outbox is closed and empty.
    async fn begin(&self) -> bool {
        loop {
            let due = {
                let mut queue = self.queue();
                if queue.is_sealed() || queue.closed && queue.is_empty() {
                    return false;
                }
                if queue.under_way() > 0 {
                    return true;
                }
                let due = queue.due(&self.policy);
                if due.is_some_and(|due| due <= Instant::now()) {
                    let begun = queue.begin(&self.policy);
                    let begun = u64::try_from(begun).unwrap_or(u64::MAX);
                    self.ledger.transfer(Balance::Queued, Account::InFlight, begun);
                    return true;
                }
                due
            };
            tokio::select! {
                () = self.work.notified() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    /// Writes what is under way. Returns whether all of it was settled.
    async fn write(&self) -> bool {
        let (numbers, captures): (Vec<u64>, Vec<Capture>) =
            self.queue().writing().into_iter().unzip();
        let Ok(answers) =
            timeout(self.policy.write_timeout, self.inner.capture_batch(captures)).await
        else {
            tracing::warn!(entries = numbers.len(), "outbox.write_timed_out");
            return false;
        };
        let mut answers = answers.into_iter();
        let mut all = true;
        for number in numbers {
            all &= answers.next().is_some_and(|answer| self.settle(number, &answer));
        }
        self.settled.notify_waiters();
        all
    }

    /// Takes a capture out whose answer is final. Returns whether it was.
    fn settle(&self, number: u64, answer: &Answer) -> bool {
        let mut queue = self.queue();
        if queue.is_sealed() {
            return true;
        }
        match answer {
            Ok(_) => {}
            Err(error) if refused_for_good(error) => {
                let id = queue.id(number);
                tracing::error!(?id, error = %Chain(error), "outbox.entry_refused");
            }
            Err(error) => {
                tracing::debug!(error = %Chain(error), "outbox.write_failed");
                if error.outcome() == Outcome::NotApplied {
                    queue.not_applied(number);
                }
                return false;
            }
        }
        if let Some(item) = queue.settle(number) {
            self.ledger.answered(Ticket::of(&item.capture), Some(answer));
        }
        true
    }

    /// Waits after a failure; not when somebody waits for the outbox to be empty.
    async fn pause(&self, failures: u32) {
        let delay = self.policy.backoff.delay(failures, unit(self.ids.entropy()));
        tokio::select! {
            () = sleep(delay) => {}
            () = self.hurry.notified() => {}
            () = self.stop.cancelled() => {}
        }
    }
}
