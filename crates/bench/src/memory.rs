//! Figures of the memory store.

use std::{sync::Arc, time::Duration};

use baldur_core::{
    Clock as _, Cursor, EntryId, Filter, ListOrder, PageSize, Status, SystemClock, Timestamp,
    name::Namespace,
};
use baldur_memory::MemoryStore;

use crate::{
    args::{Args, Plan},
    figures::{Figure, Rounds, micros_each, per_second},
    floor::Floor,
    load::Load,
    ours::{Failure, Ports},
};

pub(crate) const STORE: &str = "memory";
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
    for size in &plan.sizes {
        figures.extend(reads(args, plan, *size).await?);
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

/// What is read.
#[derive(Clone, Copy, Debug)]
enum Read {
    FirstPage,
    DeepPage,
    Count,
    Facets,
}

impl Read {
    const ALL: [Self; 4] = [Self::FirstPage, Self::DeepPage, Self::Count, Self::Facets];

    fn name(self) -> &'static str {
        match self {
            Self::FirstPage => "list, page 1 of 50",
            Self::DeepPage => "list, a page of 50 in the middle",
            Self::Count => "count of a status",
            Self::Facets => "facets",
        }
    }
}

async fn reads(args: &Args, plan: &Plan, size: usize) -> Result<Vec<Figure>, Failure> {
    let mut load = Load::new();
    let (ports, floor) = (fresh(), Floor::default());
    let ops = load.take(size);
    let middle = ops.get(size / 2).map(|capture| capture.op.position());
    floor.capture(ops.clone(), BATCH);
    ports.capture(ops, BATCH).await?;
    let mut figures = Vec::new();
    for read in Read::ALL.into_iter().filter(|read| args.wants(read.name())) {
        let mut rounds = Rounds::time(STORE, read.name(), AGAINST).at_size(u64::try_from(size)?);
        for _ in 0..plan.rounds {
            let ours = ours(&ports, read, middle).await?;
            let limit = limit(&floor, read, middle)?;
            rounds.add(micros_each(READS, ours), micros_each(READS, limit));
        }
        figures.push(rounds.done());
    }
    Ok(figures)
}

type Position = (Timestamp, EntryId);

async fn ours(ports: &Ports, read: Read, middle: Option<Position>) -> Result<Duration, Failure> {
    let middle = middle.map(|position| Cursor::at(ListOrder::NewestFirst, position));
    let start = SystemClock.mono();
    for _ in 0..READS {
        match read {
            Read::FirstPage => {
                ports.page(Filter::default(), None, PageSize::default()).await?;
            }
            Read::DeepPage => {
                ports.page(Filter::default(), middle, PageSize::default()).await?;
            }
            Read::Count => ports.count().await?,
            Read::Facets => ports.facets().await?,
        }
    }
    Ok(SystemClock.mono().saturating_sub(start))
}

fn limit(floor: &Floor, read: Read, middle: Option<Position>) -> Result<Duration, Failure> {
    let page = PageSize::default().get();
    let end = (SystemClock.now(), EntryId::from_bytes([0xff; 16]));
    let start = SystemClock.mono();
    for _ in 0..READS {
        let found = match read {
            Read::FirstPage => floor.page(end, page) == page,
            Read::DeepPage => floor.page(middle.unwrap_or(end), page) == page,
            Read::Count => floor.count(Status::Pending) > 0,
            Read::Facets => floor.facets() > 0,
        };
        if !found {
            return Err("the floor lost entries".into());
        }
    }
    Ok(SystemClock.mono().saturating_sub(start))
}
