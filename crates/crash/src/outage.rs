//! The store dies under a steady load and comes back: nothing is lost, callers hardly wait, and order keys keep their order.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use baldur_app::{CaptureMode, CaptureService, Who};
use baldur_core::{EntryId, FailedOp, NewFailedOp, port::Durability};
use tokio::{
    task::{JoinSet, block_in_place},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    Failure,
    faults::Hold,
    handling::{Book, Worker},
    look,
    place::Ground,
    reckoning::Reckoning,
    stack::{Faults, Stack},
};

/// How many callers there are, each with an order key of its own.
const CALLERS: u64 = 64;
/// How long the load runs before and after the outage.
const MARGIN: Duration = Duration::from_secs(3);

/// How many claim and settle while a server is out.
const CLAIMERS: usize = 4;
/// How long their claims last, so that those whose answers were lost run out soon.
const LEASE: Duration = Duration::from_secs(3);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) outage: Duration,
    pub(crate) per_second: u64,
    pub(crate) way: Way,
}

/// In which way the store is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
    /// Calls are kept from it, and half of them applied all the same.
    Injected,
    /// Its processes are stopped, and continued.
    Stopped,
    /// Its processes are killed, and it is started again.
    Killed,
    /// It is shut down in order, and started again.
    Restarted,
}

/// How it went.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Report {
    pub(crate) acknowledged: usize,
    pub(crate) spooled: usize,
    pub(crate) refused: usize,
    /// Acknowledged and not there.
    pub(crate) lost: usize,
    /// Claimed before an older one of its order key.
    pub(crate) out_of_order: usize,
    /// What the claimers did.
    #[serde(flatten)]
    pub(crate) reckoning: Reckoning,
    /// How long callers waited, from when their capture was due: median, 99th percentile, longest.
    pub(crate) before: Waits,
    pub(crate) during: Waits,
    pub(crate) after: Waits,
    /// How long the backlog took to drain, from the end of the outage, under the same load until it ended.
    pub(crate) drained_in_milliseconds: u128,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Waits {
    pub(crate) calls: usize,
    pub(crate) median_us: u128,
    pub(crate) p99_us: u128,
    pub(crate) longest_us: u128,
}

/// One answered call.
struct Call {
    due: Duration,
    waited: Duration,
    answer: Option<(EntryId, bool)>,
}

impl Report {
    pub(crate) fn is_good(&self) -> bool {
        self.lost == 0 && self.out_of_order == 0 && self.refused == 0 && self.reckoning.is_good()
    }

    /// The report for people.
    pub(crate) fn table(&self) -> String {
        let Self {
            acknowledged,
            spooled,
            refused,
            lost,
            out_of_order,
            reckoning,
            before,
            during,
            after,
            drained_in_milliseconds,
        } = self;
        let mut lines = vec![
            format!(
                "  {:<22}{acknowledged}, {spooled} of them spooled; {refused} refused",
                "acknowledged"
            ),
            format!("  {:<22}{lost}", "lost"),
            format!("  {:<22}{out_of_order}", "out of order"),
        ];
        lines.extend(reckoning.lines());
        for (name, waits) in [("before", before), ("during", during), ("after", after)] {
            let Waits { calls, median_us, p99_us, longest_us } = waits;
            lines.push(format!(
                "  {:<22}{calls} calls waited {median_us} µs (median), {p99_us} µs (p99), {longest_us} µs (longest)",
                format!("{name} the outage"),
            ));
        }
        lines.push(format!("  {:<22}{drained_in_milliseconds} ms after the outage", "drained"));
        lines.join("\n")
    }
}

/// Runs the load, with the outage in its middle.
pub(crate) async fn run(ground: &mut Ground, plan: Plan) -> Result<Report, Failure> {
    let faults = Faults { spool_bytes: None, hold: Hold::new(None, 0), twin: None };
    let stack = Stack::open(&ground.place, CaptureMode::Sync, faults).await?;
    let sequence = Arc::new(Sequence::default());
    let book = ground.place.dir().join("book");
    let claimers = Claimers::start(&stack, plan.way, &book, &sequence)?;
    let started = Instant::now();
    let (from, to) = (MARGIN, MARGIN + plan.outage);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(call(stack.capture.clone(), caller, plan.per_second, started, to + MARGIN));
    }
    sleep(from).await;
    out(ground, &stack, plan).await?;
    let back = Instant::now();
    let mut calls = Vec::new();
    while let Some(ended) = callers.join_next().await {
        calls.extend(ended??);
    }
    if !stack.drainer.drained(Duration::from_mins(2)).await {
        return Err("the spool was not drained within two minutes".into());
    }
    let drained_in_milliseconds = back.elapsed().as_millis();
    claimers.end().await?;
    let last = Worker::new("last", Duration::from_mins(5), 1_000)?;
    let order = |op: &FailedOp| sequence.handled(op);
    last.run(&stack.store, &Book::open(&book)?, &AtomicBool::new(false), &order).await?;
    stack.settle().await?;
    let there: BTreeSet<EntryId> = look::at(&ground.place).await?.entries.into_keys().collect();
    let answered: Vec<(EntryId, bool)> = calls.iter().filter_map(|call| call.answer).collect();
    let store = ground.place.open().await?;
    // Also those whose callers were told nothing good: they are there or not, but never twice.
    let ids: Vec<EntryId> = there.iter().copied().collect();
    let reckoning = Reckoning::of(&store, &ids, &[book]).await?;
    store.close().await;
    Ok(Report {
        acknowledged: answered.len(),
        spooled: answered.iter().filter(|(_, spooled)| *spooled).count(),
        refused: calls.len() - answered.len(),
        lost: answered.iter().filter(|(id, _)| !there.contains(id)).count(),
        out_of_order: sequence.out_of_order(),
        reckoning,
        before: waits(&calls, Duration::ZERO, from),
        during: waits(&calls, from, to),
        after: waits(&calls, to, Duration::MAX),
        drained_in_milliseconds,
    })
}

/// Takes the store away, and gives it back.
async fn out(ground: &mut Ground, stack: &Stack, plan: Plan) -> Result<(), Failure> {
    if plan.way == Way::Injected {
        stack.outage.set(true);
        sleep(plan.outage).await;
        stack.outage.set(false);
        return Ok(());
    }
    let server = ground.server()?;
    let end = Instant::now() + plan.outage;
    match plan.way {
        Way::Stopped => block_in_place(|| server.pause())?,
        Way::Killed => block_in_place(|| server.kill())?,
        // It is away only for as long as that takes.
        Way::Restarted => block_in_place(|| server.restart())?,
        Way::Injected => {}
    }
    sleep_until(end).await;
    match plan.way {
        Way::Stopped => block_in_place(|| server.resume())?,
        Way::Killed => block_in_place(|| server.start_again())?,
        Way::Restarted | Way::Injected => {}
    }
    Ok(())
}

/// Those who claim and settle beside the load.
struct Claimers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Result<(), Failure>>,
}

impl Claimers {
    /// Some for an outage of a server; an injected one concerns captures only.
    fn start(
        stack: &Stack,
        way: Way,
        book: &Path,
        sequence: &Arc<Sequence>,
    ) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let book = Arc::new(Book::open(book)?);
        let claimers = if way == Way::Injected { 0 } else { CLAIMERS };
        for n in 0..claimers {
            let worker = Worker::new(&format!("claimer-{n}"), LEASE, 16)?;
            let (store, book) = (stack.store.clone(), Arc::clone(&book));
            let (stop, sequence) = (Arc::clone(&stop), Arc::clone(sequence));
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let order = |op: &FailedOp| sequence.handled(op);
                    worker.run(&store, &book, &stop, &order).await?;
                }
                Ok(())
            });
        }
        Ok(Self { stop, tasks })
    }

    async fn end(mut self) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// Captures at a steady rate until `end`. A call that is late does not delay when the next is due.
async fn call(
    capture: CaptureService,
    caller: u64,
    per_second: u64,
    started: Instant,
    end: Duration,
) -> Result<Vec<Call>, Failure> {
    let who = Who::system();
    let every = Duration::from_secs(1) * u32::try_from(CALLERS)? / u32::try_from(per_second)?;
    let offset = every * u32::try_from(caller)? / u32::try_from(CALLERS)?;
    let mut ticks = tokio::time::interval_at(started + offset, every);
    let mut calls = Vec::new();
    for number in 0_u64.. {
        let due = ticks.tick().await.duration_since(started);
        if due >= end {
            break;
        }
        let mut op = NewFailedOp::new("payment", "TIMEOUT")
            .dependency("payment-gateway")
            .request_data(format!(r#"{{"caller":{caller},"number":{number}}}"#));
        op.order_key = Some(format!("caller-{caller}"));
        let answer = capture.capture(op, &who).await.ok();
        let answer = answer.map(|it| (it.id, it.durability == Durability::Spooled));
        calls.push(Call { due, waited: started.elapsed().saturating_sub(due), answer });
    }
    Ok(calls)
}

fn waits(calls: &[Call], from: Duration, to: Duration) -> Waits {
    let mut waited: Vec<u128> = calls
        .iter()
        .filter(|call| (from..to).contains(&call.due))
        .map(|call| call.waited.as_micros())
        .collect();
    waited.sort_unstable();
    let at = |percent: usize| waited.get(waited.len() * percent / 100).or(waited.last()).copied();
    Waits {
        calls: waited.len(),
        median_us: at(50).unwrap_or_default(),
        p99_us: at(99).unwrap_or_default(),
        longest_us: waited.last().copied().unwrap_or_default(),
    }
}

/// In which order the entries of each caller were handled for the first time.
#[derive(Debug, Default)]
struct Sequence(Mutex<Handled>);

#[derive(Debug, Default)]
struct Handled {
    next: BTreeMap<u64, u64>,
    out_of_order: usize,
}

impl Sequence {
    fn handled(&self, op: &FailedOp) -> Result<(), Failure> {
        #[derive(serde::Deserialize)]
        struct Request {
            caller: u64,
            number: u64,
        }
        let Request { caller, number } = serde_json::from_str(op.request_data.as_str())?;
        let mut handled = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let next = handled.next.entry(caller).or_default();
        let expected = *next;
        *next = expected.max(number + 1);
        // An earlier one comes again when its claim ran out.
        handled.out_of_order += usize::from(number > expected);
        Ok(())
    }

    fn out_of_order(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).out_of_order
    }
}
