//! Merging captures into live entries with the same dedup key.
//!
//! Whoever calls this holds the lock of each dedup key, so no other capture makes an entry with it. An entry may still
//! end meanwhile, by a settle or an act: who merges into it locks its row, and then looks whether it is still the one.

use std::collections::{BTreeSet, HashMap};

use baldur_core::{
    EntryId, FailedOp, Timestamp,
    command::{Capture, OnMerge},
    decide,
    name::DedupKey,
};
use sqlx::types::Uuid;

use super::{
    Session,
    candidate::Candidate,
    capture::Known,
    effects::{Effects, MergedId},
    look::live_with,
    room::RoomBook,
};
use crate::{columns::Columns, error::StepError, rows::Standing};

/// The oldest live entry of each dedup key, but for some.
pub(crate) const LIVE_WITH: &str = live_with!("$2", " AND s.id <> ALL($3)");

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
    /// Loads what the captures need, beginning with what was found. Also answers where the stored entries stand.
    pub(super) async fn load(
        session: &mut Session,
        captures: &[&Capture],
        found: HashMap<DedupKey, EntryId>,
    ) -> Result<(Self, Vec<Standing>), StepError> {
        let replacing = captures.iter().filter(|capture| capture.on_merge == OnMerge::KeepLast);
        let replacing: BTreeSet<&DedupKey> =
            replacing.filter_map(|capture| capture.op.dedup_key.as_ref()).collect();
        let live = lock_live(session, found, &[]).await?;
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
        let loaded = Candidate::load(session, ids.iter().copied()).await?;
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
                self.by_key.remove(key);
                let found = find_live(session, &[key], &room.gone()).await?;
                for (key, standing) in lock_live(session, found, &room.gone()).await? {
                    self.by_key.insert(key, Target::Stored(standing.id));
                    effects.track(standing);
                }
            }
            // A new entry with the key is there only because no stored one was.
            Some(Target::New(index))
                if effects.new.get(*index).is_some_and(|entry| entry.id == gone.id) =>
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
    let into = entry.id;
    if let Some(replaced) = decide::replaced_payload(entry, &capture.op, capture.on_merge) {
        *entry = replaced;
    }
    let change = decide::merge(into, &entry.state, &capture.op, capture.evidence.clone(), now);
    let occurrence = change.state.occurrences;
    effects.change_new(index, change);
    effects.merged.push(MergedId { id: capture.op.id, entry: into, occurrence });
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
    let state = effects.standing(into)?.state.clone();
    if let Some(op) = effects.replaced(into).or(op) {
        let op = FailedOp { state: state.clone(), ..op.clone() };
        if let Some(op) = decide::replaced_payload(&op, &capture.op, capture.on_merge) {
            effects.replace_payload(op);
        }
    }
    let change = decide::merge(into, &state, &capture.op, capture.evidence.clone(), now);
    let occurrence = change.state.occurrences;
    effects.change(into, change);
    effects.merged.push(MergedId { id: capture.op.id, entry: into, occurrence });
    Some(Known { id: into, occurrence })
}

/// Locks the oldest live entry of each dedup key, without those that went in this transaction. `found` says which it was.
async fn lock_live(
    session: &mut Session,
    mut found: HashMap<DedupKey, EntryId>,
    gone: &[Uuid],
) -> Result<Vec<(DedupKey, Standing)>, StepError> {
    let mut live = Vec::with_capacity(found.len());
    while !found.is_empty() {
        let mut standings = session.lock_rows(found.values().copied()).await?;
        let mut ended = Vec::new();
        for (key, id) in found {
            match standings.remove(&id).filter(|standing| standing.state.status.is_live()) {
                Some(standing) => live.push((key, standing)),
                // It ended before it was locked, and makes place for the next.
                None => ended.push(key),
            }
        }
        found = find_live(session, &ended.iter().collect::<Vec<_>>(), gone).await?;
    }
    Ok(live)
}

async fn find_live(
    session: &mut Session,
    keys: &[&DedupKey],
    gone: &[Uuid],
) -> Result<HashMap<DedupKey, EntryId>, StepError> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let ns = session.ns;
    let rows = sqlx::query(LIVE_WITH)
        .bind(ns)
        .bind(keys.iter().map(|key| key.as_str()).collect::<Vec<_>>())
        .bind(gone)
        .fetch_all(session.conn())
        .await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of(row, "states");
            Ok((columns.name("dedup_key", DedupKey::parse)?, columns.id()?))
        })
        .collect()
}
