//! Captures, claims and settles.

use baldur_app::capture::OverflowPolicy;
use baldur_core::command::Capture;

use super::{BATCH, CLAIM, Limit, Ours, STORE, server::Server};
use crate::{
    args::Plan,
    figures::{Figure, Rounds, per_second},
    load::Load,
    ours::Failure,
};

/// What the names of the figures of captures begin with.
pub(super) const CAPTURE: &str = "capture";

/// The name of the figure of claims.
pub(super) const CLAIM_AND_SETTLE: &str = "claim and settle, 100 at a time";

const CLIENTS: usize = 64;

/// The limits of live entries that a capture names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limits {
    None,
    /// Those of `CaptureService` unless something else is set.
    Default,
}

impl Limits {
    fn name(self, figure: &str) -> String {
        match self {
            Self::None => figure.to_owned(),
            Self::Default => format!("{figure}, default limits"),
        }
    }

    fn of(self, mut captures: Vec<Capture>) -> Vec<Capture> {
        if self == Self::Default {
            let policy = OverflowPolicy::default();
            for capture in &mut captures {
                capture.limits = policy.limits(&capture.op.domain);
            }
        }
        captures
    }
}

pub(super) async fn capture(server: &Server, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for limits in [Limits::None, Limits::Default] {
        figures.extend(capture_with(server, plan, limits).await?);
    }
    Ok(figures)
}

async fn capture_with(
    server: &Server,
    plan: &Plan,
    limits: Limits,
) -> Result<Vec<Figure>, Failure> {
    let rate = |name: &str, against| Rounds::rate(STORE, &limits.name(name), against);
    let mut single = rate("capture one by one", "raw sqlx, one row a commit");
    let mut concurrent = rate("capture from 64 at once", "raw sqlx, 64 rows a commit").target(0.7);
    let mut batch = rate("capture in batches of 500", "raw INSERT … UNNEST").target(0.6);
    let mut copied = rate("capture in batches of 500", "COPY");
    let mut commits = Vec::new();
    for _ in 0..plan.rounds {
        let mut load = Load::new();
        let ours = Ours::fresh(server).await?;
        let mut limit = Limit::fresh(server).await?;
        // Connections, plans and combinations that a running store has.
        ours.ports().capture_concurrently(limits.of(load.take(CLIENTS * 8)), CLIENTS).await?;
        limit.raw.capture(&load.take(CLIENTS * 8), CLIENTS).await?;
        ours.database.analyze().await?;
        limit.database.analyze().await?;

        let count = plan.single_ops;
        let took = ours.ports().capture(limits.of(load.take(count)), 1).await?;
        let raw = limit.raw.capture(&load.take(count), 1).await?;
        single.add(per_second(count, took), per_second(count, raw));

        let count = plan.batch_ops;
        let before = ours.store.stats().commits;
        let ops = limits.of(load.take(count));
        let took = ours.ports().capture_concurrently(ops, CLIENTS).await?;
        commits.push(per_commit(count, ours.store.stats().commits - before));
        let raw = limit.raw.capture(&load.take(count), CLIENTS).await?;
        concurrent.add(per_second(count, took), per_second(count, raw));

        let took = ours.ports().capture(limits.of(load.take(count)), BATCH).await?;
        let raw = limit.raw.capture(&load.take(count), BATCH).await?;
        let copy = limit.raw.copy(&load.take(count), BATCH).await?;
        batch.add(per_second(count, took), per_second(count, raw));
        copied.add(per_second(count, took), per_second(count, copy));
        ours.close().await?;
        limit.close().await?;
    }
    let fewest = commits.iter().copied().fold(f64::INFINITY, f64::min);
    concurrent.note(format!("at least {fewest:.0} captures for each commit"));
    Ok(vec![single.done(), concurrent.done(), batch.done(), copied.done()])
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn per_commit(captures: usize, commits: u64) -> f64 {
    captures as f64 / commits as f64
}

pub(super) async fn claim_and_settle(server: &Server, plan: &Plan) -> Result<Figure, Failure> {
    let mut rounds =
        Rounds::rate(STORE, CLAIM_AND_SETTLE, "a bare UPDATE … RETURNING for each").target(0.4);
    let count = plan.batch_ops / 2;
    for _ in 0..plan.rounds {
        let mut load = Load::new();
        let ours = Ours::fresh(server).await?;
        let mut limit = Limit::fresh(server).await?;
        ours.ports().capture(load.take(count + CLAIM), BATCH).await?;
        limit.raw.capture(&load.take(count + CLAIM), BATCH).await?;
        // Connections and plans that a running store has.
        ours.ports().claim_and_settle(CLAIM, CLAIM).await?;
        limit.raw.claim_and_settle(CLAIM, CLAIM).await?;
        ours.database.analyze().await?;
        limit.database.analyze().await?;
        let took = ours.ports().claim_and_settle(count, CLAIM).await?;
        let raw = limit.raw.claim_and_settle(count, CLAIM).await?;
        rounds.add(per_second(count, took), per_second(count, raw));
        ours.close().await?;
        limit.close().await?;
    }
    Ok(rounds.done())
}
