//! The entries, their evidence and the indexes, changed together.

use std::collections::{BTreeMap, HashMap};

use baldur_core::{
    EntryId, EvidenceRecord, FailedOp, OpState, Status, Timestamp, decide::Change, name::OrderKey,
};

use crate::{
    coordinate::Agreed,
    facet::{Bucket, FacetCounters},
    index::{DueAt, Indexes},
};

/// One entry with all that belongs to it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) op: FailedOp,
    pub(crate) evidence: Vec<EvidenceRecord>,
    pub(crate) bucket: Bucket,
    /// Its place in the queues, while it is claimable.
    queued: Option<DueAt>,
}

/// What a merged capture became.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merged {
    /// The entry that it merged into.
    pub(crate) into: EntryId,
    /// Which occurrence it was.
    pub(crate) occurrence: u64,
}

/// All that the store holds.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: HashMap<EntryId, Row>,
    merged: HashMap<EntryId, Merged>,
    /// What was evicted: its id, and its evidence. Sorted, so that answers don't depend on a hash map's whims.
    gone: BTreeMap<EntryId, Vec<EvidenceRecord>>,
    indexes: Indexes,
    facets: FacetCounters,
    evidence_total: u64,
    evidence_oldest: Option<Timestamp>,
    agreed: Agreed,
}

impl Table {
    pub(crate) fn agreed(&mut self) -> &mut Agreed {
        &mut self.agreed
    }

    pub(crate) fn row(&self, id: EntryId) -> Option<&Row> {
        self.rows.get(&id)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        // In list order, so that answers don't depend on the hash map's whims.
        self.indexes.positions().iter().filter_map(|(_, id)| self.rows.get(id))
    }

    pub(crate) fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    pub(crate) fn facets(&self) -> &FacetCounters {
        &self.facets
    }

    pub(crate) fn merged(&self, id: EntryId) -> Option<Merged> {
        self.merged.get(&id).copied()
    }

    /// Whether an entry with this id was here and went.
    pub(crate) fn is_gone(&self, id: EntryId) -> bool {
        self.gone.contains_key(&id)
    }

    /// All evidence of an entry, also when it is gone.
    pub(crate) fn evidence(&self, id: EntryId) -> &[EvidenceRecord] {
        let gone = || self.gone.get(&id).map(Vec::as_slice);
        self.row(id).map(|row| row.evidence.as_slice()).or_else(gone).unwrap_or_default()
    }

    /// All evidence that there is, entry by entry.
    pub(crate) fn all_evidence(&self) -> impl Iterator<Item = &EvidenceRecord> {
        let here = self.rows().map(|row| &row.evidence);
        here.chain(self.gone.values()).flatten()
    }

    pub(crate) fn remember_merged(&mut self, id: EntryId, merged: Merged) {
        self.merged.insert(id, merged);
    }

    /// How many records of evidence there are, and when the oldest was made.
    pub(crate) fn evidence_backlog(&self) -> (u64, Option<Timestamp>) {
        (self.evidence_total, self.evidence_oldest)
    }

    /// Adds an entry that is not there yet.
    pub(crate) fn insert(&mut self, op: FailedOp, evidence: Vec<EvidenceRecord>) {
        let id = op.id;
        let bucket = self.facets.bucket_for(&op);
        let head_before = self.head(op.order_key.as_ref());
        for record in &evidence {
            self.note_evidence(record);
        }
        self.facets.add(&bucket, op.state.status);
        self.indexes.insert(&op);
        self.rows.insert(id, Row { op, evidence, bucket, queued: None });
        self.requeue(id, head_before);
    }

    /// Stores a new state with its evidence.
    pub(crate) fn change(&mut self, id: EntryId, change: Change) {
        let Change { state, record } = change;
        self.note_evidence(&record);
        if let Some(row) = self.rows.get_mut(&id) {
            row.evidence.push(record);
        }
        self.replace_state(id, state);
    }

    /// Stores the entry with another payload. Nothing that is indexed may differ.
    pub(crate) fn replace_payload(&mut self, id: EntryId, op: FailedOp) {
        if let Some(row) = self.rows.get_mut(&id) {
            row.op = op;
        }
    }

    /// Removes an entry. Its evidence, with this last record, and its id stay.
    pub(crate) fn remove(&mut self, id: EntryId, record: EvidenceRecord) {
        let Some(row) = self.rows.get(&id) else { return };
        let order_key = row.op.order_key.clone();
        let head_before = self.head(order_key.as_ref());
        let Some(mut row) = self.rows.remove(&id) else { return };
        if let Some(at) = row.queued.take() {
            self.indexes.dequeue(&row.op, at);
        }
        self.indexes.remove(&row.op);
        self.facets.remove(&row.bucket, row.op.state.status);
        self.note_evidence(&record);
        row.evidence.push(record);
        self.gone.insert(id, row.evidence);
        let head_after = self.head(order_key.as_ref());
        for id in [head_before, head_after].into_iter().flatten() {
            self.place(id);
        }
    }

    /// Stores a new state that needs no evidence: an extended lease.
    pub(crate) fn replace_state(&mut self, id: EntryId, state: OpState) {
        let Some(order_key) = self.rows.get(&id).map(|row| row.op.order_key.clone()) else {
            return;
        };
        let head_before = self.head(order_key.as_ref());
        if let Some(row) = self.rows.get_mut(&id) {
            self.indexes.remove(&row.op);
            self.facets.remove(&row.bucket, row.op.state.status);
            row.op.state = state;
            self.facets.add(&row.bucket, row.op.state.status);
            self.indexes.insert(&row.op);
        }
        self.requeue(id, head_before);
    }

    /// The entry that keeps this one from being claimed.
    pub(crate) fn blocker_of(&self, op: &FailedOp) -> Option<EntryId> {
        let line = self.indexes.line(op.order_key.as_ref()?)?;
        line.blocker_of(op.position())
    }

    fn head(&self, key: Option<&OrderKey>) -> Option<EntryId> {
        self.indexes.line(key?)?.head()
    }

    fn note_evidence(&mut self, record: &EvidenceRecord) {
        self.evidence_total += 1;
        let at = record.evidence.at;
        self.evidence_oldest = Some(self.evidence_oldest.map_or(at, |oldest| oldest.min(at)));
    }

    /// Puts an entry that changed, and those whose turn that ends or begins, into the queues or out of them.
    fn requeue(&mut self, changed: EntryId, head_before: Option<EntryId>) {
        let key = self.rows.get(&changed).and_then(|row| row.op.order_key.clone());
        let head_after = self.head(key.as_ref());
        for id in [Some(changed), head_before, head_after].into_iter().flatten() {
            self.place(id);
        }
    }

    fn place(&mut self, id: EntryId) {
        let due = self.rows.get(&id).and_then(|row| self.due_at(&row.op));
        let Some(row) = self.rows.get_mut(&id) else { return };
        if row.queued == due {
            return;
        }
        if let Some(at) = row.queued.take() {
            self.indexes.dequeue(&row.op, at);
        }
        if let Some(at) = due {
            self.indexes.enqueue(&row.op, at);
        }
        row.queued = due;
    }

    /// The place of an entry in the queues; `None` when it is not claimable.
    fn due_at(&self, op: &FailedOp) -> Option<DueAt> {
        let waits = op.state.status == Status::Pending && op.state.not_replayable.is_none();
        (waits && self.blocker_of(op).is_none()).then(|| (op.state.next_attempt_at, op.position()))
    }

    /// Recomputes every index from the entries and says which differ from the maintained ones.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut indexes = Indexes::default();
        let mut facets = FacetCounters::default();
        for row in self.rows.values() {
            indexes.insert(&row.op);
            facets.add(&row.bucket, row.op.state.status);
            problems.extend(row_problem(row));
        }
        for row in self.rows.values() {
            if let Some(at) = self.due_at(&row.op) {
                indexes.enqueue(&row.op, at);
            }
        }
        if indexes != self.indexes {
            problems.push("an index does not agree with the entries".to_owned());
        }
        if !self.facets.agrees_with(&facets) {
            problems.push("a counter does not agree with the entries".to_owned());
        }
        let known = |id| self.rows.contains_key(&id) || self.is_gone(id);
        if self.merged.values().any(|merged| !known(merged.into)) {
            problems.push("a merged capture points to no entry".to_owned());
        }
        if self.gone.keys().any(|id| self.rows.contains_key(id)) {
            problems.push("an entry that went is here".to_owned());
        }
        problems.extend(self.gone.iter().filter_map(gone_problem));
        if self.all_evidence().count() as u64 != self.evidence_total {
            problems.push("the number of evidence records is wrong".to_owned());
        }
        problems
    }
}

fn row_problem(row: &Row) -> Option<String> {
    let counted = (1..).zip(&row.evidence).all(|(n, record)| record.counter == n);
    let complete = row.op.state.evidence_count == row.evidence.len() as u64;
    (!counted || !complete).then(|| format!("entry {} misses evidence", row.op.id))
}

fn gone_problem((id, evidence): (&EntryId, &Vec<EvidenceRecord>)) -> Option<String> {
    let counted = (1..).zip(evidence).all(|(n, record)| record.counter == n);
    let ended = evidence.last().is_some_and(|record| record.to.is_none());
    (!counted || !ended).then(|| format!("entry {id}, which went, misses evidence"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use baldur_contract::{Captures, ManualClock, StoreUnderTest};
    use baldur_core::{Clock as _, decide, name::Namespace};

    use super::*;
    use crate::MemoryStore;

    /// A table with two entries of one order key.
    fn table() -> (Table, EntryId) {
        let clock = Arc::new(ManualClock::default());
        let namespace = Namespace::default_namespace();
        let store = MemoryStore::new(namespace.clone(), Arc::<ManualClock>::clone(&clock));
        let close = |store: MemoryStore| async move { store.close().await };
        let store = StoreUnderTest::new(store, namespace, Arc::clone(&clock), close);
        let captures = Captures::new(&store, 1);
        let mut table = Table::default();
        let mut last = EntryId::from_bytes([0; 16]);
        for _ in 0..2 {
            let (op, record) = decide::keep(captures.an_op().order_key("o").build(), clock.now());
            last = op.id;
            table.insert(op, vec![record]);
        }
        (table, last)
    }

    fn problems(spoil: impl FnOnce(&mut Table, EntryId)) -> Vec<String> {
        let (mut table, id) = table();
        spoil(&mut table, id);
        table.problems()
    }

    #[test]
    fn a_sound_table_has_no_problems() {
        assert_eq!(problems(|_, _| {}), Vec::<String>::new());
    }

    #[test]
    fn a_state_changed_behind_the_indexes_is_found() {
        let found = problems(|table, id| {
            let row = table.rows.get_mut(&id).expect("it was inserted");
            row.op.state.status = Status::Resolved;
        });
        assert_eq!(
            found,
            [
                "an index does not agree with the entries",
                "a counter does not agree with the entries"
            ]
        );
    }

    #[test]
    fn a_lost_record_of_evidence_is_found() {
        let found = problems(|table, id| {
            table.rows.get_mut(&id).expect("it was inserted").evidence.clear();
        });
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].ends_with("misses evidence"), "{found:?}");
    }

    #[test]
    fn a_merged_capture_without_its_entry_is_found() {
        let found = problems(|table, id| {
            let into = EntryId::from_bytes([9; 16]);
            table.remember_merged(id, Merged { into, occurrence: 2 });
        });
        assert_eq!(found, ["a merged capture points to no entry"]);
    }
}
