//! What must not get slower as a store fills up.

use super::{BATCH, Pair, STORE};
use crate::{
    args::Plan,
    figures::{Figure, Rounds, per_second},
    load::Load,
    ours::Failure,
};

/// Claims on a store that holds resolved entries, against claims on one that does not.
pub(super) async fn claims_beside_resolved(plan: &Plan) -> Result<Figure, Failure> {
    let resolved = plan.sizes.last().copied().unwrap_or_default().min(100_000);
    let mut rounds =
        Rounds::rate(STORE, "claim and settle beside resolved ones", "the same, none resolved")
            .at_size(u64::try_from(resolved)?)
            .target(0.8);
    let count = plan.batch_ops / 4;
    let mut load = Load::new();
    let full = Pair::fresh().await?;
    full.ports().capture(load.take(resolved), BATCH).await?;
    full.ports().claim_and_settle(resolved, 500).await?;
    for _ in 0..plan.rounds {
        let empty = Pair::fresh().await?;
        empty.ports().capture(load.take(count), BATCH).await?;
        full.ports().capture(load.take(count), BATCH).await?;
        let ours = full.ports().claim_and_settle(count, 100).await?;
        let limit = empty.ports().claim_and_settle(count, 100).await?;
        rounds.add(per_second(count, ours), per_second(count, limit));
        empty.close().await?;
    }
    full.close().await?;
    Ok(rounds.done())
}
