//! The store dies under a steady load and comes back: nothing is lost, callers hardly wait, and order keys keep their order.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use baldur_app::{CaptureMode, CaptureService, Who};
use baldur_core::{
    Clock as _, EntryId, Evidence, NewFailedOp, ResolutionType, SystemClock,
    command::{ClaimBatch, ClaimSelect, ClaimTerms, Settle, SettleOutcome},
    name::{Domain, WorkerName},
    port::{ClaimStore as _, Durability},
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    Failure,
    faults::Hold,
    look,
    stack::{Faults, Stack},
};

/// How many callers there are, each with an order key of its own.
const CALLERS: u64 = 64;
/// How long the load runs before and after the outage.
const MARGIN: Duration = Duration::from_secs(3);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) outage: Duration,
    pub(crate) per_second: u64,
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
        self.lost == 0 && self.out_of_order == 0 && self.refused == 0
    }

    /// The report for people.
    pub(crate) fn table(&self) -> String {
        let Self {
            acknowledged, spooled, refused, lost, out_of_order, before, during, after, ..
        } = self;
        let mut lines = vec![
            format!(
                "  {:<22}{acknowledged}, {spooled} of them spooled; {refused} refused",
                "acknowledged"
            ),
            format!("  {:<22}{lost}", "lost"),
            format!("  {:<22}{out_of_order}", "out of order"),
        ];
        for (name, waits) in [("before", before), ("during", during), ("after", after)] {
            let Waits { calls, median_us, p99_us, longest_us } = waits;
            lines.push(format!(
                "  {:<22}{calls} calls waited {median_us} µs (median), {p99_us} µs (p99), {longest_us} µs (longest)",
                format!("{name} the outage"),
            ));
        }
        lines.push(format!(
            "  {:<22}{} ms after the outage",
            "drained", self.drained_in_milliseconds
        ));
        lines.join("\n")
    }
}

/// Runs the load, with the outage in its middle.
pub(crate) async fn run(dir: &Path, plan: Plan) -> Result<Report, Failure> {
    let faults = Faults { spool_bytes: None, hold: Hold::new(None, 0), twin: None };
    let stack = Stack::open(dir, CaptureMode::Sync, faults).await?;
    let started = Instant::now();
    let (from, to) = (MARGIN, MARGIN + plan.outage);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(call(stack.capture.clone(), caller, plan.per_second, started, to + MARGIN));
    }
    sleep(from).await;
    stack.outage.set(true);
    sleep(plan.outage).await;
    stack.outage.set(false);
    let back = Instant::now();
    let mut calls = Vec::new();
    while let Some(ended) = callers.join_next().await {
        calls.extend(ended??);
    }
    if !stack.drainer.drained(Duration::from_mins(2)).await {
        return Err("the spool was not drained within two minutes".into());
    }
    let drained_in_milliseconds = back.elapsed().as_millis();
    let out_of_order = claimed_out_of_order(&stack).await?;
    stack.settle().await?;
    let there: BTreeSet<EntryId> = look::at(dir).await?.entries.into_keys().collect();
    let answered: Vec<(EntryId, bool)> = calls.iter().filter_map(|call| call.answer).collect();
    Ok(Report {
        acknowledged: answered.len(),
        spooled: answered.iter().filter(|(_, spooled)| *spooled).count(),
        refused: calls.len() - answered.len(),
        lost: answered.iter().filter(|(id, _)| !there.contains(id)).count(),
        out_of_order,
        before: waits(&calls, Duration::ZERO, from),
        during: waits(&calls, from, to),
        after: waits(&calls, to, Duration::MAX),
        drained_in_milliseconds,
    })
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

/// Claims and settles everything, and counts the entries that came before an older one of their caller.
async fn claimed_out_of_order(stack: &Stack) -> Result<usize, Failure> {
    #[derive(serde::Deserialize)]
    struct Request {
        caller: u64,
        number: u64,
    }
    let evidence = Evidence::system(SystemClock.now());
    let terms = ClaimTerms {
        holder: WorkerName::parse("crash")?,
        lease: Duration::from_mins(5),
        force: false,
        unchanged_since: None,
        evidence: evidence.clone(),
    };
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    let mut out_of_order = 0;
    let domains = vec![Domain::parse("payment")?];
    loop {
        let select = ClaimSelect::Due { domains: domains.clone(), dependency: None, limit: 1_000 };
        let claim = ClaimBatch { select, terms: terms.clone() };
        let claimed = stack.store.claim_batch(claim).await?.claimed;
        if claimed.is_empty() {
            return Ok(out_of_order);
        }
        let mut settles = Vec::with_capacity(claimed.len());
        for claim in claimed {
            let Request { caller, number } = serde_json::from_str(claim.op.request_data.as_str())?;
            let expected = next.entry(caller).or_default();
            out_of_order += usize::from(number != *expected);
            *expected = number + 1;
            settles.push(Settle {
                id: claim.op.id,
                token: claim.op.state.claim_token,
                outcome: SettleOutcome::Succeeded { note: String::new() },
                trigger: ResolutionType::ManualRetry,
                evidence: evidence.clone(),
            });
        }
        for settled in stack.store.settle_batch(settles).await {
            settled?;
        }
    }
}
