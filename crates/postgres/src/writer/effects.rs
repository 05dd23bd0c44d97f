//! What a batch does to the database, collected first and written with few statements.

use std::collections::{BTreeSet, HashMap};

use baldur_core::{
    EntryId, EvidenceRecord, FailedOp, OpState, Status, decide::Change, name::OrderKey,
};

use super::{
    candidate::Candidate,
    counters::{Deltas, Place},
    facet_keys,
    gone::{self, Gone, Origin},
    heads, insert,
    session::Session,
    trail::EvidenceRows,
    update::{self, Update},
};
use crate::{
    error::StepError,
    rows::Standing,
    sql::{integer, uuids},
};

/// A merged capture: its id, the entry that it merged into, and which occurrence it was.
pub(super) struct MergedId {
    pub(super) id: EntryId,
    pub(super) entry: EntryId,
    pub(super) occurrence: u64,
}

/// An entry that is to go.
pub(super) enum Victim {
    /// It is stored.
    Stored(Box<Candidate>),
    /// It is new in the same batch: its place among the new ones.
    New(usize),
}

/// A stored entry that a batch works on.
struct Tracked {
    standing: Standing,
    /// The state as it is stored.
    before: OpState,
}

/// The effects of a batch.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) new: Vec<FailedOp>,
    pub(super) merged: Vec<MergedId>,
    /// Stored entries with another payload.
    replaced: HashMap<EntryId, FailedOp>,
    gone: Vec<Gone>,
    tracked: HashMap<EntryId, Tracked>,
    evidence: Vec<EvidenceRecord>,
}

impl Effects {
    /// Effects on these stored entries.
    pub(super) fn on(standings: impl IntoIterator<Item = Standing>) -> Self {
        let mut effects = Self::default();
        for standing in standings {
            effects.track(standing);
        }
        effects
    }

    /// Where a stored entry stands after what was done so far.
    pub(super) fn standing(&self, id: EntryId) -> Option<&Standing> {
        self.tracked.get(&id).map(|tracked| &tracked.standing)
    }

    /// Also works on this stored entry.
    pub(super) fn track(&mut self, standing: Standing) {
        let before = standing.state.clone();
        self.tracked.entry(standing.id).or_insert(Tracked { standing, before });
    }

    /// A stored entry whose payload was replaced; its state is the one that is tracked.
    pub(super) fn replaced(&self, id: EntryId) -> Option<&FailedOp> {
        self.replaced.get(&id)
    }

    /// Replaces the payload of a stored entry.
    pub(super) fn replace_payload(&mut self, op: FailedOp) {
        self.replaced.insert(op.id, op);
    }

    /// The entry that goes, as it is after what was done so far.
    pub(super) fn victim(&self, victim: Victim) -> Option<(FailedOp, Origin)> {
        match victim {
            Victim::New(index) => {
                let op = self.new.get(index)?;
                Some((op.clone(), Origin::New { index }))
            }
            Victim::Stored(found) => {
                let Candidate { standing, op } = *found;
                let mut op = self.replaced(op.id).cloned().unwrap_or(op);
                if let Some(standing) = self.standing(op.id) {
                    op.state = standing.state.clone();
                }
                Some((op, Origin::Stored { facet_key: standing.facet_key }))
            }
        }
    }

    /// Removes an entry, stored or new in this batch; this is its last record.
    pub(super) fn evict(&mut self, gone: Gone, record: EvidenceRecord) {
        self.tracked.remove(&gone.evicted.id);
        self.replaced.remove(&gone.evicted.id);
        self.evidence.push(record);
        self.gone.push(gone);
    }

    /// Changes a stored entry, with evidence.
    pub(super) fn change(&mut self, id: EntryId, change: Change) {
        let Change { state, record } = change;
        if let Some(tracked) = self.tracked.get_mut(&id) {
            tracked.standing.state = state;
            self.evidence.push(record);
        }
    }

    /// Changes a stored entry in a way that needs no evidence.
    pub(super) fn replace_state(&mut self, id: EntryId, state: OpState) {
        if let Some(tracked) = self.tracked.get_mut(&id) {
            tracked.standing.state = state;
        }
    }

    /// Adds an entry with its evidence.
    pub(super) fn insert(
        &mut self,
        op: FailedOp,
        evidence: impl IntoIterator<Item = EvidenceRecord>,
    ) {
        self.evidence.extend(evidence);
        self.new.push(op);
    }

    /// Merges a capture into a new entry of the same batch.
    pub(super) fn change_new(&mut self, index: usize, change: Change) {
        let Change { state, record } = change;
        if let Some(op) = self.new.get_mut(index) {
            op.state = state;
            self.evidence.push(record);
        }
    }

    /// Writes everything. Afterwards counters and heads agree with the entries.
    pub(super) async fn write(self, session: &mut Session) -> Result<(), StepError> {
        let Self { new, merged, replaced, gone, tracked, evidence } = self;
        let ns = session.ns;
        let mut deltas = Deltas::default();
        let ops: Vec<&FailedOp> = new.iter().collect();
        let facet_keys = facet_keys::resolve(session, &ops).await?;
        for (op, facet_key) in new.iter().zip(&facet_keys) {
            let (domain, status) = (&op.domain, op.state.status);
            deltas.enters(Place { facet_key: *facet_key, domain, status });
        }
        let changed: Vec<Tracked> =
            tracked.into_values().filter(|t| t.before != t.standing.state).collect();
        let mut order_keys = moved(&changed, &mut deltas);
        for Gone { origin, order_key, evicted, .. } in &gone {
            let facet_key = match origin {
                Origin::Stored { facet_key } => Some(*facet_key),
                Origin::New { index } => facet_keys.get(*index).copied(),
            };
            let facet_key = facet_key.ok_or(StepError::Sql(sqlx::Error::RowNotFound))?;
            let (domain, status) = (&evicted.domain, evicted.status);
            deltas.leaves(Place { facet_key, domain, status });
            order_keys.extend(order_key.clone());
        }
        let evidence = EvidenceRows::of(&evidence, deltas);
        session.engine().unfolded.add(evidence.deltas());
        if new.is_empty() {
            evidence.write(session.conn(), ns).await?;
        } else {
            order_keys.extend(write_new(session, &new, &facet_keys, &evidence).await?);
        }
        write_changed(session, &changed).await?;
        let replaced: Vec<FailedOp> = replaced.into_values().collect();
        update::payloads(session.conn(), ns, &replaced).await?;
        // Also new entries that go in the same batch were written before.
        gone::write(session, &gone).await?;
        write_merged(session, &merged).await?;
        heads::settle(session, &order_keys).await
    }
}

/// Answers the order keys whose head must be found anew.
async fn write_new(
    session: &mut Session,
    new: &[FailedOp],
    facet_keys: &[i64],
    evidence: &EvidenceRows,
) -> Result<BTreeSet<OrderKey>, StepError> {
    let heads::Newcomers { heads, unsettled } = heads::of_new(session, new).await?;
    let rows: Vec<insert::Row<'_>> = new
        .iter()
        .zip(facet_keys)
        .enumerate()
        .map(|(index, (op, facet_key))| insert::Row {
            op,
            facet_key: *facet_key,
            order_head: op.order_key.is_none() || heads.contains(&index),
        })
        .collect();
    let ns = session.ns;
    insert::rows(session.conn(), ns, &rows, evidence).await?;
    Ok(unsettled)
}

/// Counts where entries stand now. Answers the order keys whose head must be found anew.
fn moved(changed: &[Tracked], deltas: &mut Deltas) -> BTreeSet<OrderKey> {
    let mut order_keys = BTreeSet::new();
    for Tracked { standing, before } in changed {
        let (from, to) = (before.status, standing.state.status);
        if from != to {
            let (facet_key, domain) = (standing.facet_key, &standing.domain);
            deltas.leaves(Place { facet_key, domain, status: from });
            deltas.enters(Place { facet_key, domain, status: to });
            // A head that is claimed stays the head.
            if to != Status::Replaying || !standing.order_head {
                order_keys.extend(standing.order_key.clone());
            }
        }
    }
    order_keys
}

async fn write_changed(session: &mut Session, changed: &[Tracked]) -> Result<(), StepError> {
    let updates = changed.iter().map(|Tracked { standing, before }| Update {
        id: standing.id,
        before,
        after: &standing.state,
    });
    let (light, whole): (Vec<_>, Vec<_>) =
        updates.partition(|update| update::is_light(update.before, update.after));
    let ns = session.ns;
    update::light(session.conn(), ns, &light).await?;
    update::whole(session.conn(), ns, &whole).await
}

/// Ids of captures that merged.
pub(crate) const MERGED: &str = "INSERT INTO baldur.merged_ids (ns, id, entry, occurrence) \
     SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::bigint[])";

async fn write_merged(session: &mut Session, merged: &[MergedId]) -> Result<(), StepError> {
    if merged.is_empty() {
        return Ok(());
    }
    let ns = session.ns;
    sqlx::query(MERGED)
        .bind(ns)
        .bind(uuids(merged.iter().map(|merged| merged.id)))
        .bind(uuids(merged.iter().map(|merged| merged.entry)))
        .bind(merged.iter().map(|merged| integer(merged.occurrence)).collect::<Vec<_>>())
        .execute(session.conn())
        .await?;
    Ok(())
}
