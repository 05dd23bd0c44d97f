//! Writes that wait at the same time and are committed together.
//!
//! Each kind has its queue. While the writers are busy the queue fills, and the next transaction takes along what is
//! there; a lonely write waits for nobody. Small transactions of one kind are few at a time: what they cost is mostly
//! their round trips and their commit, so that few that take more along do more than many that take less.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use baldur_core::{BackendError, BackendKind};
use tokio::{
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::{
    Acting, Answers, Capturing, Engine, Extending, Importing, Settling, Work,
    engine::{busy, fail_all},
    fold,
};
use crate::error::{BACKEND, closed};

/// So many transactions of a kind run at a time, however few rows they have.
const FEW: usize = 1;

/// So many rows are worth one more.
const ENOUGH: usize = 64;

/// One that takes longer waits for a lock or for the network; others don't wait for it.
const PATIENCE: Duration = Duration::from_millis(20);

/// The write of one caller, and where its answers go.
struct Waiting<W: Work> {
    items: Vec<W::Item>,
    /// When the caller is to be answered at the latest.
    end: Instant,
    reply: oneshot::Sender<Answers<W>>,
}

/// The queue of one kind of write.
pub(crate) struct Queue<W: Work> {
    sender: mpsc::Sender<Waiting<W>>,
    kind: PhantomData<fn() -> W>,
}

impl<W: Work> Queue<W> {
    fn start(engine: &Arc<Engine>, end: &End) -> Self {
        let (sender, waiting) = mpsc::channel(engine.config.queue);
        tokio::spawn(serve(Arc::clone(engine), waiting, end.clone()));
        Self { sender, kind: PhantomData }
    }

    /// Sends items to the writers and waits for the answers, one for each.
    pub(crate) async fn submit(&self, engine: &Engine, items: Vec<W::Item>) -> Answers<W> {
        let asked = items.len();
        if asked == 0 {
            return Vec::new();
        }
        let end = engine.end();
        let (reply, answers) = oneshot::channel();
        let limit = engine.config.acquire_timeout.min(engine.config.answer_timeout);
        let sent = self.sender.send_timeout(Waiting { items, end, reply }, limit);
        let error: BackendError = match sent.await {
            Ok(()) => match timeout_at(end + GRACE, answers).await {
                Ok(Ok(answers)) => return answers,
                // The task of the writer panicked or was ended with its runtime.
                Ok(Err(gone)) => lost(W::OPERATION).because(gone),
                // It shares a transaction with some that came later, and that goes on.
                Err(_) => {
                    BackendError::new(BACKEND, W::OPERATION, BackendKind::Timeout).retryable()
                }
            },
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => busy(W::OPERATION),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => closed(W::OPERATION),
        };
        fail_all::<W>(asked, &error)
    }
}

/// How long a caller waits for a writer to say that it had no time, since that answer says more.
const GRACE: Duration = Duration::from_millis(200);

fn lost(operation: &'static str) -> BackendError {
    BackendError::new(BACKEND, operation, BackendKind::Unavailable).retryable()
}

/// How the tasks of a store learn that they are to end, and tell that they have.
#[derive(Clone)]
pub(super) struct End {
    /// Changes, or loses its sender, when the store closes or goes.
    pub(super) closing: watch::Receiver<bool>,
    /// Held by each task until it ends.
    _running: mpsc::Sender<()>,
}

/// Serves a queue until the store closes, or everyone who could ask has gone; what is queued then is still done.
async fn serve<W: Work>(
    engine: Arc<Engine>,
    mut waiting: mpsc::Receiver<Waiting<W>>,
    mut end: End,
) {
    let mut closing = false;
    let mut running = JoinSet::new();
    loop {
        let first = tokio::select! {
            biased;
            _ = end.closing.changed(), if !closing => {
                closing = true;
                waiting.close();
                continue;
            }
            first = waiting.recv() => first,
        };
        let Some(first) = first else { break };
        let first_end = first.end;
        let mut group = Group::of(first);
        turn(&mut group, &mut waiting, &mut running).await;
        let permit = timeout_at(first_end, Arc::clone(&engine.writers).acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            for Waiting { items, end: _, reply } in group.waiting {
                // Who went away does not hear it.
                let _ = reply.send(fail_all::<W>(items.len(), &busy(W::OPERATION)));
            }
            continue;
        };
        group.gather(&mut waiting, engine.config.max_rows_per_commit).await;
        let engine = Arc::clone(&engine);
        running.spawn(async move {
            run(&engine, group.waiting).await;
            drop(permit);
        });
    }
    // Dropped, it would end what runs.
    while running.join_next().await.is_some() {}
}

/// Waits a little until few transactions run, or there are enough rows for one more, and takes along what comes
/// meanwhile.
async fn turn<W: Work>(
    group: &mut Group<W>,
    waiting: &mut mpsc::Receiver<Waiting<W>>,
    running: &mut JoinSet<()>,
) {
    while running.try_join_next().is_some() {}
    let patience = sleep_until(Instant::now() + PATIENCE);
    tokio::pin!(patience);
    while running.len() >= FEW && group.rows < ENOUGH {
        tokio::select! {
            next = waiting.recv() => match next {
                Some(next) => group.push(next),
                None => return,
            },
            _ = running.join_next() => {}
            () = &mut patience => return,
        }
    }
}

/// Writes that are done together.
struct Group<W: Work> {
    waiting: Vec<Waiting<W>>,
    rows: usize,
}

impl<W: Work> Group<W> {
    fn of(first: Waiting<W>) -> Self {
        Self { rows: first.items.len(), waiting: vec![first] }
    }

    fn push(&mut self, next: Waiting<W>) {
        self.rows += next.items.len();
        self.waiting.push(next);
    }

    /// Takes along what is queued. Yields while that brings more: callers that were just answered often ask again.
    async fn gather(&mut self, queue: &mut mpsc::Receiver<Waiting<W>>, max_rows: usize) {
        loop {
            let before = self.rows;
            while self.rows < max_rows
                && let Ok(next) = queue.try_recv()
            {
                self.push(next);
            }
            if self.rows == before || self.rows >= max_rows {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn run<W: Work>(engine: &Arc<Engine>, group: Vec<Waiting<W>>) {
    let mut items = Vec::with_capacity(group.iter().map(|waiting| waiting.items.len()).sum());
    let mut callers = Vec::with_capacity(group.len());
    // Who came last has the most time left; the others don't wait for it.
    let end = group.iter().map(|waiting| waiting.end).max().unwrap_or_else(|| engine.end());
    for waiting in group {
        callers.push((waiting.items.len(), waiting.reply));
        items.extend(waiting.items);
    }
    let mut answers = engine.write::<W>(&items, end).await.into_iter();
    for (asked, reply) in callers {
        // Who went away does not hear it; what was done stays done.
        let _ = reply.send(answers.by_ref().take(asked).collect());
    }
}

/// The queues of those kinds that share transactions.
pub(crate) struct Queues {
    pub(crate) capture: Queue<Capturing>,
    pub(crate) import: Queue<Importing>,
    pub(crate) extend: Queue<Extending>,
    pub(crate) settle: Queue<Settling>,
    pub(crate) act: Queue<Acting>,
    closing: watch::Sender<bool>,
    /// Ends when all tasks have.
    running: Mutex<mpsc::Receiver<()>>,
}

impl Queues {
    /// Starts a task for each.
    pub(crate) fn start(engine: &Arc<Engine>) -> Self {
        let (closing, told) = watch::channel(false);
        let (alive, running) = mpsc::channel(1);
        let end = End { closing: told, _running: alive };
        tokio::spawn(fold::run(Arc::clone(engine), end.clone()));
        Self {
            capture: Queue::start(engine, &end),
            import: Queue::start(engine, &end),
            extend: Queue::start(engine, &end),
            settle: Queue::start(engine, &end),
            act: Queue::start(engine, &end),
            closing,
            running: Mutex::new(running),
        }
    }

    /// Takes no more, and waits until what was taken is being written.
    pub(crate) async fn close(&self, limit: Duration) {
        self.closing.send_replace(true);
        // Nobody ever sends: this ends with the last task.
        let ended = async { self.running.lock().await.recv().await };
        let _ = timeout(limit, ended).await;
    }
}
