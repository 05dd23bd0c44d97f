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
use sqlx::{Row, types::Uuid};

use super::{
    Session,
    candidate::Candidate,
    capture::Known,
    effects::{Effects, MergedId},
    room::RoomBook,
};
use crate::{error::StepError, rows::Standing};

/// The oldest live entry of each dedup key, but for some.
pub(crate) const LIVE_WITH: &str = "SELECT k.key, l.id FROM unnest($2::text[]) k(key) \
     CROSS JOIN LATERAL (SELECT s.id FROM baldur.states s \
      WHERE s.ns = $1 AND s.dedup_key = k.key \
      AND s.status IN ('pending', 'replaying', 'reviewing', 'requires_review') \
      AND s.id <> ALL($3) ORDER BY s.created_at, s.id LIMIT 1) l";

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
        captures: &[&Capture],
    ) -> Result<(Self, Vec<Standing>), StepError> {
        let with_key = || captures.iter().filter_map(|c| Some((c, c.op.dedup_key.clone()?)));
        let keys: BTreeSet<DedupKey> = with_key().map(|(_, key)| key).collect();
        let replacing = with_key().filter(|(capture, _)| capture.on_merge == OnMerge::KeepLast);
        let replacing: BTreeSet<DedupKey> = replacing.map(|(_, key)| key).collect();
        let live = live_with(session, &keys, &[]).await?;
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
                let key = BTreeSet::from([key.clone()]);
                let found = live_with(session, &key, &room.gone()).await?;
                self.by_key.retain(|known, _| !key.contains(known));
                for (key, standing) in found {
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

/// The oldest live entry of each dedup key, locked, without those that went in this transaction.
async fn live_with(
    session: &mut Session,
    keys: &BTreeSet<DedupKey>,
    gone: &[Uuid],
) -> Result<Vec<(DedupKey, Standing)>, StepError> {
    let mut missing: Vec<DedupKey> = keys.iter().cloned().collect();
    let mut found = Vec::new();
    while !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(DedupKey::as_str).collect();
        let ns = session.ns;
        let rows = sqlx::query(LIVE_WITH)
            .bind(ns)
            .bind(&names[..])
            .bind(gone)
            .fetch_all(session.conn())
            .await?;
        let mut ids: HashMap<String, Uuid> = HashMap::with_capacity(rows.len());
        for row in &rows {
            ids.insert(row.try_get(0)?, row.try_get(1)?);
        }
        missing.retain(|key| ids.contains_key(key.as_str()));
        let wanted = ids.values().map(|id| EntryId::from_bytes(id.into_bytes()));
        let mut standings = session.lock_rows(wanted).await?;
        // One that ended before it was locked makes place for the next.
        missing.retain(|key| {
            let id = ids.get(key.as_str()).map(|id| EntryId::from_bytes(id.into_bytes()));
            let standing = id.and_then(|id| standings.remove(&id));
            match standing.filter(|standing| standing.state.status.is_live()) {
                Some(standing) => {
                    found.push((key.clone(), standing));
                    false
                }
                None => true,
            }
        });
    }
    Ok(found)
}
