//! Pages, counts and facets, at several sizes.

use baldur_core::Cursor;

use super::{Ours, STORE, fill::fill, server::Server};
use crate::{
    args::{Args, Plan},
    figures::{Figure, Rounds, micros_each},
    ours::Failure,
    reading::{Read, middle},
};

/// Every so manieth entry waits, the others are resolved.
const PENDING: usize = 5;

/// How often a read is done in a round.
const TIMES: usize = 200;

/// A store of some size, and the position in its middle.
struct Sized {
    size: usize,
    ours: Ours,
    middle: Option<Cursor>,
}

pub(super) async fn run(server: &Server, args: &Args, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let smallest = plan.sizes.first().copied().unwrap_or(10_000);
    // To fill one is fast here, so even a quick run has a larger one.
    let largest = plan.sizes.last().copied().unwrap_or_default().max(10 * smallest);
    let small = filled(server, smallest).await?;
    let large = filled(server, largest).await?;
    let mut figures = Vec::new();
    for read in Read::ALL.into_iter().filter(|read| args.wants(read.name())) {
        figures.push(growth(&small, &large, plan, read).await?);
    }
    small.ours.close().await?;
    large.ours.close().await?;
    Ok(figures)
}

async fn filled(server: &Server, size: usize) -> Result<Sized, Failure> {
    let ours = Ours::fresh(server).await?;
    fill(&mut ours.database.connect().await?, size, PENDING).await?;
    let middle = middle(&ours.ports(), size).await?;
    Ok(Sized { size, ours, middle })
}

/// The same read of a large store and of a small one, in turn.
async fn growth(small: &Sized, large: &Sized, plan: &Plan, read: Read) -> Result<Figure, Failure> {
    let mut rounds = Rounds::time(STORE, read.name(), "itself at the smallest size")
        .at_size(u64::try_from(large.size)?)
        .target(2.0);
    for _ in 0..plan.rounds {
        let ours = read.ours(&large.ours.ports(), TIMES, large.middle).await?;
        let limit = read.ours(&small.ours.ports(), TIMES, small.middle).await?;
        rounds.add(micros_each(TIMES, ours), micros_each(TIMES, limit));
    }
    Ok(rounds.done())
}
