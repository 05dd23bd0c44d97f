//! The physical limit of the memory store: one map and one list behind one lock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use baldur_core::{
    Clock as _, EntryId, EvidenceRecord, FailedOp, Status, SystemClock, Timestamp,
    command::Capture,
    name::{Domain, FailureType, ServiceName},
};

/// Entries by id and by position, and their evidence: what no store in memory can do without.
#[derive(Debug, Default)]
pub(crate) struct Floor {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<EntryId, FailedOp>,
    positions: BTreeSet<(Timestamp, EntryId)>,
    evidence: Vec<EvidenceRecord>,
    counters: BTreeMap<(Status, Domain, FailureType, ServiceName), u64>,
}

impl Floor {
    /// Keeps entries, taking the lock once for each `rows`.
    pub(crate) fn capture(&self, ops: Vec<Capture>, rows: usize) -> Duration {
        let start = SystemClock.mono();
        let mut ops = ops.into_iter().peekable();
        while ops.peek().is_some() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            for Capture { op, evidence, .. } in ops.by_ref().take(rows) {
                kept.evidence.push(EvidenceRecord::captured(&op, evidence));
                let (domain, dependency) = (op.domain.clone(), op.dependency.clone());
                let cell = (op.state.status, domain, op.failure_type.clone(), dependency);
                *kept.counters.entry(cell).or_default() += 1;
                kept.positions.insert(op.position());
                kept.entries.insert(op.id, op);
            }
        }
        SystemClock.mono().saturating_sub(start)
    }

    /// Moves `count` pending entries to resolved by way of replaying, handing each out as a copy.
    pub(crate) fn claim_and_settle(&self, count: usize, batch: usize) -> Duration {
        let start = SystemClock.mono();
        let mut done = 0;
        while done < count {
            let wanted = batch.min(count - done);
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let due: Vec<EntryId> = kept.positions.iter().take(wanted).map(|(_, id)| *id).collect();
            let handed_out: Vec<FailedOp> =
                due.iter().filter_map(|id| kept.entries.get(id)).cloned().collect();
            for op in &handed_out {
                kept.positions.remove(&op.position());
                if let Some(op) = kept.entries.get_mut(&op.id) {
                    op.state.status = Status::Resolved;
                }
            }
            done += wanted;
        }
        SystemClock.mono().saturating_sub(start)
    }

    /// Copies out the newest entries before a position.
    pub(crate) fn page(&self, before: (Timestamp, EntryId), limit: usize) -> usize {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let page: Vec<baldur_core::EntrySummary> = kept
            .positions
            .range(..before)
            .rev()
            .take(limit)
            .filter_map(|(_, id)| kept.entries.get(id))
            .map(baldur_core::EntrySummary::of)
            .collect();
        page.len()
    }

    /// Adds up the counters of a status.
    pub(crate) fn count(&self, status: Status) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.counters.iter().filter(|((of, ..), _)| *of == status).map(|(_, count)| count).sum()
    }

    /// Copies the counters out by name.
    pub(crate) fn facets(&self) -> usize {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let cells: Vec<(Status, String, String, String, u64)> = kept
            .counters
            .iter()
            .map(|((status, domain, failure_type, dependency), count)| {
                let names = (domain.to_string(), failure_type.to_string(), dependency.to_string());
                (*status, names.0, names.1, names.2, *count)
            })
            .collect();
        cells.len()
    }
}
