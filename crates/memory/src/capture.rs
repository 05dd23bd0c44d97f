//! Keeping failed operations.

use std::borrow::Cow;

use async_trait::async_trait;
use baldur_core::{
    EntryId, Timestamp,
    command::Capture,
    decide,
    port::{CaptureError, CaptureStore, Captured, Disposition, Durability},
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
                    Ok(keep(table, capture, now))
                })
                .collect()
        });
        answers.unwrap_or_else(|error| vec![Err(error.into()); asked])
    }
}

fn keep(table: &mut Table, capture: Capture, now: Timestamp) -> Captured {
    let id = capture.op.id;
    if table.row(id).is_some() {
        return captured(id, 1, Disposition::Repeated);
    }
    if let Some(Merged { into, occurrence }) = table.merged(id) {
        return captured(into, occurrence, Disposition::Repeated);
    }
    let live = capture.op.dedup_key.as_ref().and_then(|key| table.indexes().live_with(key));
    if let Some(row) = live.and_then(|live| table.row(live)) {
        let into = row.op.id;
        let change = decide::merge(into, &row.op.state, &capture.op, capture.evidence, now);
        let occurrence = change.state.occurrences;
        table.change(into, change);
        table.remember_merged(id, Merged { into, occurrence });
        return captured(into, occurrence, Disposition::Merged);
    }
    let (op, record) = decide::keep(capture, now);
    table.insert(op, vec![record]);
    captured(id, 1, Disposition::New)
}

fn captured(id: EntryId, occurrence: u64, disposition: Disposition) -> Captured {
    let durability = Durability::Stored { level: Cow::Borrowed(MemoryStore::LEVEL) };
    Captured::new(id, durability, occurrence, disposition)
}
