//! Many processes with many claimers each share one store, and some are killed: each entry is settled once.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use baldur_app::{CaptureMode, Who};
use baldur_core::{EntryId, NewFailedOp, port::Durability};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep},
};

use crate::{
    Failure, PATIENCE,
    faults::Hold,
    handling::{Book, Worker},
    place::Place,
    protocol::Said,
    reckoning::Reckoning,
    stack::{Faults, Stack},
    victim::{Victim, say},
};

/// How many capture at a time before the claimers come.
const CALLERS: usize = 64;
/// About how long the two lines of an entry are.
const LINES: u64 = 2 * 47;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) entries: usize,
    pub(crate) processes: usize,
    pub(crate) claimers: usize,
    /// How many processes are killed, and replaced.
    pub(crate) kills: usize,
    pub(crate) lease: Duration,
    pub(crate) batch: usize,
}

/// How it went.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    pub(crate) reckoning: Reckoning,
    pub(crate) killed: usize,
    /// From when the first process was started until the last one found nothing to do.
    pub(crate) milliseconds: u128,
}

impl Report {
    pub(crate) fn is_good(&self) -> bool {
        // Without kills nothing keeps a worker from its heartbeat for as long as a lease.
        self.reckoning.is_good()
    }

    /// The report for people.
    pub(crate) fn table(&self) -> String {
        let Self { reckoning, killed, milliseconds } = self;
        let mut lines = reckoning.lines();
        let per_second = reckoning.entries as u128 * 1_000 / (*milliseconds).max(1);
        lines.push(format!("  {:<22}{killed}", "processes killed"));
        lines.push(format!("  {:<22}{milliseconds} ms, {per_second} entries per second", "took"));
        lines.join("\n")
    }
}

/// Captures entries, lets processes settle them, and reckons.
pub(crate) async fn run(place: &Place, plan: Plan) -> Result<Report, Failure> {
    let ids = captured(place, plan.entries).await?;
    let started = Instant::now();
    let mut books = Vec::new();
    let mut running = Vec::new();
    for _ in 0..plan.processes {
        running.push(Running::start(place, plan, &mut books).await?);
    }
    for kill in 0..plan.kills {
        // Spread evenly over the work.
        let enough = plan.entries as u64 * LINES * (kill as u64 + 1) / (plan.kills as u64 + 1);
        while written(&books)? < enough && !running.iter().all(Running::is_done) {
            sleep(Duration::from_millis(5)).await;
        }
        let victim = running.remove(kill % running.len());
        victim.kill().await?;
        running.push(Running::start(place, plan, &mut books).await?);
    }
    for process in running {
        process.ended().await?;
    }
    let milliseconds = started.elapsed().as_millis();
    let store = place.open().await?;
    let reckoning = Reckoning::of(&store, &ids, &books).await?;
    store.close().await;
    Ok(Report { reckoning, killed: plan.kills, milliseconds })
}

/// Captures so many, as hosts do.
async fn captured(place: &Place, entries: usize) -> Result<Vec<EntryId>, Failure> {
    let faults = Faults { spool_bytes: None, hold: Hold::new(None, 0), twin: None };
    let stack = Stack::open(place, CaptureMode::Sync, faults).await?;
    let left = Arc::new(AtomicU64::new(entries as u64));
    let mut callers: JoinSet<Result<Vec<EntryId>, Failure>> = JoinSet::new();
    for _ in 0..CALLERS {
        let (capture, left) = (stack.capture.clone(), Arc::clone(&left));
        callers.spawn(async move {
            let mut ids = Vec::new();
            let one_less = |left: u64| left.checked_sub(1);
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
                let op = NewFailedOp::new("payment", "TIMEOUT").dependency("payment-gateway");
                let captured = capture.capture(op, &Who::system()).await?;
                if matches!(captured.durability, Durability::Queued) {
                    return Err("a capture was only queued".into());
                }
                ids.push(captured.id);
            }
            Ok(ids)
        });
    }
    let mut ids = Vec::with_capacity(entries);
    while let Some(ended) = callers.join_next().await {
        ids.extend(ended??);
    }
    stack.settle().await?;
    Ok(ids)
}

/// How much is in the books.
fn written(books: &[PathBuf]) -> Result<u64, Failure> {
    books.iter().map(|book| Ok(std::fs::metadata(book)?.len())).sum()
}

/// A process with claimers, and who listens to it.
struct Running {
    kill: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), Failure>>,
}

impl Running {
    async fn start(place: &Place, plan: Plan, books: &mut Vec<PathBuf>) -> Result<Self, Failure> {
        let book = place.dir().join(format!("book-{}", books.len()));
        // So that it can be measured from now on.
        drop(Book::open(&book)?);
        let mut victim = Victim::claimers(place, &book, plan).await?;
        books.push(book);
        let (kill, mut killed) = oneshot::channel();
        let ended = tokio::spawn(async move {
            loop {
                tokio::select! {
                    said = victim.next() => match said? {
                        Some(Said::Settled) => return victim.ended().await,
                        Some(Said::Failed(why)) => return Err(why.into()),
                        Some(_) => {}
                        None => return Err("claimers ended before they were done".into()),
                    },
                    Ok(()) = &mut killed => return victim.kill().await.map(drop),
                }
            }
        });
        Ok(Self { kill, ended })
    }

    fn is_done(&self) -> bool {
        self.ended.is_finished()
    }

    async fn kill(self) -> Result<(), Failure> {
        // It fails only when the process ended before, and then well or with the reason.
        let _ = self.kill.send(());
        self.ended.await?
    }

    async fn ended(self) -> Result<(), Failure> {
        let Self { kill, ended } = self;
        let result = ended.await?;
        drop(kill);
        result
    }
}

/// What the process of claimers does.
pub(crate) async fn claim(place: &Place, book: &Path, plan: Plan) -> Result<(), Failure> {
    let store = place.open().await?;
    let book = Arc::new(Book::open(book)?);
    say(&Said::Ready);
    let stop = Arc::new(AtomicBool::new(false));
    let handled = Arc::new(AtomicU64::new(0));
    let mut claimers: JoinSet<Result<(), Failure>> = JoinSet::new();
    for claimer in 0..plan.claimers {
        let name = format!("claimer-{}-{claimer}", std::process::id());
        let worker = Worker::new(&name, plan.lease, plan.batch)?;
        let (store, book) = (store.clone(), Arc::clone(&book));
        let (stop, handled) = (Arc::clone(&stop), Arc::clone(&handled));
        claimers.spawn(async move {
            let count = |_: &_| {
                handled.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            worker.run(&store, &book, &stop, &count).await
        });
    }
    let mut signs = tokio::time::interval(PATIENCE / 10);
    loop {
        tokio::select! {
            ended = claimers.join_next() => match ended {
                Some(ended) => ended??,
                None => break,
            },
            // Who is silent for long is taken for stuck.
            _ = signs.tick() => say(&Said::Flushed(handled.load(Ordering::Relaxed))),
        }
    }
    store.close().await;
    Ok(())
}
