//! Bringing the spool back into the store: in order, idempotently, and at a pace that a recovering store can take.

mod batch;
mod pace;
mod suspect;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use baldur_core::{
    Chain, Clock, EntryId, IdGen,
    command::Capture,
    port::{SpoolError, SpoolPosition},
};
use futures_util::future::BoxFuture;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

pub use pace::DrainPolicy;
use pace::Pace;
use suspect::Suspect;

use crate::{
    Env,
    env::unit,
    ledger::{Landing, Ledger},
    metrics,
    range::LONGEST_WAIT,
    spooling::{Parts, SpoolingStore},
};

/// Completes a spooled capture before the store gets it: what a spool doesn't keep, such as the limits of an overflow policy.
///
/// Limits that refuse are taken away again: whoever captured has its acknowledgement.
pub type Finish = Arc<dyn Fn(&mut Capture) + Send + Sync>;

/// Looks for lanes whose process died, takes them over, and says how many records they hold.
pub type Adopt = Arc<dyn Fn() -> BoxFuture<'static, Result<u64, SpoolError>> + Send + Sync>;

/// What a host adds to draining.
#[derive(Clone, Default)]
pub struct DrainHooks {
    /// See [`Finish`].
    pub finish: Option<Finish>,
    /// See [`Adopt`].
    pub adopt: Option<Adopt>,
}

impl fmt::Debug for DrainHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainHooks")
            .field("finish", &self.finish.is_some())
            .field("adopt", &self.adopt.is_some())
            .finish()
    }
}

/// A task that moves the records of a spool into the store.
///
/// - One batch after the other: read the oldest records of a lane, have the store keep them, remove them. Whatever is interrupted in
///   between is done again, and the store knows the ids.
/// - Records of one lane keep their order: behind a record that the store can't take now, nothing is removed.
/// - A record that the store refuses for good is put aside, and reported.
/// - A record at which the store fails while it takes others is put aside, too, once that has gone on for
///   [`DrainPolicy::park_attempts`] and [`DrainPolicy::park_after`]. Until then its lane waits, and callers' captures don't.
/// - Delays count from when a capture was spooled: the time in the spool is taken off.
/// - If the task ends by a fault, it is started again.
///
/// Dropping it stops it; what is left stays in the spool.
#[derive(Debug)]
pub struct Drainer {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    parts: Arc<Parts>,
    ledger: Ledger,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdGen>,
    policy: DrainPolicy,
    hooks: DrainHooks,
    /// Held while lanes are taken over.
    adopting: Arc<tokio::sync::Mutex<()>>,
    stop: CancellationToken,
    status: Mutex<DrainStatus>,
    /// Records that left the spool before their appends were answered.
    late: Mutex<Vec<(EntryId, Landing)>>,
    /// Records that the spool was told to remove, without an answer, each group with its last one.
    leaving: Mutex<Vec<Leaving>>,
    /// The record that the store failed at last, if it is the oldest yet.
    suspect: Mutex<Option<Suspect>>,
    /// Told after every batch.
    moved: Notify,
    /// Somebody waits for the spool to be empty.
    hurry: Notify,
    restarts: AtomicU64,
}

/// What a drainer does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainStatus {
    /// How many records it has brought to the store.
    pub drained: u64,
    /// How many records it put aside, because the store refused them for good.
    pub set_aside: u64,
    /// How many records it put aside, because the store failed at them while it took others.
    pub parked: u64,
    /// How many batches failed in a row.
    pub failures: u32,
    /// The last failure, while it lasts.
    pub trouble: Option<String>,
    /// How many records the next batch has at most.
    pub batch: usize,
    /// How often its task ended by a fault.
    pub restarts: u64,
}

/// Records up to and including a position, and where they went.
type Leaving = (SpoolPosition, Vec<(EntryId, Landing)>);

/// How a batch ended.
enum Step {
    /// There was nothing to do.
    Idle,
    /// Records were moved, in so much time.
    Moved(Duration),
    /// The store or the spool failed.
    Failed(String),
}

impl Drainer {
    /// Starts draining the spool of `store`, as a task of the current runtime. Records that wait in it already are counted as recovered, so start it
    /// before the first capture.
    ///
    /// # Errors
    ///
    /// When a value of the policy is out of its range.
    pub fn start(
        store: &SpoolingStore,
        ledger: Ledger,
        env: &Env,
        policy: DrainPolicy,
        hooks: DrainHooks,
    ) -> Result<Self, String> {
        policy.check()?;
        let parts = store.parts();
        ledger.watches_spool();
        ledger.recovered(parts.spool.status().records);
        let status = DrainStatus { batch: policy.first_batch, ..DrainStatus::default() };
        let shared = Arc::new(Shared {
            parts,
            ledger,
            clock: Arc::clone(&env.clock),
            ids: Arc::clone(&env.ids),
            policy,
            hooks,
            adopting: Arc::default(),
            stop: CancellationToken::new(),
            status: Mutex::new(status),
            late: Mutex::default(),
            leaving: Mutex::default(),
            suspect: Mutex::default(),
            moved: Notify::new(),
            hurry: Notify::new(),
            restarts: AtomicU64::new(0),
        });
        let task = tokio::spawn(supervise(Arc::clone(&shared)));
        Ok(Self { shared, task: Mutex::new(Some(task)) })
    }

    /// What it does.
    pub fn status(&self) -> DrainStatus {
        let mut status = self.shared.status().clone();
        status.restarts = self.shared.restarts.load(Ordering::Relaxed);
        status
    }

    /// Waits until the spool is empty, at most `within`. Returns whether it is. Ends a pause after a failure.
    pub async fn drained(&self, within: Duration) -> bool {
        let until = Instant::now() + within.min(LONGEST_WAIT);
        self.shared.hurry.notify_one();
        loop {
            let moved = self.shared.moved.notified();
            if self.shared.parts.spool.status().records == 0 {
                return true;
            }
            if timeout_at(until, moved).await.is_err() {
                return self.shared.parts.spool.status().records == 0;
            }
        }
    }

    /// Stops after the batch under way, or drops it after `within`. What is left stays in the spool.
    pub async fn stop(&self, within: Duration) {
        self.shared.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut task) = task else { return };
        if timeout(within, &mut task).await.is_err() {
            task.abort();
            tracing::warn!("drain.stopped_within_a_batch");
        }
    }
}

impl Drop for Drainer {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Starts the work again when it ends by a fault.
async fn supervise(shared: Arc<Shared>) {
    let mut attempt = 0;
    while !shared.stop.is_cancelled() {
        // Aborted with the supervisor: a task of its own would go on.
        let work = tokio::spawn(Arc::clone(&shared).work());
        let work = tokio_util::task::AbortOnDropHandle::new(work);
        let Err(error) = work.await else { return };
        shared.restarts.fetch_add(1, Ordering::Relaxed);
        ::metrics::counter!(metrics::WORKER_RESTARTS.name, "worker" => "drainer").increment(1);
        tracing::error!(panicked = error.is_panic(), "drain.worker_died");
        shared.pause(shared.delay(attempt)).await;
        attempt += 1;
    }
}

impl Shared {
    async fn work(self: Arc<Self>) {
        let mut pace = Pace::new(&self.policy);
        let mut adopt_at = Instant::now();
        loop {
            if Instant::now() >= adopt_at {
                self.adopt().await;
                adopt_at = Instant::now() + self.policy.adopt_every;
            }
            let step = self.step(pace.batch()).await;
            self.moved.notify_waiters();
            if self.stop.is_cancelled() {
                return;
            }
            match step {
                Step::Idle => {
                    self.note_success(&pace);
                    self.idle(adopt_at).await;
                }
                Step::Moved(took) => {
                    pace.succeeded(took);
                    self.note_success(&pace);
                    self.rest(took).await;
                }
                Step::Failed(trouble) => {
                    let failures = self.note_failure(&mut pace, trouble);
                    self.pause(self.delay(failures.saturating_sub(1))).await;
                }
            }
        }
    }

    /// Waits for records, or until it is time to look for lanes.
    async fn idle(&self, adopt_at: Instant) {
        tokio::select! {
            () = self.parts.appended.notified() => {}
            () = self.hurry.notified() => {}
            () = self.stop.cancelled() => {}
            () = sleep(self.policy.look_every) => {}
            () = tokio::time::sleep_until(adopt_at), if self.hooks.adopt.is_some() => {}
        }
    }

    /// Leaves the store to others for about as long as it was kept busy.
    async fn rest(&self, took: Duration) {
        let rest = took.mul_f64(0.5 + unit(self.ids.entropy())).min(self.policy.longest_rest);
        if rest.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::select! {
                () = sleep(rest) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Waits after a failure; less when somebody found the store well, or is waiting.
    async fn pause(&self, delay: Duration) {
        tokio::select! {
            () = sleep(delay) => {}
            () = self.parts.gate.came_up() , if !self.parts.gate.is_up() => {}
            () = self.hurry.notified() => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn delay(&self, failures: u32) -> Duration {
        self.policy.backoff.delay(failures, unit(self.ids.entropy()))
    }

    async fn adopt(&self) {
        let Some(adopt) = &self.hooks.adopt else { return };
        // One that is no longer waited for goes on, and what it takes over is counted then.
        let Ok(alone) = Arc::clone(&self.adopting).try_lock_owned() else { return };
        let (ledger, adopting) = (self.ledger.clone(), adopt());
        let adopting = tokio::spawn(async move {
            let _alone = alone;
            match adopting.await {
                Ok(0) => {}
                Ok(records) => {
                    ledger.recovered(records);
                    tracing::info!(records, "drain.lanes_adopted");
                }
                Err(error) => tracing::warn!(error = %Chain(&error), "drain.adoption_failed"),
            }
        });
        match timeout(self.policy.timeout, adopting).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %Chain(&error), "drain.adoption_failed"),
            Err(_elapsed) => tracing::warn!("drain.adoption_timed_out"),
        }
    }

    fn note_success(&self, pace: &Pace) {
        let mut status = self.status();
        status.batch = pace.batch();
        status.failures = 0;
        status.trouble = None;
    }

    fn note_failure(&self, pace: &mut Pace, trouble: String) -> u32 {
        pace.failed();
        metrics::counter(metrics::DRAIN_FAILURES, 1);
        let mut status = self.status();
        status.batch = pace.batch();
        status.failures = status.failures.saturating_add(1);
        let failures = status.failures;
        if status.trouble.as_ref() != Some(&trouble) {
            tracing::warn!(error = trouble, "drain.batch_failed");
        }
        status.trouble = Some(trouble);
        failures
    }

    fn late(&self) -> MutexGuard<'_, Vec<(EntryId, Landing)>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaving(&self) -> MutexGuard<'_, Vec<Leaving>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn suspect(&self) -> MutexGuard<'_, Option<Suspect>> {
        self.suspect.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status(&self) -> MutexGuard<'_, DrainStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
