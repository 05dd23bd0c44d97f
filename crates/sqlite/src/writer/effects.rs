//! What a batch does to the database, collected first and written with few statements.

use std::collections::{BTreeSet, HashMap};

use baldur_core::{
    EntryId, EvidenceRecord, FailedOp, OpState, decide::Change, name::OrderKey, wire,
};
use sqlx::SqliteConnection;

use super::{
    claim::Candidate,
    counters::{Deltas, Place},
    gone::{self, Gone, Origin},
    heads, insert,
    room::Victim,
    session::Session,
    update,
};
use crate::{
    error::StepError,
    rows::Standing,
    sql::{MultiRow, integer, limit},
};

/// A new entry.
pub(super) struct NewEntry {
    pub(super) seq: i64,
    pub(super) op: FailedOp,
}

/// A merged capture: its id, the entry that it merged into, and which occurrence it was.
pub(super) struct MergedId {
    pub(super) id: EntryId,
    pub(super) seq: i64,
    pub(super) occurrence: u64,
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
    pub(super) new: Vec<NewEntry>,
    pub(super) merged: Vec<MergedId>,
    /// Stored entries with another payload.
    replaced: HashMap<EntryId, (i64, FailedOp)>,
    gone: Vec<Gone>,
    tracked: HashMap<EntryId, Tracked>,
    evidence: Vec<(i64, EvidenceRecord)>,
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
        self.replaced.get(&id).map(|(_, op)| op)
    }

    /// Replaces the payload of a stored entry.
    pub(super) fn replace_payload(&mut self, seq: i64, op: FailedOp) {
        self.replaced.insert(op.id, (seq, op));
    }

    /// The entry that goes, as it is after what was done so far.
    pub(super) fn victim(&self, victim: Victim) -> Option<(FailedOp, i64, Origin)> {
        match victim {
            Victim::New(index) => {
                let entry = self.new.get(index)?;
                Some((entry.op.clone(), entry.seq, Origin::New { index }))
            }
            Victim::Stored(found) => {
                let Candidate { standing, op } = *found;
                let mut op = self.replaced(op.id).cloned().unwrap_or(op);
                if let Some(standing) = self.standing(op.id) {
                    op.state = standing.state.clone();
                }
                Some((op, standing.seq, Origin::Stored { facet_key: standing.facet_key }))
            }
        }
    }

    /// Removes an entry, stored or new in this batch; this is its last record.
    pub(super) fn evict(&mut self, gone: Gone, record: EvidenceRecord) {
        self.tracked.remove(&gone.evicted.id);
        self.replaced.remove(&gone.evicted.id);
        self.evidence.push((gone.seq, record));
        self.gone.push(gone);
    }

    /// Changes a stored entry, with evidence.
    pub(super) fn change(&mut self, id: EntryId, change: Change) {
        let Change { state, record } = change;
        if let Some(tracked) = self.tracked.get_mut(&id) {
            tracked.standing.state = state;
            self.evidence.push((tracked.standing.seq, record));
        }
    }

    /// Changes a stored entry in a way that needs no evidence.
    pub(super) fn replace_state(&mut self, id: EntryId, state: OpState) {
        if let Some(tracked) = self.tracked.get_mut(&id) {
            tracked.standing.state = state;
        }
    }

    /// Adds an entry with its evidence. Answers its number.
    pub(super) fn insert(
        &mut self,
        session: &mut Session,
        op: FailedOp,
        evidence: impl IntoIterator<Item = EvidenceRecord>,
    ) -> i64 {
        let seq = session.next_seq;
        session.next_seq += 1;
        self.evidence.extend(evidence.into_iter().map(|record| (seq, record)));
        self.new.push(NewEntry { seq, op });
        seq
    }

    /// Merges a capture into a new entry of the same batch.
    pub(super) fn change_new(&mut self, index: usize, change: Change) {
        let Change { state, record } = change;
        if let Some(entry) = self.new.get_mut(index) {
            entry.op.state = state;
            self.evidence.push((entry.seq, record));
        }
    }

    /// Writes everything. Afterwards counters and heads agree with the entries.
    pub(super) async fn write(self, session: &mut Session) -> Result<(), StepError> {
        let Self { new, merged, replaced, gone, tracked, evidence } = self;
        let mut deltas = Deltas::default();
        let mut order_keys = BTreeSet::new();
        let mut facet_keys = Vec::new();
        if !new.is_empty() {
            let unsettled;
            (unsettled, facet_keys) = write_new(session, &new, &mut deltas).await?;
            order_keys.extend(unsettled);
        }
        let changed: Vec<Tracked> =
            tracked.into_values().filter(|t| t.before != t.standing.state).collect();
        order_keys.extend(write_changed(session, &changed, &mut deltas).await?);
        let replaced: Vec<_> = replaced.into_values().collect();
        update::payloads(session.conn()?, &replaced).await?;
        // Also new entries that went in the same batch were written before, so that no number is given twice.
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
        gone::write(session, &gone).await?;
        write_evidence(session, &evidence, deltas.live_in_all()).await?;
        write_merged(session, &merged).await?;
        let ns = session.ns;
        deltas.write(session.conn()?, ns).await?;
        heads::settle(session, &order_keys).await
    }
}

/// Answers the order keys whose head must be found anew, and the facet key of each entry.
async fn write_new(
    session: &mut Session,
    new: &[NewEntry],
    deltas: &mut Deltas,
) -> Result<(BTreeSet<OrderKey>, Vec<i64>), StepError> {
    let ns = session.ns;
    let ops: Vec<&FailedOp> = new.iter().map(|entry| &entry.op).collect();
    let mut facet_keys = std::mem::take(&mut session.facet_keys);
    let keys = facet_keys.resolve(session.conn()?, ns, &ops).await;
    session.facet_keys = facet_keys;
    let keys = keys?;
    let heads::Newcomers { heads, unsettled } = heads::of_new(session, new).await?;
    let rows: Vec<insert::Row<'_>> = new
        .iter()
        .zip(&keys)
        .map(|(entry, facet_key)| insert::Row {
            ns,
            seq: entry.seq,
            op: &entry.op,
            facet_key: *facet_key,
            order_head: entry.op.order_key.is_none() || heads.contains(&entry.seq),
        })
        .collect();
    insert::rows(session.conn()?, &rows).await?;
    for (NewEntry { seq: _, op }, facet_key) in new.iter().zip(&keys) {
        let (domain, status) = (&op.domain, op.state.status);
        deltas.enters(Place { facet_key: *facet_key, domain, status });
    }
    Ok((unsettled, keys))
}

async fn write_changed(
    session: &mut Session,
    changed: &[Tracked],
    deltas: &mut Deltas,
) -> Result<BTreeSet<OrderKey>, StepError> {
    let mut order_keys = BTreeSet::new();
    let (mut whole, mut light) = (Vec::new(), Vec::new());
    for Tracked { standing, before } in changed {
        let row = (standing.seq, &standing.state);
        if update::is_light(before, &standing.state) {
            light.push(row);
        } else {
            whole.push(row);
        }
        if before.status != standing.state.status {
            let (facet_key, domain) = (standing.facet_key, &standing.domain);
            deltas.leaves(Place { facet_key, domain, status: before.status });
            deltas.enters(Place { facet_key, domain, status: standing.state.status });
            order_keys.extend(standing.order_key.clone());
        }
    }
    update::light(session.conn()?, &light).await?;
    update::whole(session.conn()?, &whole).await?;
    Ok(order_keys)
}

pub(super) static EVIDENCE: MultiRow =
    MultiRow::new("INSERT INTO evidence (entry, counter, body) VALUES ", "(?, ?, ?)", "");

pub(super) static UNSEALED: MultiRow = MultiRow::new(
    "INSERT INTO unsealed (ns, pos, entry, counter, at) VALUES ",
    "(?, ?, ?, ?, ?)",
    "",
);

/// Also counts live entries in all: whatever changes their number leaves evidence, and the row is written anyway.
async fn write_evidence(
    session: &mut Session,
    evidence: &[(i64, EvidenceRecord)],
    live: i64,
) -> Result<(), StepError> {
    if evidence.is_empty() {
        return Ok(());
    }
    let ns = session.ns;
    let first = session.next_pos;
    session.next_pos += limit(evidence.len());
    let conn: &mut SqliteConnection = session.conn()?;
    EVIDENCE
        .run(conn, evidence, |query, (entry, record)| {
            let body = wire::encode_evidence(record);
            query.bind(*entry).bind(integer(record.counter)).bind(body)
        })
        .await?;
    let placed: Vec<_> = (first..).zip(evidence).collect();
    UNSEALED
        .run(conn, &placed, |query, (pos, (entry, record))| {
            let counter = integer(record.counter);
            query
                .bind(ns)
                .bind(*pos)
                .bind(*entry)
                .bind(counter)
                .bind(record.evidence.at.as_micros())
        })
        .await?;
    sqlx::query("UPDATE namespaces SET unsealed = unsealed + ?, live = live + ? WHERE ns = ?")
        .bind(limit(evidence.len()))
        .bind(live)
        .bind(ns)
        .execute(conn)
        .await?;
    Ok(())
}

pub(super) static MERGED: MultiRow =
    MultiRow::new("INSERT INTO merged_ids (ns, id, seq, occurrence) VALUES ", "(?, ?, ?, ?)", "");

async fn write_merged(session: &mut Session, merged: &[MergedId]) -> Result<(), StepError> {
    let ns = session.ns;
    MERGED
        .run(session.conn()?, merged, |query, MergedId { id, seq, occurrence }| {
            query.bind(ns).bind(id.as_bytes().to_vec()).bind(*seq).bind(integer(*occurrence))
        })
        .await?;
    Ok(())
}
