//! Finding and locking the entries that have been due longest.
//!
//! Each domain is a range of an index, read from its beginning. Rows that another claim has locked are passed over.
//!
//! Of one domain, rows are locked as they are found. Of several, each would give as many as are asked for, and most of
//! those be locked for nothing. So they are first found, and then locked in due order until there are enough. Claims of
//! the same moment find the same rows; one that comes too late for too many of them locks what each domain gives. Then it
//! holds some that it doesn't take until its end, which others pass over.
//!
//! Where old versions of rows can't be cleaned up, because some transaction of the server is open for long, the
//! beginning of the range fills with entries that were claimed long ago; then a claim starts further on, see
//! [`Marks`](super::marks::Marks).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use baldur_core::{
    EntryId,
    name::{Domain, ServiceName},
};
use sqlx::{Row, postgres::PgRow, types::Uuid};
use tokio::time::Instant;

use super::{
    Session,
    marks::{Key, Look, Position, Seen},
};
use crate::{error::StepError, sql::limit};

/// What to look for.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) domains: &'a [Domain],
    pub(super) dependency: Option<&'a ServiceName>,
    pub(super) most: usize,
}

/// For each domain the rows after a position, and how many entries of the index were met on the way. The server
/// counts those for each transaction (`track_counts`, without which the numbers stay 0).
macro_rules! due {
    ($index:literal, $and:literal, $lock:literal) => {
        concat!(
            "SELECT d.place, b.met, q.met, q.ids, q.times, q.captured FROM \
             (SELECT pg_stat_get_xact_tuples_returned('baldur.",
            $index,
            "'::regclass) AS met OFFSET 0) b CROSS JOIN \
             unnest($2::text[], $5::bigint[], $6::bigint[], $7::uuid[]) WITH ORDINALITY \
             d(domain, at, created_at, id, place) CROSS JOIN LATERAL \
             (SELECT array_agg(h.id) AS ids, array_agg(h.next_attempt_at) AS times, \
             array_agg(h.created_at) AS captured, pg_stat_get_xact_tuples_returned('baldur.",
            $index,
            "'::regclass) AS met FROM (SELECT s.id, s.next_attempt_at, s.created_at \
             FROM baldur.states s WHERE b.met >= 0 AND s.ns = $1 AND s.domain = d.domain ",
            $and,
            "AND s.status = 'pending' AND s.order_head AND s.replayable AND s.next_attempt_at <= $3 \
             AND (s.next_attempt_at, s.created_at, s.id) > (d.at, d.created_at, d.id) \
             ORDER BY s.next_attempt_at, s.created_at, s.id LIMIT $4",
            $lock,
            ") h) q ORDER BY q.met"
        )
    };
}

/// The due heads of some domains, locked.
pub(crate) const DUE: &str = due!("states_due", "", " FOR NO KEY UPDATE OF s SKIP LOCKED");

/// The due heads of some domains.
pub(crate) const FIND: &str = due!("states_due", "", "");

/// The due heads of some domains and one dependency, locked.
pub(crate) const DUE_OF_DEPENDENCY: &str =
    due!("states_due_dependency", "AND s.dependency = $8 ", " FOR NO KEY UPDATE OF s SKIP LOCKED");

/// The due heads of some domains and one dependency.
pub(crate) const FIND_OF_DEPENDENCY: &str =
    due!("states_due_dependency", "AND s.dependency = $8 ", "");

/// Locks of these rows, in their order, as many as are asked for and are still due. They are found by id: the index of due
/// entries does not know that they are few, and `coalesce` keeps the planner from it.
pub(crate) const LOCK: &str = "SELECT s.id FROM (SELECT u.id FROM \
     unnest($2::uuid[]) WITH ORDINALITY u(id, place) ORDER BY u.place) v CROSS JOIN LATERAL \
     (SELECT x.id FROM baldur.states x WHERE x.ns = $1 AND x.id = v.id \
      AND coalesce(x.status, '') = 'pending' AND x.order_head AND x.replayable \
      AND x.next_attempt_at <= $3 FOR NO KEY UPDATE OF x SKIP LOCKED) s LIMIT $4";

/// How many rows are tried for each that is asked for, since claims of the same moment may hold some.
const TRIED: usize = 2;

/// Locks the entries that have been due longest, and answers them in that order.
pub(super) async fn lock(
    session: &mut Session,
    wanted: Wanted<'_>,
) -> Result<Vec<EntryId>, StepError> {
    let Wanted { domains, dependency, most } = wanted;
    let keys: BTreeSet<&Domain> = domains.iter().collect();
    let keys: Vec<Key> =
        keys.into_iter().map(|domain| (domain.clone(), dependency.cloned())).collect();
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let looks: Vec<Look> =
        keys.iter().map(|key| session.engine().marks.begin(key, Instant::now())).collect();
    let mut due = look(session, wanted, &keys, &looks).await?;
    if due.len() < most {
        // What there is may stand before the marks.
        let again: Vec<(Key, Look)> = std::iter::zip(&keys, &looks)
            .filter(|(_, look)| look.after.is_some())
            .filter_map(|(key, _)| {
                let look = session.engine().marks.begin_again(key, Instant::now())?;
                Some((key.clone(), look))
            })
            .collect();
        if !again.is_empty() {
            let (keys, looks): (Vec<Key>, Vec<Look>) = again.into_iter().unzip();
            // Rows that this transaction has locked are found again.
            due.extend(look(session, wanted, &keys, &looks).await?);
        }
    }
    Ok(due.into_iter().take(most).map(|(_, _, id)| EntryId::from_bytes(id.into_bytes())).collect())
}

/// Looks once, and learns from it.
async fn look(
    session: &mut Session,
    wanted: Wanted<'_>,
    keys: &[Key],
    looks: &[Look],
) -> Result<BTreeSet<Position>, StepError> {
    let before = Instant::now();
    let locking = if keys.len() > 1 { Locks::Later } else { Locks::AtOnce };
    let mut found = scan(session, wanted, keys, looks, locking).await?;
    let mut took = before.elapsed();
    let mut all = merged(&found);
    if locking == Locks::Later {
        let tried: Vec<Uuid> = all.keys().take(wanted.most * TRIED).map(|(_, _, id)| *id).collect();
        let locked = lock_found(session, wanted.most, &tried).await?;
        let enough = wanted.most.min(all.len());
        all.retain(|(_, _, id), _| locked.contains(id));
        if all.len() < enough {
            // Rows that this transaction has locked are found again.
            let again = Instant::now();
            found = scan(session, wanted, keys, looks, Locks::AtOnce).await?;
            took = again.elapsed();
            all = merged(&found);
        }
    }
    let taken: Vec<(Position, usize)> = all.into_iter().take(wanted.most).collect();
    for (index, Found { place, useless, .. }) in found.iter().enumerate() {
        let last = taken.iter().rev().find(|(_, of)| *of == index).map(|(position, _)| *position);
        if let (Some(key), Some(look)) = (keys.get(*place), looks.get(*place)) {
            let seen = Seen { useless: *useless, last, took };
            session.engine().marks.end(key, look, seen, before);
        }
    }
    Ok(taken.into_iter().map(|(position, _)| position).collect())
}

/// When rows are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Locks {
    AtOnce,
    Later,
}

/// The rows of all domains in due order, and of which domain each is.
fn merged(found: &[Found]) -> BTreeMap<Position, usize> {
    let of_one = |(index, found): (usize, &Found)| -> Vec<(Position, usize)> {
        found.positions.iter().map(|position| (*position, index)).collect()
    };
    found.iter().enumerate().flat_map(of_one).collect()
}

/// Locks rows in their order, as many as are asked for. It waits for nobody.
async fn lock_found(
    session: &mut Session,
    most: usize,
    tried: &[Uuid],
) -> Result<HashSet<Uuid>, StepError> {
    if tried.is_empty() {
        return Ok(HashSet::new());
    }
    let (ns, now) = (session.ns, session.now);
    let locked = sqlx::query_scalar(LOCK).bind(ns).bind(tried).bind(now.as_micros());
    let locked: Vec<Uuid> = locked.bind(limit(most)).fetch_all(session.conn()).await?;
    Ok(locked.into_iter().collect())
}

/// What a look at one domain gave.
struct Found {
    /// Which of the keys it is.
    place: usize,
    positions: Vec<Position>,
    /// How many entries of the index led to no row.
    useless: u64,
}

async fn scan(
    session: &mut Session,
    wanted: Wanted<'_>,
    keys: &[Key],
    looks: &[Look],
    locking: Locks,
) -> Result<Vec<Found>, StepError> {
    let Wanted { dependency, most, .. } = wanted;
    let (ns, now) = (session.ns, session.now);
    let from = |look: &Look| look.after.unwrap_or((i64::MIN, i64::MIN, Uuid::nil()));
    let sql = match (locking, dependency) {
        (Locks::AtOnce, None) => DUE,
        (Locks::AtOnce, Some(_)) => DUE_OF_DEPENDENCY,
        (Locks::Later, None) => FIND,
        (Locks::Later, Some(_)) => FIND_OF_DEPENDENCY,
    };
    let query = sqlx::query(sql)
        .bind(ns)
        .bind(keys.iter().map(|(domain, _)| domain.as_str()).collect::<Vec<_>>())
        .bind(now.as_micros())
        .bind(limit(most))
        .bind(looks.iter().map(|look| from(look).0).collect::<Vec<_>>())
        .bind(looks.iter().map(|look| from(look).1).collect::<Vec<_>>())
        .bind(looks.iter().map(|look| from(look).2).collect::<Vec<_>>());
    let query = match dependency {
        Some(dependency) => query.bind(dependency.as_str()),
        None => query,
    };
    let rows = query.fetch_all(session.conn()).await?;
    let mut met_before = None;
    rows.iter().map(|row| found(row, &mut met_before)).collect()
}

/// Reads a row. The counts grow from one domain to the next.
fn found(row: &PgRow, met_before: &mut Option<i64>) -> Result<Found, StepError> {
    let (place, first, met): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let ids: Vec<Uuid> = row.try_get::<Option<_>, _>(3)?.unwrap_or_default();
    let times: Vec<i64> = row.try_get::<Option<_>, _>(4)?.unwrap_or_default();
    let captured: Vec<i64> = row.try_get::<Option<_>, _>(5)?.unwrap_or_default();
    let before = met_before.replace(met).unwrap_or(first);
    let met = u64::try_from(met - before).unwrap_or(0);
    let positions: Vec<Position> =
        times.into_iter().zip(captured).zip(ids).map(|((at, by), id)| (at, by, id)).collect();
    Ok(Found {
        place: usize::try_from(place - 1).unwrap_or(usize::MAX),
        useless: met.saturating_sub(positions.len() as u64),
        positions,
    })
}
