//! Merging captures into live entries with the same dedup key.

use std::collections::{BTreeSet, HashMap};

use baldur_core::{
    EntryId, FailedOp, Timestamp,
    command::{Capture, OnMerge},
    decide,
    name::DedupKey,
};

use super::{
    Session,
    capture::Known,
    claim::{self, Candidate},
    effects::{Effects, MergedId},
    room::RoomBook,
};
use crate::{
    error::StepError,
    rows::{Standing, standing_columns},
    sql::json_ids,
};

/// The oldest live entry of each dedup key.
pub(crate) const LIVE_WITH: &str = concat!(
    "SELECT ",
    standing_columns!(),
    ", j.value FROM json_each(?1) j CROSS JOIN entries e ON e.seq = \
     (SELECT l.seq FROM entries l INDEXED BY entries_dedup_live \
      WHERE l.ns = ?2 AND l.dedup_key = j.value \
      AND l.status IN ('pending', 'replaying', 'reviewing', 'requires_review') \
      ORDER BY l.created_at, l.id LIMIT 1)"
);

/// The live entries of a dedup key that follow a position.
pub(crate) const NEXT_LIVE_WITH: &str = concat!(
    "SELECT ",
    standing_columns!(),
    ", e.created_at FROM entries e INDEXED BY entries_dedup_live \
     WHERE e.ns = ?1 AND e.dedup_key = ?2 \
     AND e.status IN ('pending', 'replaying', 'reviewing', 'requires_review') \
     AND (e.created_at, e.id) > (?3, ?4) ORDER BY e.created_at, e.id LIMIT ?5"
);

/// How many followers are read at once. Several live entries of one dedup key are rare: reopened or imported ones.
const MOST_READ: i64 = 8;

/// The entry that captures with a dedup key merge into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Stored(EntryId),
    /// New in the same batch; its place among the new ones.
    New(usize),
}

/// The entries that captures of a batch merge into.
pub(super) struct Targets {
    by_key: HashMap<DedupKey, Target>,
    /// Those whose payload may be replaced, as they are stored.
    ops: HashMap<EntryId, FailedOp>,
}

impl Targets {
    /// Loads what the captures need. Also answers where the stored entries stand.
    pub(super) async fn load(
        session: &mut Session,
        captures: impl Iterator<Item = &Capture> + Clone,
    ) -> Result<(Self, Vec<Standing>), StepError> {
        let keys = |captures: &mut dyn Iterator<Item = &'_ Capture>| -> BTreeSet<DedupKey> {
            captures.filter_map(|capture| capture.op.dedup_key.clone()).collect()
        };
        let live = live_with(session, &keys(&mut captures.clone())).await?;
        let replacing = keys(&mut captures.filter(|capture| capture.on_merge == OnMerge::KeepLast));
        let replaceable = live.iter().filter(|(key, _)| replacing.contains(key));
        let replaceable: Vec<EntryId> = replaceable.map(|(_, standing)| standing.id).collect();
        let by_key =
            live.iter().map(|(key, standing)| (key.clone(), Target::Stored(standing.id))).collect();
        let mut targets = Self { by_key, ops: HashMap::new() };
        targets.load_ops(session, &replaceable).await?;
        Ok((targets, live.into_iter().map(|(_, standing)| standing).collect()))
    }

    async fn load_ops(&mut self, session: &mut Session, ids: &[EntryId]) -> Result<(), StepError> {
        if ids.is_empty() {
            return Ok(());
        }
        let loaded = claim::load(session, claim::BY_ID, json_ids(ids.iter().copied())).await?;
        self.ops.extend(loaded.into_iter().map(|Candidate { op, .. }| (op.id, op)));
        Ok(())
    }

    /// Merges the capture if an entry with its dedup key is live. Answers which entry, and which occurrence it was.
    pub(super) async fn merge(
        &mut self,
        session: &mut Session,
        effects: &mut Effects,
        capture: &Capture,
        now: Timestamp,
    ) -> Result<Option<Known>, StepError> {
        let target = capture.op.dedup_key.as_ref().and_then(|key| self.by_key.get(key).copied());
        match target {
            None => Ok(None),
            Some(Target::New(index)) => Ok(merge_into_new(effects, index, capture, now)),
            Some(Target::Stored(id)) => {
                let replaces = capture.on_merge == OnMerge::KeepLast;
                // After an eviction another entry is the target, whose payload nobody thought to be needed.
                if replaces && !self.ops.contains_key(&id) {
                    self.load_ops(session, &[id]).await?;
                }
                let op = self.ops.get(&id).filter(|_| replaces);
                Ok(merge_into_stored(effects, id, op, capture, now))
            }
        }
    }

    /// A new entry of the batch.
    pub(super) fn enters(&mut self, op: &FailedOp, index: usize) {
        if let Some(key) = op.dedup_key.as_ref().filter(|_| op.state.status.is_live()) {
            self.by_key.insert(key.clone(), Target::New(index));
        }
    }

    /// An entry went. Captures with its dedup key merge into the live one that follows, if there is any.
    pub(super) async fn leaves(
        &mut self,
        session: &mut Session,
        effects: &mut Effects,
        room: &RoomBook,
        gone: &FailedOp,
    ) -> Result<(), StepError> {
        let Some(key) = &gone.dedup_key else { return Ok(()) };
        match self.by_key.get(key) {
            Some(Target::Stored(id)) if *id == gone.id => {
                match follower(session, room, key, gone.position()).await? {
                    Some(standing) => {
                        self.by_key.insert(key.clone(), Target::Stored(standing.id));
                        effects.track(standing);
                    }
                    None => {
                        self.by_key.remove(key);
                    }
                }
            }
            // A new entry with the key is there only because no stored one was.
            Some(Target::New(index))
                if effects.new.get(*index).is_some_and(|entry| entry.op.id == gone.id) =>
            {
                self.by_key.remove(key);
            }
            Some(_) | None => {}
        }
        Ok(())
    }
}

fn merge_into_new(
    effects: &mut Effects,
    index: usize,
    capture: &Capture,
    now: Timestamp,
) -> Option<Known> {
    let entry = effects.new.get_mut(index)?;
    let (seq, into) = (entry.seq, entry.op.id);
    if let Some(replaced) = decide::replaced_payload(&entry.op, &capture.op, capture.on_merge) {
        entry.op = replaced;
    }
    let state = &entry.op.state;
    let change = decide::merge(into, state, &capture.op, capture.evidence.clone(), now);
    let occurrence = change.state.occurrences;
    effects.change_new(index, change);
    effects.merged.push(MergedId { id: capture.op.id, seq, occurrence });
    Some(Known { id: into, occurrence })
}

/// `op` is the stored entry, if its payload may be replaced.
fn merge_into_stored(
    effects: &mut Effects,
    into: EntryId,
    op: Option<&FailedOp>,
    capture: &Capture,
    now: Timestamp,
) -> Option<Known> {
    let standing = effects.standing(into)?;
    let (seq, state) = (standing.seq, standing.state.clone());
    if let Some(op) = effects.replaced(into).or(op) {
        let op = FailedOp { state: state.clone(), ..op.clone() };
        if let Some(op) = decide::replaced_payload(&op, &capture.op, capture.on_merge) {
            effects.replace_payload(seq, op);
        }
    }
    let change = decide::merge(into, &state, &capture.op, capture.evidence.clone(), now);
    let occurrence = change.state.occurrences;
    effects.change(into, change);
    effects.merged.push(MergedId { id: capture.op.id, seq, occurrence });
    Some(Known { id: into, occurrence })
}

async fn live_with(
    session: &mut Session,
    keys: &BTreeSet<DedupKey>,
) -> Result<Vec<(DedupKey, Standing)>, StepError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<&str> = keys.iter().map(DedupKey::as_str).collect();
    // Lists of texts always serialise.
    let list = serde_json::to_string(&keys).unwrap_or_default();
    let ns = session.ns;
    let rows = sqlx::query(LIVE_WITH).bind(list).bind(ns).fetch_all(session.conn()?).await?;
    rows.iter()
        .map(|row| {
            let (standing, mut rest) = Standing::read_with_rest(row)?;
            Ok((rest.name("dedup_key", DedupKey::parse)?, standing))
        })
        .collect()
}

/// The first live entry with this dedup key after a position that did not go in this batch.
async fn follower(
    session: &mut Session,
    room: &RoomBook,
    key: &DedupKey,
    (mut created_at, mut id): (Timestamp, EntryId),
) -> Result<Option<Standing>, StepError> {
    let ns = session.ns;
    loop {
        let rows = sqlx::query(NEXT_LIVE_WITH)
            .bind(ns)
            .bind(key.as_str().to_owned())
            .bind(created_at.as_micros())
            .bind(id.as_bytes().to_vec())
            .bind(MOST_READ)
            .fetch_all(session.conn()?)
            .await?;
        for row in &rows {
            let (standing, mut rest) = Standing::read_with_rest(row)?;
            if !room.is_gone(standing.id) {
                return Ok(Some(standing));
            }
            (created_at, id) = (rest.time("created_at")?, standing.id);
        }
        if rows.is_empty() {
            return Ok(None);
        }
    }
}
