//! Pages, counts and facets, at several sizes.

use std::time::Duration;

use baldur_core::{Clock as _, Cursor, Filter, PageSize, Status, SystemClock};

use super::{AGAINST, BATCH, Pair, STORE};
use crate::{
    args::{Args, Plan},
    figures::{Figure, Rounds, Spread, micros_each},
    load::{self, Load},
    ours::Failure,
};

const READS: usize = 200;

/// What is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    FirstPage,
    DeepPage,
    FilteredPage,
    Count,
    Facets,
}

impl Read {
    const ALL: [Self; 5] =
        [Self::FirstPage, Self::DeepPage, Self::FilteredPage, Self::Count, Self::Facets];

    fn name(self) -> &'static str {
        match self {
            Self::FirstPage => "list, page 1 of 50",
            Self::DeepPage => "list, a page of 50 in the middle",
            Self::FilteredPage => "list, page 1 of a domain and status",
            Self::Count => "count of a status",
            Self::Facets => "facets",
        }
    }
}

pub(super) async fn run(args: &Args, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    let mut smallest: Vec<(Read, Spread)> = Vec::new();
    for size in &plan.sizes {
        let mut pair = filled(*size).await?;
        let middle = middle(&pair, *size).await?;
        for read in Read::ALL.into_iter().filter(|read| args.wants(read.name())) {
            let figure = measure(&mut pair, plan, *size, read, middle).await?;
            match smallest.iter().find(|(seen, _)| *seen == read) {
                None => smallest.push((read, figure.ours)),
                Some((_, small)) => figures.push(growth(&figure, *small)),
            }
            figures.push(figure);
        }
        pair.close().await?;
    }
    Ok(figures)
}

/// Both files with the same entries.
async fn filled(size: usize) -> Result<Pair, Failure> {
    let mut pair = Pair::fresh().await?;
    let mut load = Load::new();
    let mut left = size;
    while left > 0 {
        let ops = load.take(left.min(10_000));
        left -= ops.len();
        pair.raw.capture(&ops, BATCH).await?;
        pair.ports().capture(ops, BATCH).await?;
    }
    Ok(pair)
}

/// The position of the entry in the middle of the list.
async fn middle(pair: &Pair, size: usize) -> Result<Option<Cursor>, Failure> {
    let limit = PageSize::new(PageSize::MAX)?;
    let mut after = None;
    for _ in 0..size / 2 / limit.get() {
        after = pair.ports().page(Filter::default(), after, limit).await?;
    }
    Ok(after)
}

async fn measure(
    pair: &mut Pair,
    plan: &Plan,
    size: usize,
    read: Read,
    middle: Option<Cursor>,
) -> Result<Figure, Failure> {
    let mut rounds = Rounds::time(STORE, read.name(), AGAINST).at_size(u64::try_from(size)?);
    for _ in 0..plan.rounds {
        let ours = ours(pair, read, middle).await?;
        let limit = limit(pair, read, middle).await?;
        rounds.add(micros_each(READS, ours), micros_each(READS, limit));
    }
    Ok(rounds.done())
}

async fn ours(pair: &Pair, read: Read, middle: Option<Cursor>) -> Result<Duration, Failure> {
    let ports = pair.ports();
    let start = SystemClock.mono();
    for _ in 0..READS {
        match read {
            Read::FirstPage => {
                ports.page(Filter::default(), None, PageSize::default()).await?;
            }
            Read::DeepPage => {
                ports.page(Filter::default(), middle, PageSize::default()).await?;
            }
            Read::FilteredPage => {
                let filter = Filter {
                    domain: Some(load::domain(1)),
                    statuses: vec![Status::Pending],
                    ..Filter::default()
                };
                ports.page(filter, None, PageSize::default()).await?;
            }
            Read::Count => ports.count().await?,
            Read::Facets => ports.facets().await?,
        }
    }
    Ok(SystemClock.mono().saturating_sub(start))
}

async fn limit(pair: &mut Pair, read: Read, middle: Option<Cursor>) -> Result<Duration, Failure> {
    let page = PageSize::default().get();
    let start = SystemClock.mono();
    for _ in 0..READS {
        match read {
            // The raw side has no filters: a page by position is the least that a filtered page can cost.
            Read::FirstPage | Read::FilteredPage => {
                pair.raw.page(None, page).await?;
            }
            Read::DeepPage => {
                pair.raw.page(middle.map(|cursor| (cursor.created_at, cursor.id)), page).await?;
            }
            Read::Count => {
                pair.raw.pending().await?;
            }
            Read::Facets => {
                pair.raw.facets().await?;
            }
        }
    }
    Ok(SystemClock.mono().saturating_sub(start))
}

/// The same read at this size against the smallest one.
fn growth(figure: &Figure, small: Spread) -> Figure {
    let mut rounds = Rounds::time(STORE, &figure.name, "itself at the smallest size").target(2.0);
    if let Some(size) = figure.size {
        rounds = rounds.at_size(size);
    }
    rounds.add(figure.ours.min, small.min);
    rounds.add(figure.ours.median, small.median);
    rounds.add(figure.ours.max, small.max);
    rounds.done()
}
