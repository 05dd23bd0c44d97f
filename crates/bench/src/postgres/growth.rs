//! What must not get slower as a store fills up.

use super::{BATCH, CLAIM, Ours, STORE, fill::fill, server::Server};
use crate::{
    args::Plan,
    figures::{Figure, Rounds, per_second},
    load::Load,
    ours::Failure,
};

/// What the names of the figures end with.
pub(super) const NAME: &str = "beside resolved ones";

/// Captures, and claims and settles, of a store that holds resolved entries, against one that does not.
pub(super) async fn beside_resolved(server: &Server, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let resolved = plan.sizes.last().copied().unwrap_or_default().max(100_000);
    let rounds = |name: &str| -> Result<Rounds, Failure> {
        let rounds = Rounds::rate(STORE, &format!("{name} {NAME}"), "the same, none resolved");
        Ok(rounds.at_size(u64::try_from(resolved)?).target(0.8))
    };
    let mut captures = rounds("capture in batches of 500")?;
    let mut claims = rounds("claim and settle")?;
    let count = plan.batch_ops / 2;
    let full = Ours::fresh(server).await?;
    // None of them waits.
    fill(&mut full.database.connect().await?, resolved, usize::MAX >> 2).await?;
    let mut load = Load::new();
    full.ports().capture(load.take(BATCH), BATCH).await?;
    full.ports().claim_and_settle(CLAIM, CLAIM).await?;
    for _ in 0..plan.rounds {
        let empty = Ours::fresh(server).await?;
        empty.ports().capture(load.take(BATCH), BATCH).await?;
        empty.ports().claim_and_settle(CLAIM, CLAIM).await?;
        empty.database.analyze().await?;
        let ours = full.ports().capture(load.take(count), BATCH).await?;
        let limit = empty.ports().capture(load.take(count), BATCH).await?;
        captures.add(per_second(count, ours), per_second(count, limit));
        let ours = full.ports().claim_and_settle(count, CLAIM).await?;
        let limit = empty.ports().claim_and_settle(count, CLAIM).await?;
        claims.add(per_second(count, ours), per_second(count, limit));
        empty.close().await?;
    }
    full.close().await?;
    Ok(vec![captures.done(), claims.done()])
}
