//! What a batch does to the database, collected first and written with few statements.

use std::collections::{BTreeSet, HashMap};

use baldur_core::{
    EntryId, EvidenceRecord, FailedOp, OpState, Status, decide::Change, name::OrderKey, wire,
};
use sqlx::SqliteConnection;

use super::{counters::Deltas, heads, insert, session::Session, update};
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
    tracked: HashMap<EntryId, Tracked>,
    evidence: Vec<(i64, EvidenceRecord)>,
}

impl Effects {
    /// Effects on these stored entries.
    pub(super) fn on(standings: impl IntoIterator<Item = Standing>) -> Self {
        let track = |standing: Standing| {
            let before = standing.state.clone();
            (standing.id, Tracked { standing, before })
        };
        Self { tracked: standings.into_iter().map(track).collect(), ..Self::default() }
    }

    /// Where a stored entry stands after what was done so far.
    pub(super) fn standing(&self, id: EntryId) -> Option<&Standing> {
        self.tracked.get(&id).map(|tracked| &tracked.standing)
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
        let Self { new, merged, tracked, evidence } = self;
        let mut deltas = Deltas::default();
        let mut order_keys = BTreeSet::new();
        if !new.is_empty() {
            order_keys.extend(write_new(session, &new, &mut deltas).await?);
        }
        let changed: Vec<Tracked> =
            tracked.into_values().filter(|t| t.before != t.standing.state).collect();
        order_keys.extend(write_changed(session, &changed, &mut deltas).await?);
        write_evidence(session, &evidence).await?;
        write_merged(session, &merged).await?;
        deltas.write(session.conn()?).await?;
        heads::settle(session, &order_keys).await
    }
}

/// Answers the order keys whose head must be found anew.
async fn write_new(
    session: &mut Session,
    new: &[NewEntry],
    deltas: &mut Deltas,
) -> Result<BTreeSet<OrderKey>, StepError> {
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
    for (entry, facet_key) in new.iter().zip(keys) {
        deltas.enters(facet_key, entry.op.state.status);
    }
    Ok(unsettled)
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
        let (from, to): (Status, Status) = (before.status, standing.state.status);
        if from != to {
            deltas.leaves(standing.facet_key, from);
            deltas.enters(standing.facet_key, to);
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

async fn write_evidence(
    session: &mut Session,
    evidence: &[(i64, EvidenceRecord)],
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
    sqlx::query("UPDATE namespaces SET unsealed = unsealed + ? WHERE ns = ?")
        .bind(limit(evidence.len()))
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
