//! Pages, counts and facets, at several sizes.

use std::time::Duration;

use baldur_core::{Clock as _, Cursor, PageSize, SystemClock};

use super::{AGAINST, BATCH, Pair, STORE};
use crate::{
    args::{Args, Plan},
    figures::{Figure, Rounds, micros_each},
    load::Load,
    ours::Failure,
    reading::{Read, middle},
};

/// How often it is done in a round: long enough for a clock, short enough for the patience of people.
fn times(read: Read) -> usize {
    match read {
        Read::FirstPage | Read::DeepPage | Read::FilteredPage => 200,
        Read::Count | Read::Facets => 2_000,
    }
}

/// A store of some size, and the position in its middle.
struct Sized {
    size: usize,
    pair: Pair,
    middle: Option<Cursor>,
}

pub(super) async fn run(args: &Args, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let mut stores = Vec::new();
    for size in plan.sizes.iter().copied() {
        let pair = filled(size).await?;
        let middle = middle(&pair.ports(), size).await?;
        stores.push(Sized { size, pair, middle });
    }
    let mut figures = Vec::new();
    for read in Read::ALL.into_iter().filter(|read| args.wants(read.name())) {
        for store in &mut stores {
            figures.push(measure(store, plan, read).await?);
        }
        if let Some((smallest, larger)) = stores.split_first() {
            for store in larger {
                figures.push(growth(smallest, store, plan, read).await?);
            }
        }
    }
    for store in stores {
        store.pair.close().await?;
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

async fn measure(store: &mut Sized, plan: &Plan, read: Read) -> Result<Figure, Failure> {
    let Sized { size, pair, middle } = store;
    let mut rounds = Rounds::time(STORE, read.name(), AGAINST).at_size(u64::try_from(*size)?);
    for _ in 0..plan.rounds {
        let ours = ours(pair, read, *middle).await?;
        let limit = limit(pair, read, *middle).await?;
        rounds.add(micros_each(times(read), ours), micros_each(times(read), limit));
    }
    Ok(rounds.done())
}

/// The same read of a large store and of the smallest one, in turn.
async fn growth(
    smallest: &Sized,
    larger: &Sized,
    plan: &Plan,
    read: Read,
) -> Result<Figure, Failure> {
    let mut rounds = Rounds::time(STORE, read.name(), "itself at the smallest size")
        .at_size(u64::try_from(larger.size)?)
        .target(2.0);
    for _ in 0..plan.rounds {
        let large = ours(&larger.pair, read, larger.middle).await?;
        let small = ours(&smallest.pair, read, smallest.middle).await?;
        rounds.add(micros_each(times(read), large), micros_each(times(read), small));
    }
    Ok(rounds.done())
}

async fn ours(pair: &Pair, read: Read, middle: Option<Cursor>) -> Result<Duration, Failure> {
    read.ours(&pair.ports(), times(read), middle).await
}

async fn limit(pair: &mut Pair, read: Read, middle: Option<Cursor>) -> Result<Duration, Failure> {
    let page = PageSize::default().get();
    let start = SystemClock.mono();
    for _ in 0..times(read) {
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
