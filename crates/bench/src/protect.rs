//! Figures of `protect` while all is well: what a guard adds to a call that works.

use std::{hint::black_box, sync::Arc, time::Duration};

use baldur_app::{
    CapturePolicy, CaptureService, Env, Protect,
    protect::{CallContext, CallFailure, ConcurrencyPolicy},
};
use baldur_core::{
    Clock as _, NewFailedOp, SystemClock,
    name::{Namespace, WorkerName},
};
use baldur_memory::MemoryStore;
use tokio::time::timeout;

use crate::{
    args::{Args, Plan},
    figures::{Figure, Rounds, micros_each, per_second},
    ours::Failure,
};

pub(crate) const PART: &str = "protect";
const AGAINST: &str = "the bare call, with its timeout and two clock reads";
const CALLS: usize = 200_000;
const TASKS: usize = 64;

/// All figures of guards.
pub(crate) async fn run(args: &Args, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    if args.wants("a call through a closed breaker") {
        figures.push(one_by_one(plan).await?);
    }
    if args.wants("the same with a concurrency limit and its context made") {
        figures.push(with_everything(plan).await?);
    }
    if args.wants("calls of 64 tasks through one guard") {
        figures.push(together(plan).await?);
    }
    Ok(figures)
}

fn guard(concurrency: Option<ConcurrencyPolicy>) -> Result<Protect, Failure> {
    let namespace = Namespace::default_namespace();
    let store = MemoryStore::new(namespace.clone(), Arc::new(SystemClock));
    let env = Env::system(namespace, WorkerName::parse("bench")?);
    let capture = CaptureService::new(Arc::new(store), env, CapturePolicy::default());
    let builder = Protect::builder("gateway", capture);
    Ok(match concurrency {
        Some(concurrency) => builder.concurrency(concurrency).build()?,
        None => builder.build()?,
    })
}

fn context() -> NewFailedOp {
    NewFailedOp::new("payment", "TIMEOUT").request_data(r#"{"amount": 1999}"#)
}

/// What is called: an answer that is there already, so that everything else shows.
#[expect(clippy::unused_async, reason = "what is measured awaits it")]
async fn answer(number: u32) -> Result<u32, CallFailure> {
    Ok(black_box(number))
}

async fn bare(limit: Duration) -> Result<u32, Failure> {
    let begun = SystemClock.mono();
    let answer = timeout(limit, answer(1)).await??;
    black_box(SystemClock.mono().saturating_sub(begun));
    Ok(answer)
}

async fn protected(guard: &Protect) -> Result<u32, Failure> {
    let guarded = guard.operation(context).run(|attempt| answer(attempt.number())).await?;
    Ok(guarded.value)
}

async fn bare_calls(limit: Duration, count: usize) -> Result<Duration, Failure> {
    let begun = SystemClock.mono();
    for _ in 0..count {
        black_box(bare(limit).await?);
    }
    Ok(SystemClock.mono().saturating_sub(begun))
}

async fn protected_calls(guard: &Protect, count: usize) -> Result<Duration, Failure> {
    let begun = SystemClock.mono();
    for _ in 0..count {
        black_box(protected(guard).await?);
    }
    Ok(SystemClock.mono().saturating_sub(begun))
}

async fn one_by_one(plan: &Plan) -> Result<Figure, Failure> {
    let mut rounds = Rounds::time(PART, "a call through a closed breaker", AGAINST).target(1.5);
    let guard = guard(None)?;
    let limit = guard.policy().timeout;
    for _ in 0..plan.rounds {
        let ours = protected_calls(&guard, CALLS).await?;
        let least = bare_calls(limit, CALLS).await?;
        rounds.add(micros_each(CALLS, ours), micros_each(CALLS, least));
    }
    Ok(rounds.done())
}

async fn with_everything(plan: &Plan) -> Result<Figure, Failure> {
    let name = "the same with a concurrency limit and its context made";
    let mut rounds = Rounds::time(PART, name, AGAINST);
    let guard = guard(Some(ConcurrencyPolicy::default()))?;
    let limit = guard.policy().timeout;
    for _ in 0..plan.rounds {
        let begun = SystemClock.mono();
        for _ in 0..CALLS {
            let call = |_, number| answer(number);
            black_box(guard.call(CallContext::new(context()), call).await?);
        }
        let ours = SystemClock.mono().saturating_sub(begun);
        let least = bare_calls(limit, CALLS).await?;
        rounds.add(micros_each(CALLS, ours), micros_each(CALLS, least));
    }
    Ok(rounds.done())
}

/// All tasks ask one breaker, on as many threads as there are processors.
async fn together(plan: &Plan) -> Result<Figure, Failure> {
    let mut rounds = Rounds::rate(PART, "calls of 64 tasks through one guard", AGAINST);
    let guard = guard(None)?;
    let limit = guard.policy().timeout;
    let share = CALLS / TASKS;
    for _ in 0..plan.rounds {
        let begun = SystemClock.mono();
        let ours = tasks(|| {
            let guard = guard.clone();
            async move { protected_calls(&guard, share).await }
        });
        ours.await?;
        let ours = SystemClock.mono().saturating_sub(begun);
        let begun = SystemClock.mono();
        tasks(|| bare_calls(limit, share)).await?;
        let least = SystemClock.mono().saturating_sub(begun);
        rounds.add(per_second(CALLS, ours), per_second(CALLS, least));
    }
    Ok(rounds.done())
}

async fn tasks<F>(work: impl Fn() -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<Duration, Failure>> + Send + 'static,
{
    let running: Vec<_> = (0..TASKS).map(|_| tokio::spawn(work())).collect();
    for task in running {
        task.await??;
    }
    Ok(())
}
