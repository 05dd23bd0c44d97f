//! Figures of the memory store.

use std::sync::Arc;

use baldur_core::{Clock as _, Filter, PageSize, SystemClock, name::Namespace};
use baldur_memory::MemoryStore;

use crate::{
    args::{Args, Plan},
    figures::{Figure, Rounds, micros_each, per_second},
    floor::Floor,
    load::Load,
    ours::{Failure, Ports},
};

const STORE: &str = "memory";
const AGAINST: &str = "a map behind a lock";
const BATCH: usize = 500;
const CLIENTS: usize = 64;
const READS: usize = 200;

fn fresh() -> Ports {
    Ports::of(&MemoryStore::new(Namespace::default_namespace(), Arc::new(SystemClock)))
}

/// All figures of this store.
pub(crate) async fn run(args: &Args, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    if args.wants("capture") {
        figures.extend(capture(plan).await?);
    }
    if args.wants("claim") {
        figures.push(claim_and_settle(plan).await?);
    }
    if args.wants("list") {
        for size in &plan.sizes {
            figures.push(list(plan, *size).await?);
        }
    }
    Ok(figures)
}

async fn capture(plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let mut batch = Rounds::rate(STORE, "capture in batches", AGAINST);
    let mut single = Rounds::rate(STORE, "capture one by one", AGAINST);
    let mut concurrent = Rounds::rate(STORE, "capture from 64 at once", AGAINST);
    let count = plan.batch_ops;
    for _ in 0..plan.rounds {
        let mut load = Load::new();
        let ours = fresh().capture(load.take(count), BATCH).await?;
        let limit = Floor::default().capture(load.take(count), BATCH);
        batch.add(per_second(count, ours), per_second(count, limit));
        let ours = fresh().capture(load.take(count), 1).await?;
        let limit = Floor::default().capture(load.take(count), 1);
        single.add(per_second(count, ours), per_second(count, limit));
        let ours = fresh().capture_concurrently(load.take(count), CLIENTS).await?;
        concurrent.add(per_second(count, ours), per_second(count, limit));
    }
    Ok(vec![single.done(), concurrent.done(), batch.done()])
}

async fn claim_and_settle(plan: &Plan) -> Result<Figure, Failure> {
    let mut rounds = Rounds::rate(STORE, "claim and settle", AGAINST);
    let count = plan.batch_ops;
    for _ in 0..plan.rounds {
        let mut load = Load::new();
        let (ports, floor) = (fresh(), Floor::default());
        ports.capture(load.take(count), BATCH).await?;
        floor.capture(load.take(count), BATCH);
        let ours = ports.claim_and_settle(count, 100).await?;
        let limit = floor.claim_and_settle(count, 100);
        rounds.add(per_second(count, ours), per_second(count, limit));
    }
    Ok(rounds.done())
}

async fn list(plan: &Plan, size: usize) -> Result<Figure, Failure> {
    let mut rounds =
        Rounds::time(STORE, "list, a page of 50", AGAINST).at_size(u64::try_from(size)?);
    let mut load = Load::new();
    let (ports, floor) = (fresh(), Floor::default());
    let ops = load.take(size);
    let end = (SystemClock.now(), baldur_core::EntryId::from_bytes([0xff; 16]));
    floor.capture(ops.clone(), BATCH);
    ports.capture(ops, BATCH).await?;
    for _ in 0..plan.rounds {
        let start = SystemClock.mono();
        for _ in 0..READS {
            ports.page(Filter::default(), None, PageSize::default()).await?;
        }
        let ours = SystemClock.mono().saturating_sub(start);
        let start = SystemClock.mono();
        for _ in 0..READS {
            if floor.page(end, PageSize::default().get()) != PageSize::default().get() {
                return Err("the floor lost entries".into());
            }
        }
        let limit = SystemClock.mono().saturating_sub(start);
        rounds.add(micros_each(READS, ours), micros_each(READS, limit));
    }
    Ok(rounds.done())
}
