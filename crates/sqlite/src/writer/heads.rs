//! Order heads: which entry of an order key may be claimed.
//!
//! The head is the entry that is being replayed, else the oldest live one. `entries.order_head` says so,
//! and the indexes of due entries contain heads only, so a claim never looks at entries that wait.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use baldur_core::{EntryId, Status, Timestamp, name::OrderKey};
use sqlx::{Row, sqlite::SqliteRow};

use super::{effects::NewEntry, session::Session};
use crate::{columns::Columns, error::StepError, sql::json_integers};

/// What is known about one key.
struct Line {
    key: String,
    /// Who is marked as head.
    marked: Option<i64>,
    /// Who is head.
    head: Option<i64>,
}

/// Per key: the marked head, and the true one. Every part is one step down an index.
pub(crate) const LINES: &str = "SELECT j.key, j.value, \
     (SELECT m.seq FROM entries m INDEXED BY entries_order_head \
      WHERE m.ns = ?2 AND m.order_key = j.value AND m.order_head = 1), \
     coalesce( \
      (SELECT r.seq FROM entries r INDEXED BY entries_order_replaying \
       WHERE r.ns = ?2 AND r.order_key = j.value AND r.status = 'replaying' \
       ORDER BY r.created_at, r.id LIMIT 1), \
      (SELECT l.seq FROM entries l INDEXED BY entries_order_live \
       WHERE l.ns = ?2 AND l.order_key = j.value \
       AND l.status IN ('pending', 'replaying', 'reviewing', 'requires_review') \
       ORDER BY l.created_at, l.id LIMIT 1)) \
     FROM json_each(?1) j";

/// The marked heads of some keys.
pub(crate) const MARKED: &str = "SELECT m.seq, m.order_key, m.status, m.created_at, m.id \
     FROM json_each(?1) j CROSS JOIN entries m INDEXED BY entries_order_head \
     ON m.ns = ?2 AND m.order_key = j.value AND m.order_head = 1";

pub(crate) const MARK: &str =
    "UPDATE entries SET order_head = 1 WHERE seq IN (SELECT value FROM json_each(?1))";
pub(crate) const UNMARK: &str =
    "UPDATE entries SET order_head = 0 WHERE seq IN (SELECT value FROM json_each(?1))";

fn json_keys<'a>(keys: impl IntoIterator<Item = &'a OrderKey>) -> String {
    let keys: Vec<&str> = keys.into_iter().map(OrderKey::as_str).collect();
    // Lists of texts always serialise.
    serde_json::to_string(&keys).unwrap_or_default()
}

/// Makes the marks of these keys right.
pub(super) async fn settle(
    session: &mut Session,
    keys: &BTreeSet<OrderKey>,
) -> Result<(), StepError> {
    if keys.is_empty() {
        return Ok(());
    }
    let ns = session.ns;
    let rows = sqlx::query(LINES).bind(json_keys(keys)).bind(ns).fetch_all(session.conn()?).await?;
    let lines = rows.iter().map(read_line).collect::<Result<Vec<Line>, _>>()?;
    let wrong: Vec<&Line> = lines.iter().filter(|line| line.marked != line.head).collect();
    // First off, then on: of one key there is never more than one.
    for (statement, seqs) in [
        (UNMARK, wrong.iter().filter_map(|line| line.marked).collect::<Vec<_>>()),
        (MARK, wrong.iter().filter_map(|line| line.head).collect()),
    ] {
        if !seqs.is_empty() {
            sqlx::query(statement).bind(json_integers(seqs)).execute(session.conn()?).await?;
        }
    }
    tracing::trace!(
        keys = lines.len(),
        moved = wrong.len(),
        first = wrong.first().map_or("", |line| &line.key),
        "sqlite.order_heads_settled"
    );
    Ok(())
}

fn read_line(row: &SqliteRow) -> Result<Line, sqlx::Error> {
    Ok(Line { key: row.try_get(1)?, marked: row.try_get(2)?, head: row.try_get(3)? })
}

/// What new entries mean for their order keys.
#[derive(Default)]
pub(super) struct Newcomers {
    /// Those that are heads as they come.
    pub(super) heads: HashSet<i64>,
    /// Keys that can't be told that simply: to be settled after the insert.
    pub(super) unsettled: BTreeSet<OrderKey>,
}

/// Tells which of the new entries are heads, without writing them twice in the usual cases: the key is new, or
/// somebody older is head already.
pub(super) async fn of_new(
    session: &mut Session,
    new: &[NewEntry],
) -> Result<Newcomers, StepError> {
    let mut first: BTreeMap<&OrderKey, &NewEntry> = BTreeMap::new();
    let mut newcomers = Newcomers::default();
    for entry in new.iter().filter(|entry| entry.op.state.status.is_live()) {
        let Some(key) = &entry.op.order_key else { continue };
        if entry.op.state.status == Status::Replaying {
            newcomers.unsettled.insert(key.clone());
        }
        let oldest = first.entry(key).or_insert(entry);
        if entry.op.position() < oldest.op.position() {
            *oldest = entry;
        }
    }
    if first.is_empty() {
        return Ok(newcomers);
    }
    let marked = marked(session, first.keys().copied()).await?;
    for (key, entry) in first {
        if newcomers.unsettled.contains(key) {
            continue;
        }
        match marked.get(key.as_str()) {
            None => {
                newcomers.heads.insert(entry.seq);
            }
            Some(Marked { status: Status::Replaying, .. }) => {}
            Some(head) if head.position < entry.op.position() => {}
            Some(_) => {
                newcomers.unsettled.insert(key.clone());
            }
        }
    }
    Ok(newcomers)
}

/// A marked head.
pub(super) struct Marked {
    status: Status,
    pub(super) position: (Timestamp, EntryId),
}

/// The marked heads of these keys.
pub(super) async fn marked(
    session: &mut Session,
    keys: impl IntoIterator<Item = &OrderKey>,
) -> Result<HashMap<String, Marked>, StepError> {
    let ns = session.ns;
    let rows =
        sqlx::query(MARKED).bind(json_keys(keys)).bind(ns).fetch_all(session.conn()?).await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of(row, "entries");
            let _seq: i64 = columns.get()?;
            let key = columns.get()?;
            let status = columns.parsed("status", str::parse::<Status>)?;
            let position = (columns.time("created_at")?, columns.id()?);
            Ok((key, Marked { status, position }))
        })
        .collect()
}
