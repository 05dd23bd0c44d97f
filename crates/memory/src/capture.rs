//! Keeping failed operations.

use std::borrow::Cow;

use async_trait::async_trait;
use baldur_core::{
    EntryId, FailedOp, Timestamp,
    command::Capture,
    decide::{self, Room},
    port::{CaptureError, CaptureStore, Captured, Disposition, Durability, Evicted, LimitScope},
};

use crate::{
    MemoryStore,
    table::{Merged, Table},
};

#[async_trait]
impl CaptureStore for MemoryStore {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let asked = captures.len();
        if asked == 0 {
            return Vec::new();
        }
        let answers = self.step("capture", |table| {
            let now = self.clock.now();
            captures
                .into_iter()
                .map(|capture| {
                    capture.check(&self.namespace).map_err(CaptureError::Invalid)?;
                    keep(table, capture, now)
                })
                .collect()
        });
        answers.unwrap_or_else(|error| vec![Err(error.into()); asked])
    }
}

fn keep(table: &mut Table, capture: Capture, now: Timestamp) -> Result<Captured, CaptureError> {
    let id = capture.op.id;
    if table.row(id).is_some() || table.is_gone(id) {
        return Ok(captured(id, 1, Disposition::Repeated));
    }
    if let Some(Merged { into, occurrence }) = table.merged(id) {
        return Ok(captured(into, occurrence, Disposition::Repeated));
    }
    let live = capture.op.dedup_key.as_ref().and_then(|key| table.indexes().live_with(key));
    if let Some(into) = live.and_then(|live| table.row(live)).map(|row| row.op.clone()) {
        return Ok(merge(table, &into, capture, now));
    }
    let evicted = make_room(table, &capture, now)?;
    let named_limits = capture.limits.is_some();
    let domain = capture.op.domain.clone();
    let (op, record) = decide::keep(capture, now);
    table.insert(op, vec![record]);
    let live = named_limits.then(|| table.indexes().live(&domain));
    Ok(Captured { live, evicted, ..captured(id, 1, Disposition::New) })
}

fn merge(table: &mut Table, into: &FailedOp, capture: Capture, now: Timestamp) -> Captured {
    let Capture { op, evidence, on_merge, .. } = capture;
    if let Some(replaced) = decide::replaced_payload(into, &op, on_merge) {
        table.replace_payload(into.id, replaced);
    }
    let change = decide::merge(into.id, &into.state, &op, evidence, now);
    let occurrence = change.state.occurrences;
    table.change(into.id, change);
    table.remember_merged(op.id, Merged { into: into.id, occurrence });
    captured(into.id, occurrence, Disposition::Merged)
}

/// Lets entries go until the capture's limits leave room for it.
fn make_room(
    table: &mut Table,
    capture: &Capture,
    now: Timestamp,
) -> Result<Vec<Evicted>, CaptureError> {
    let mut evicted = Vec::new();
    let Some(limits) = &capture.limits else { return Ok(evicted) };
    loop {
        let live = table.indexes().live(&capture.op.domain);
        let reached = match decide::room(limits, live, evicted.len()) {
            Room::Enough => return Ok(evicted),
            Room::None(reached) => return Err(reached.into()),
            Room::Evict(reached) => reached,
        };
        let domain = match reached.scope {
            LimitScope::Domain => Some(&capture.op.domain),
            LimitScope::All => None,
        };
        let oldest = table.indexes().oldest_evictable(domain);
        match oldest.and_then(|oldest| table.row(oldest)) {
            Some(row) => {
                let (gone, record) = decide::evict(&row.op, capture, reached, now);
                table.remove(gone.id, record);
                evicted.push(gone);
            }
            None if evicted.is_empty() => return Err(reached.into()),
            // It takes the place of those that went: the number does not grow.
            None => return Ok(evicted),
        }
    }
}

fn captured(id: EntryId, occurrence: u64, disposition: Disposition) -> Captured {
    let durability = Durability::Stored { level: Cow::Borrowed(MemoryStore::LEVEL) };
    Captured::new(id, durability, occurrence, disposition)
}
