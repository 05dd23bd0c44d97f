//! Claims while a transaction of somebody else stays open, so that old versions of rows can't be removed.

use std::time::Duration;

use baldur_core::{Clock as _, SystemClock};
use sqlx::{Connection as _, PgConnection};

use super::{BATCH, CLAIM, Ours, STORE, server::Server};
use crate::{
    args::Plan,
    figures::{Figure, Rounds, per_second},
    load::Load,
    ours::Failure,
};

/// The name of the figure.
pub(super) const NAME: &str = "claim and settle under a held snapshot";

/// How long the transaction is open before anything is measured, when there is time.
const HELD: Duration = Duration::from_mins(10);

/// Entries that go through meanwhile in a shorter run, for each in a batch figure. What slows claims down is not how long a
/// transaction is open but how many old versions stay.
const SHORT: usize = 2;

/// Claims and settles under a held horizon, against claims and settles without.
pub(super) async fn claims_under_a_held_one(
    server: &Server,
    plan: &Plan,
) -> Result<Figure, Failure> {
    let mut rounds = Rounds::rate(STORE, NAME, "the same, none held").target(0.5);
    let count = plan.batch_ops / 2;
    let mut load = Load::new();
    let held = Ours::fresh(server).await?;
    held.ports().capture(load.take(BATCH), BATCH).await?;
    let snapshot = hold(&held).await?;
    let start = SystemClock.mono();
    let mut through = 0;
    while if plan.is_full() {
        SystemClock.mono().saturating_sub(start) < HELD
    } else {
        through < plan.batch_ops * SHORT
    } {
        held.ports().capture(load.take(BATCH * 4), BATCH).await?;
        held.ports().claim_and_settle(BATCH * 4, CLAIM).await?;
        through += BATCH * 4;
    }
    let took = SystemClock.mono().saturating_sub(start);
    for _ in 0..plan.rounds {
        let free = Ours::fresh(server).await?;
        for ours in [&free, &held] {
            ours.ports().capture(load.take(count + CLAIM), BATCH).await?;
            ours.ports().claim_and_settle(CLAIM, CLAIM).await?;
            ours.database.analyze().await?;
        }
        let ours = held.ports().claim_and_settle(count, CLAIM).await?;
        let limit = free.ports().claim_and_settle(count, CLAIM).await?;
        rounds.add(per_second(count, ours), per_second(count, limit));
        free.close().await?;
    }
    rounds.note(format!(
        "held for {} s before, while {through} entries were captured, claimed and settled",
        took.as_secs()
    ));
    snapshot.close().await?;
    held.close().await?;
    Ok(rounds.done())
}

/// A transaction that is open and has a snapshot.
async fn hold(ours: &Ours) -> Result<PgConnection, Failure> {
    let mut conn = ours.database.connect().await?;
    sqlx::raw_sql("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM baldur.namespaces")
        .execute(&mut conn)
        .await?;
    Ok(conn)
}
