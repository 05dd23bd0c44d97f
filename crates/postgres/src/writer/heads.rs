//! Which entry of an order key may be claimed: the one that is being replayed, else the oldest live one.
//!
//! The marked head is the mutex of its key: whoever changes which entry it is, or adds an entry behind it, has locked
//! its row until the end of the transaction, and looked at the others after that. While a key has no head, nobody of it
//! is live, and the unique index lets one newcomer become the head; another one that tried is done again. The advisory
//! lock of the key comes before all that, so that transactions wait for one another instead of meeting in a deadlock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use baldur_core::{EntryId, FailedOp, Status, Timestamp, name::OrderKey};
use sqlx::{postgres::PgRow, types::Uuid};

use super::session::Session;
use crate::{columns::Columns, error::StepError, sql::uuid};

/// For each key: the marked head, and the one that should be.
pub(crate) const LINES: &str = "SELECT \
     (SELECT m.id FROM baldur.states m \
      WHERE m.ns = $1 AND m.order_key = k.key AND m.order_head) AS marked, \
     coalesce( \
      (SELECT r.id FROM baldur.states r \
       WHERE r.ns = $1 AND r.order_key = k.key AND r.status = 'replaying' \
       ORDER BY r.created_at, r.id LIMIT 1), \
      (SELECT l.id FROM baldur.states l \
       WHERE l.ns = $1 AND l.order_key = k.key \
       AND l.status IN ('pending', 'replaying', 'reviewing', 'requires_review') \
       ORDER BY l.created_at, l.id LIMIT 1)) AS head \
     FROM unnest($2::text[]) k(key)";

/// The marked heads, locked: a claim of one may be under way; it ends before anyone decides, and none begins.
pub(crate) const MARKED: &str = "SELECT m.id, m.order_key, m.status, m.created_at \
     FROM baldur.states m WHERE m.ns = $1 AND m.order_key = ANY($2) AND m.order_head \
     ORDER BY m.id FOR NO KEY UPDATE";

/// The marked heads, as they are committed.
pub(crate) const HEADS: &str = "SELECT m.order_key, m.id FROM baldur.states m \
     WHERE m.ns = $1 AND m.order_key = ANY($2) AND m.order_head";

/// Marks a head, or takes the mark away.
pub(crate) const MARK: &str =
    "UPDATE baldur.states SET order_head = $3 WHERE ns = $1 AND id = ANY($2)";

/// Finds the heads of these keys anew, after entries changed, came or went.
pub(super) async fn settle(
    session: &mut Session,
    keys: &BTreeSet<OrderKey>,
) -> Result<(), StepError> {
    if keys.is_empty() {
        return Ok(());
    }
    let ns = session.ns;
    let keys: Vec<&str> = keys.iter().map(OrderKey::as_str).collect();
    let mut lines = lines(session, &keys).await?;
    // Most often the head is what this transaction changed. Where it isn't, the lines are read again when it is locked;
    // somebody may then have been faster to change it.
    while lines.iter().any(|line| line.marked.is_some_and(|id| !session.locked.contains(&id))) {
        lock_marked(session, &keys).await?;
        lines = self::lines(session, &keys).await?;
    }
    let (mut off, mut on) = (Vec::<Uuid>::new(), Vec::<Uuid>::new());
    for Line { marked, head } in lines {
        if marked != head {
            off.extend(marked.map(uuid));
            on.extend(head.map(uuid));
        }
    }
    // First off, then on: of one key there is never more than one.
    for (ids, head) in [(&off, false), (&on, true)] {
        if !ids.is_empty() {
            sqlx::query(MARK).bind(ns).bind(&ids[..]).bind(head).execute(session.conn()).await?;
        }
    }
    Ok(())
}

/// One order key: the marked head, and the entry that should be.
struct Line {
    marked: Option<EntryId>,
    head: Option<EntryId>,
}

async fn lines(session: &mut Session, keys: &[&str]) -> Result<Vec<Line>, StepError> {
    let ns = session.ns;
    let rows = sqlx::query(LINES).bind(ns).bind(keys).fetch_all(session.conn()).await?;
    let line = |row: &PgRow| -> Result<Line, StepError> {
        let mut columns = Columns::of(row, "states");
        Ok(Line { marked: columns.id_opt()?, head: columns.id_opt()? })
    };
    rows.iter().map(line).collect()
}

async fn lock_marked(session: &mut Session, keys: &[&str]) -> Result<Vec<PgRow>, StepError> {
    let ns = session.ns;
    let rows = sqlx::query(MARKED).bind(ns).bind(keys).fetch_all(session.conn()).await?;
    for row in &rows {
        session.locked.insert(Columns::of(row, "states").id()?);
    }
    Ok(rows)
}

/// What is known of new entries with an order key.
#[derive(Default)]
pub(super) struct Newcomers {
    /// Those that are heads, by their place in the batch.
    pub(super) heads: HashSet<usize>,
    /// Keys whose head must be found anew when the entries are there.
    pub(super) unsettled: BTreeSet<OrderKey>,
}

/// Finds out which new entries are heads, with one look at the database for the batch.
pub(super) async fn of_new(
    session: &mut Session,
    new: &[FailedOp],
) -> Result<Newcomers, StepError> {
    let mut first: BTreeMap<&OrderKey, (usize, &FailedOp)> = BTreeMap::new();
    let mut newcomers = Newcomers::default();
    for (index, op) in new.iter().enumerate().filter(|(_, op)| op.state.status.is_live()) {
        let Some(key) = &op.order_key else { continue };
        if op.state.status == Status::Replaying {
            newcomers.unsettled.insert(key.clone());
        }
        let oldest = first.entry(key).or_insert((index, op));
        if op.position() < oldest.1.position() {
            *oldest = (index, op);
        }
    }
    if first.is_empty() {
        return Ok(newcomers);
    }
    let marked = marked(session, first.keys().copied()).await?;
    for (key, (index, op)) in first {
        if newcomers.unsettled.contains(key) {
            continue;
        }
        match marked.get(key.as_str()) {
            None => {
                newcomers.heads.insert(index);
            }
            Some(Marked { status: Status::Replaying, .. }) => {}
            Some(head) if head.position < op.position() => {}
            Some(_) => {
                newcomers.unsettled.insert(key.clone());
            }
        }
    }
    Ok(newcomers)
}

/// The head of an order key.
struct Marked {
    status: Status,
    /// Where it stands in lists.
    position: (Timestamp, EntryId),
}

/// The marked heads of these keys, locked.
async fn marked(
    session: &mut Session,
    keys: impl IntoIterator<Item = &OrderKey>,
) -> Result<HashMap<String, Marked>, StepError> {
    let keys: Vec<&str> = keys.into_iter().map(OrderKey::as_str).collect();
    let rows = lock_marked(session, &keys).await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of(row, "states");
            let id = columns.id()?;
            let key = columns.get()?;
            let status = columns.parsed("status", str::parse::<Status>)?;
            let position = (columns.time("created_at")?, id);
            Ok((key, Marked { status, position }))
        })
        .collect()
}

/// The heads of these keys. Who has locked another live entry of a key finds one: what takes the mark from one entry
/// gives it to the next in the same transaction.
pub(super) async fn of(
    session: &mut Session,
    keys: &[OrderKey],
) -> Result<HashMap<String, EntryId>, StepError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let ns = session.ns;
    let keys: Vec<&str> = keys.iter().map(OrderKey::as_str).collect();
    let rows = sqlx::query(HEADS).bind(ns).bind(&keys[..]).fetch_all(session.conn()).await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of(row, "states");
            Ok((columns.get()?, columns.id()?))
        })
        .collect()
}
