//! Async capture: captures wait in bounded memory and are written in groups.

mod close;
mod policy;
mod pressure;
mod queue;
mod worker;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use baldur_core::{
    BackendError, BackendKind, EntryId, IdGen,
    command::Capture,
    port::{CaptureError, CaptureStore, Captured, Disposition, Durability},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

pub use close::CloseReport;
pub use policy::{AlarmPolicy, OutboxPolicy, WhenOutboxFull, bytes_of};
pub use pressure::{Alarm, DropRate};
use pressure::{Load, Pressure};
use queue::Queue;

use crate::{
    Env,
    ledger::{Account, Balance, Counted, DropReason, Ledger, RejectReason},
    range::LONGEST_WAIT,
};

type Answer = Result<Captured, CaptureError>;

/// A bounded queue in memory, before a store. Cheap to clone.
///
/// - [`put`](Self::put) answers at once with [`Durability::Queued`]: a crash may lose such a capture, a shutdown that is given its time doesn't.
/// - A task writes what waits in groups, in the order in which it came. What fails is repeated, before anything else, until the store took or
///   refused it; a capture is idempotent by its id. A refusal after the answer is logged, and counted as rejected.
/// - If that task ends by a fault, it is started again, and what was under way is repeated. Meanwhile `put` goes on.
/// - Entries and bytes are bounded, those under way included. [`WhenOutboxFull`] says what a full outbox does.
/// - Every capture is counted in the ledger. What was spooled, refused or dropped is never counted as stored.
///
/// Dropping the last clone lets the task write what is left; [`close`](Self::close) waits for that, and tells what became of it.
/// A forked child process has no such task: open Baldur after a fork, never before.
#[derive(Clone)]
pub struct Outbox {
    owner: Arc<Owner>,
}

/// What the clones share, and the task doesn't.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    pressure: Mutex<Pressure>,
    inner: Arc<dyn CaptureStore>,
    overflow: Arc<dyn CaptureStore>,
    /// The same, for captures that were not counted yet.
    past: Counted,
    ledger: Ledger,
    policy: OutboxPolicy,
    ids: Arc<dyn IdGen>,
    /// Tells the worker of captures.
    work: Notify,
    /// Tells the worker that somebody waits for it.
    hurry: Notify,
    /// Tells those who wait that captures were settled.
    settled: Notify,
    stop: CancellationToken,
    restarts: AtomicU64,
}

/// The state of an outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxStatus {
    /// How many captures it holds, those under way included.
    pub entries: usize,
    /// How many bytes they have.
    pub bytes: u64,
    /// How many of them are under way.
    pub under_way: usize,
    /// How long the oldest has been there; zero when there is none.
    pub oldest: Duration,
    /// What found no room within the last minute, by domain.
    pub rates: Vec<DropRate>,
    /// The alarms that are raised.
    pub alarms: Vec<Alarm>,
    /// How often its task ended by a fault.
    pub restarts: u64,
    /// Whether it was closed.
    pub closed: bool,
}

/// Captures were not written in time. They are still in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{left} captures were not written within {within:?}")]
pub struct FlushTimeout {
    /// How many captures are left.
    pub left: usize,
    /// How long was waited.
    pub within: Duration,
}

/// What becomes of a capture.
enum Taken {
    Answered(Answer),
    /// There is no room: it goes past the queue.
    Past(Box<Capture>),
    /// There is no room: it waits for some.
    Wait(Box<Capture>, Duration),
}

impl Outbox {
    /// An outbox before `inner`, and its task in the current runtime. `overflow` takes what a full outbox sends past itself, and what is left
    /// when it closes: the durable form of a [`SpoolingStore`](crate::SpoolingStore), or `inner` without a spool. Neither may count in
    /// `ledger`: the outbox does.
    ///
    /// # Errors
    ///
    /// When a value of the policy is out of its range.
    pub fn start(
        inner: Arc<dyn CaptureStore>,
        overflow: Arc<dyn CaptureStore>,
        ledger: Ledger,
        env: &Env,
        policy: OutboxPolicy,
    ) -> Result<Self, String> {
        policy.check()?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            pressure: Mutex::default(),
            inner,
            past: Counted::new(Arc::clone(&overflow), ledger.clone()),
            overflow,
            ledger,
            policy,
            ids: Arc::clone(&env.ids),
            work: Notify::new(),
            hurry: Notify::new(),
            settled: Notify::new(),
            stop: CancellationToken::new(),
            restarts: AtomicU64::new(0),
        });
        tokio::spawn(worker::supervise(Arc::clone(&shared)));
        Ok(Self { owner: Arc::new(Owner { shared }) })
    }

    /// Takes captures, and answers each: queued, or what happened instead because there was no room.
    ///
    /// Waits only where the policy says so, for all captures together as long as for one; dropping the future then leaves what was queued before.
    ///
    /// # Errors
    ///
    /// Each by itself: [`BackendKind::Full`] when the policy refused or dropped it, [`BackendKind::Closed`] after `close`; and those
    /// of the store with [`WhenOutboxFull::Spool`].
    pub async fn put(&self, captures: Vec<Capture>) -> Vec<Answer> {
        let shared = self.shared();
        // All captures of a call wait together, and no longer than one.
        let started = Instant::now();
        let mut answers: Vec<Option<Answer>> = captures.iter().map(|_| None).collect();
        let mut past: Vec<(usize, Capture)> = Vec::new();
        for (at, capture) in captures.into_iter().enumerate() {
            if !past.is_empty() {
                // Behind one that goes past the outbox nothing is queued: it may have the same order key.
                shared.pressure().offered(&capture.op.domain);
                past.push((at, capture));
                continue;
            }
            match shared.take(capture) {
                Taken::Answered(answer) => answers[at] = Some(answer),
                Taken::Past(capture) => past.push((at, *capture)),
                Taken::Wait(capture, wait) => {
                    answers[at] = Some(shared.take_when_room(*capture, started + wait).await);
                }
            }
        }
        shared.work.notify_one();
        shared.send_past(past, &mut answers).await;
        answers.into_iter().map(|answer| answer.unwrap_or_else(|| Err(silent()))).collect()
    }

    /// The state now.
    pub fn status(&self) -> OutboxStatus {
        let shared = self.shared();
        let (load, under_way, closed) = {
            let queue = shared.queue();
            (load(&queue), queue.under_way(), queue.closed)
        };
        let mut pressure = shared.pressure();
        OutboxStatus {
            entries: load.entries,
            bytes: load.bytes,
            under_way,
            oldest: load.oldest,
            rates: pressure.rates(),
            alarms: pressure.raised(),
            restarts: shared.restarts.load(Ordering::Relaxed),
            closed,
        }
    }

    /// The limits.
    pub fn policy(&self) -> &OutboxPolicy {
        &self.shared().policy
    }

    /// Waits until everything that was put before is stored, spooled or refused.
    ///
    /// # Errors
    ///
    /// When that takes longer than `within`.
    pub async fn flush(&self, within: Duration) -> Result<(), FlushTimeout> {
        let shared = self.shared();
        let until = Instant::now() + within.min(LONGEST_WAIT);
        let number = shared.queue().hurry();
        shared.work.notify_one();
        shared.hurry.notify_one();
        loop {
            let settled = shared.settled.notified();
            if shared.queue().settled_below(number) {
                return Ok(());
            }
            if timeout_at(until, settled).await.is_err() {
                let left = shared.queue().len();
                return Err(FlushTimeout { left, within });
            }
        }
    }

    /// Takes nothing more, writes what is left, and has what could not be written in three quarters of the time spooled in the rest of it. Reports
    /// what could not be kept. May be called again.
    pub async fn close(&self, within: Duration) -> CloseReport {
        close::close(self.shared(), within).await
    }

    /// Waits until nothing with an order key of these captures is in the outbox any more, so that they may go another way.
    ///
    /// # Errors
    ///
    /// Answers for all of them, when that takes longer than [`OutboxPolicy::spool_wait`].
    pub(crate) async fn passed(&self, captures: &[Capture]) -> Result<(), Vec<Answer>> {
        let shared = self.shared();
        let blocked = {
            let queue = shared.queue();
            !queue.is_empty() && captures.iter().any(|capture| queue.holds_key_of(capture))
        };
        if !blocked || self.flush(shared.policy.spool_wait).await.is_ok() {
            return Ok(());
        }
        let busy = RejectReason::Backend(BackendKind::Busy);
        let refuse = |_: &Capture| {
            shared.ledger.offer(Account::Rejected(busy), 1);
            Err(blocked_key())
        };
        Err(captures.iter().map(refuse).collect())
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.work.notify_one();
    }
}

impl Shared {
    /// Queues a capture, or says what becomes of it.
    fn take(&self, capture: Capture) -> Taken {
        self.pressure().offered(&capture.op.domain);
        let mut queue = self.queue();
        if queue.closed {
            self.ledger.offer(Account::Rejected(RejectReason::Closed), 1);
            return Taken::Answered(Err(closed()));
        }
        let bytes = bytes_of(&capture);
        if self.policy.when_full == WhenOutboxFull::DropOldest {
            self.make_room(&mut queue, bytes);
        }
        if queue.has_room(bytes, &self.policy) {
            return Taken::Answered(Ok(self.push(&mut queue, capture)));
        }
        match self.policy.when_full {
            WhenOutboxFull::Spool if queue.holds_key_of(&capture) => {
                Taken::Wait(Box::new(capture), self.policy.spool_wait)
            }
            WhenOutboxFull::Spool => Taken::Past(Box::new(capture)),
            WhenOutboxFull::Wait { timeout } => Taken::Wait(Box::new(capture), timeout),
            WhenOutboxFull::Reject => Taken::Answered(Err(self.reject(&capture))),
            // With the oldest to go, this is a capture that finds no room even so.
            WhenOutboxFull::DropNewest | WhenOutboxFull::DropOldest => {
                self.pressure().dropped(&capture.op.domain);
                self.ledger.offer(Account::Dropped(DropReason::Newest, &capture.op.domain), 1);
                Taken::Answered(Err(full().into()))
            }
        }
    }

    fn push(&self, queue: &mut Queue, capture: Capture) -> Captured {
        let id = capture.op.id;
        // Counted under the lock of the queue, so that the worker can't count it as under way before.
        self.ledger.offer(Account::Queued, 1);
        queue.push(capture);
        queued(id)
    }

    fn make_room(&self, queue: &mut Queue, bytes: u64) {
        if !queue.could_have_room(bytes, &self.policy) {
            return;
        }
        while !queue.has_room(bytes, &self.policy)
            && let Some(item) = queue.drop_oldest()
        {
            let domain = &item.capture.op.domain;
            self.pressure().dropped(domain);
            let dropped = Account::Dropped(DropReason::Oldest, domain);
            self.ledger.transfer(Balance::Queued, dropped, 1);
            tracing::debug!(id = %item.capture.op.id, %domain, "outbox.oldest_dropped");
        }
    }

    fn reject(&self, capture: &Capture) -> CaptureError {
        self.pressure().dropped(&capture.op.domain);
        self.ledger.offer(Account::Rejected(RejectReason::OutboxFull), 1);
        full().retryable().into()
    }

    async fn take_when_room(&self, capture: Capture, until: Instant) -> Answer {
        let bytes = bytes_of(&capture);
        // Room comes sooner when nothing lingers.
        self.queue().hurry();
        self.work.notify_one();
        loop {
            let settled = self.settled.notified();
            {
                let mut queue = self.queue();
                if queue.closed {
                    self.ledger.offer(Account::Rejected(RejectReason::Closed), 1);
                    return Err(closed());
                }
                if queue.has_room(bytes, &self.policy) {
                    return Ok(self.push(&mut queue, capture));
                }
            }
            if timeout_at(until, settled).await.is_err() {
                return Err(self.reject(&capture));
            }
        }
    }

    /// Sends captures past the queue, in order. Where others with their order key are in it, they wait for room behind those.
    async fn send_past(&self, past: Vec<(usize, Capture)>, answers: &mut [Option<Answer>]) {
        if past.is_empty() {
            return;
        }
        let (behind, past): (Vec<_>, Vec<_>) = {
            let queue = self.queue();
            past.into_iter().partition(|(_, capture)| queue.holds_key_of(capture))
        };
        let (places, captures): (Vec<usize>, Vec<Capture>) = past.into_iter().unzip();
        if !captures.is_empty() {
            let call = self.past.capture_batch(captures);
            let said = timeout(self.policy.write_timeout, call).await.unwrap_or_default();
            let mut said = said.into_iter();
            for at in places {
                answers[at] = Some(said.next().unwrap_or_else(|| Err(silent())));
            }
        }
        let until = Instant::now() + self.policy.spool_wait;
        for (at, capture) in behind {
            answers[at] = Some(self.take_when_room(capture, until).await);
        }
    }

    fn look(&self) {
        let load = load(&self.queue());
        self.pressure().look(load, &self.policy);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No step panics half-way: a poisoned queue is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pressure(&self) -> MutexGuard<'_, Pressure> {
        self.pressure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(queue: &Queue) -> Load {
    let oldest = queue.oldest().map(|since| since.elapsed()).unwrap_or_default();
    Load { entries: queue.len(), bytes: queue.bytes(), oldest }
}

fn queued(id: EntryId) -> Captured {
    Captured::new(id, Durability::Queued, 1, Disposition::New)
}

fn full() -> BackendError {
    BackendError::new("outbox", "queue a capture", BackendKind::Full).not_applied()
}

fn closed() -> CaptureError {
    BackendError::new("outbox", "queue a capture", BackendKind::Closed).not_applied().into()
}

fn blocked_key() -> CaptureError {
    let error = BackendError::new("outbox", "write earlier captures", BackendKind::Busy);
    error.not_applied().retryable().into()
}

fn silent() -> CaptureError {
    let error = BackendError::new("store", "capture past the outbox", BackendKind::Timeout);
    error.retryable().into()
}
