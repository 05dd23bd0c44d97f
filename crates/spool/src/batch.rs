//! Records on their way to the disk: encoded in their frames, as they will stand there.

use baldur_core::{Timestamp, command::Capture, name::OrderKey, wire};

use crate::frame::{self, FRAME_BYTES};

/// Records that go into one write. Whoever appends encodes them, so that the writer has little to do but to write.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
}

/// A record of a batch.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) key: Option<OrderKey>,
    pub(crate) at: Timestamp,
    /// Where its frame begins in the bytes of the batch.
    start: usize,
    /// Where it ends.
    end: usize,
}

impl Record {
    /// How many bytes it takes in a segment.
    pub(crate) fn bytes(&self) -> u64 {
        (self.end - self.start) as u64
    }
}

impl Batch {
    /// One with room for so many bytes.
    pub(crate) fn with_room(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), records: Vec::new() }
    }

    /// Encodes a capture as the last record. Answers how long the record is, without its frame.
    pub(crate) fn push(&mut self, capture: &Capture, at: Timestamp) -> u64 {
        let start = frame::begin(&mut self.bytes);
        wire::write_spooled(capture, at, &mut self.bytes);
        let end = self.bytes.len();
        self.records.push(Record { key: capture.op.order_key.clone(), at, start, end });
        (end - start) as u64 - FRAME_BYTES
    }

    /// Puts a record that is encoded already at the end.
    pub(crate) fn push_encoded(&mut self, record: &str, key: Option<OrderKey>, at: Timestamp) {
        let start = frame::begin(&mut self.bytes);
        self.bytes.extend_from_slice(record.as_bytes());
        self.records.push(Record { key, at, start, end: self.bytes.len() });
    }

    /// Drops the last record.
    pub(crate) fn pop(&mut self) {
        if let Some(last) = self.records.pop() {
            self.bytes.truncate(last.start);
        }
    }

    /// Leaves the last record to a batch of its own.
    pub(crate) fn split_last(&mut self) -> Self {
        let Some(last) = self.records.pop() else { return Self::default() };
        let bytes = self.bytes.split_off(last.start);
        let end = bytes.len();
        Self { bytes, records: vec![Record { start: 0, end, ..last }] }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many bytes all of it takes in a segment.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(crate) fn keys(&self) -> impl ExactSizeIterator<Item = Option<&OrderKey>> {
        self.records.iter().map(|record| record.key.as_ref())
    }

    /// The frame of a record, not sealed yet.
    pub(crate) fn frame(&self, record: &Record) -> &[u8] {
        self.bytes.get(record.start..record.end).unwrap_or_default()
    }

    /// All frames, sealed for a write.
    pub(crate) fn sealed(&mut self, group: u32) -> &[u8] {
        for Record { start, end, .. } in &self.records {
            frame::seal(self.bytes.get_mut(*start..*end).unwrap_or_default(), group);
        }
        &self.bytes
    }
}
