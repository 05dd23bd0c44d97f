//! Ending claims that ran out.
//!
//! It waits for no claim: a row that somebody else has locked is being settled, extended or lapsed, and an order key
//! that somebody else holds is free when the next lapse comes. So processes that lapse at once share the work, and none
//! meets another in a deadlock although rows come before keys here.

use std::{collections::HashSet, time::Duration};

use baldur_core::{
    EntryId, Evidence, Status,
    command::Lapse,
    decide,
    port::{ClaimError, Lapsed},
};
use sqlx::{Row, types::Uuid};

use super::{
    Answers, Session, Work,
    effects::Effects,
    locks::{MAX_KEYS, lock_number},
};
use crate::{error::StepError, sql::limit};

/// Ends claims that ran out.
pub(crate) struct Lapsing;

impl Work for Lapsing {
    type Item = Lapse;
    type Answer = Lapsed;
    type Error = ClaimError;

    const OPERATION: &'static str = "lapse";

    async fn run(session: &mut Session, items: &[Lapse]) -> Result<Answers<Self>, StepError> {
        let mut answers = Vec::with_capacity(items.len());
        for lapse in items {
            answers.push(Ok(lapse_one(session, lapse).await?));
        }
        Ok(answers)
    }
}

/// The claims that ran out first, locked. There are as many rows in the index as claims are running.
pub(crate) const RUN_OUT: &str = "SELECT s.id, s.order_key IS NOT NULL FROM baldur.states s \
     WHERE s.ns = $1 AND s.status = 'replaying' AND s.hold_expires_at <= $2 \
     ORDER BY s.hold_expires_at, s.created_at, s.id LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED";

/// The order keys of these entries, each locked unless somebody else holds it, and the entries that it gave.
pub(crate) const TRY_KEYS: &str = concat!(
    "WITH keys AS MATERIALIZED (SELECT k.n, pg_try_advisory_xact_lock(k.n) AS held FROM \
     (SELECT DISTINCT ",
    lock_number!("'order'", "s.order_key"),
    " AS n FROM baldur.states s WHERE s.ns = $1 AND s.id = ANY($2) AND s.order_key IS NOT NULL \
     ORDER BY n LIMIT $3) k) \
     SELECT s.id FROM baldur.states s JOIN keys k ON k.held AND k.n = ",
    lock_number!("'order'", "s.order_key"),
    " WHERE s.ns = $1 AND s.id = ANY($2)"
);

async fn lapse_one(session: &mut Session, lapse: &Lapse) -> Result<Lapsed, StepError> {
    let Lapse { limit: most, retry_in, evidence } = lapse;
    let (ns, now) = (session.ns, session.now);
    // One more than asked for shows whether any remain.
    let rows = sqlx::query(RUN_OUT)
        .bind(ns)
        .bind(now.as_micros())
        .bind(limit(most.saturating_add(1)))
        .fetch_all(session.conn())
        .await?;
    let mut more = rows.len() > *most;
    let (mut run_out, mut keyed) = (Vec::new(), Vec::new());
    for row in rows.iter().take(*most) {
        let (id, has_key): (Uuid, bool) = (row.try_get(0)?, row.try_get(1)?);
        run_out.push(id);
        if has_key {
            keyed.push(id);
        }
    }
    if !keyed.is_empty() {
        let held: Vec<Uuid> = sqlx::query_scalar(TRY_KEYS)
            .bind(ns)
            .bind(&keyed[..])
            .bind(limit(MAX_KEYS))
            .fetch_all(session.conn())
            .await?;
        let held: HashSet<Uuid> = held.into_iter().collect();
        let left: HashSet<Uuid> = keyed.into_iter().filter(|id| !held.contains(id)).collect();
        more |= !left.is_empty();
        run_out.retain(|id| !left.contains(id));
    }
    let ids: Vec<EntryId> =
        run_out.into_iter().map(|id| EntryId::from_bytes(id.into_bytes())).collect();
    let lapsed = end(session, &ids, *retry_in, evidence).await?;
    Ok(Lapsed { lapsed, more })
}

/// Ends those of these claims that ran out, in order.
async fn end(
    session: &mut Session,
    ids: &[EntryId],
    retry_in: Duration,
    evidence: &Evidence,
) -> Result<Vec<(EntryId, Status)>, StepError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    session.locked.extend(ids);
    let standings = session.standings(ids.iter().copied()).await?;
    session.catch_up(standings.iter().map(|standing| standing.state.updated_at).max()).await?;
    let now = session.now;
    let mut effects = Effects::on(standings);
    let mut lapsed = Vec::with_capacity(ids.len());
    for id in ids {
        let change = effects.standing(*id).and_then(|standing| {
            decide::lapse(*id, &standing.state, retry_in, evidence.clone(), now)
        });
        if let Some(change) = change {
            lapsed.push((*id, change.state.status));
            effects.change(*id, change);
        }
    }
    effects.write(session).await?;
    Ok(lapsed)
}
