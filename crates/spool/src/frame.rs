//! Segments: a header, then records in frames that are found again after damage.
//!
//! Numbers are little-endian. The header is a magic word, a version, and the CRC-32 of both. A frame is a marker, the
//! length of its record, the number of the group that it was written with, the CRC-32 of these two and the record, and the record: the
//! JSON text of `baldur_core::wire::encode_spooled`. The marker begins with a byte that no UTF-8 text has, so it never stands inside a record.

use std::{io, path::Path};

use crc32fast::Hasher;

use crate::disk::Disk;

/// How long a header is.
pub(crate) const HEADER_BYTES: u64 = 16;

/// How much longer a frame is than its record.
pub(crate) const FRAME_BYTES: u64 = HEAD as u64;

const HEAD: usize = 16;

/// Longer records are in no segment; a frame that claims one is damaged.
pub(crate) const MAX_RECORD_BYTES: u64 = 64 << 20;

const MAGIC: [u8; 8] = *b"BALDURSP";
const VERSION: u32 = 1;
const MARKER: [u8; 4] = [0xff, 0xfe, b'B', b'R'];

/// How much is read at a time.
const CHUNK: usize = 256 << 10;

/// What the first bytes of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// It is one of ours.
    Known,
    /// It is one of a version that this program doesn't know.
    Unknown(u32),
    /// It is damaged, or no segment.
    Unreadable,
}

/// The header of a new segment.
pub(crate) fn header() -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let sum = crc32fast::hash(&bytes[..12]);
    bytes[12..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// Reads a header.
pub(crate) fn read_header(bytes: &[u8]) -> Header {
    let sum = number(bytes, 12);
    match bytes.get(..12) {
        Some(said) if said.starts_with(&MAGIC) && sum == Some(crc32fast::hash(said)) => {
            match number(bytes, 8) {
                Some(VERSION) => Header::Known,
                Some(version) => Header::Unknown(version),
                None => Header::Unreadable,
            }
        }
        Some(_) | None => Header::Unreadable,
    }
}

/// Leaves room for the head of a frame; the record is to follow. Answers where the frame begins.
pub(crate) fn begin(bytes: &mut Vec<u8>) -> usize {
    let start = bytes.len();
    bytes.extend_from_slice(&[0; HEAD]);
    start
}

/// Writes the head of a frame whose record stands in it.
pub(crate) fn seal(frame: &mut [u8], group: u32) {
    let Some((head, record)) = frame.split_first_chunk_mut::<HEAD>() else { return };
    // Longer records than `MAX_RECORD_BYTES` are refused before.
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    head[..4].copy_from_slice(&MARKER);
    head[4..8].copy_from_slice(&length.to_le_bytes());
    head[8..12].copy_from_slice(&group.to_le_bytes());
    head[12..].copy_from_slice(&sum(length, group, record).to_le_bytes());
}

/// Appends a record in its frame.
#[cfg(test)]
pub(crate) fn put(bytes: &mut Vec<u8>, group: u32, record: &[u8]) {
    let start = begin(bytes);
    bytes.extend_from_slice(record);
    seal(&mut bytes[start..], group);
}

fn sum(length: u32, group: u32, record: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(&length.to_le_bytes());
    hasher.update(&group.to_le_bytes());
    hasher.update(record);
    hasher.finalize()
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn marker_in(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = bytes.get(from..)?.iter().position(|byte| *byte == MARKER[0]) {
        let at = from + found;
        if bytes.get(at..)?.starts_with(&MARKER) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

/// What stands next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A record whose checksum is right.
    Frame(Frame),
    /// Bytes that are no frame, up to the next one or the end.
    Bad {
        /// Where they begin.
        from: u64,
        /// Where they end.
        to: u64,
    },
}

/// A record in its segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Where the frame begins.
    pub(crate) start: u64,
    /// Where it ends.
    pub(crate) end: u64,
    /// The write that it came with: the first one of a segment, the second, and so on.
    pub(crate) group: u32,
    /// The record.
    pub(crate) record: Vec<u8>,
}

/// Walks along a segment. Takes memory for one record and reads each byte about once, whatever stands there.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    at: u64,
    end: u64,
    bytes: Vec<u8>,
    bytes_at: u64,
}

impl<'a> Walk<'a> {
    /// From one offset to another.
    pub(crate) fn new(disk: &'a dyn Disk, path: &'a Path, at: u64, end: u64) -> Self {
        Self { disk, path, at, end, bytes: Vec::new(), bytes_at: 0 }
    }

    /// What stands next; `None` at the end.
    pub(crate) fn next(&mut self) -> io::Result<Option<Step>> {
        if self.at >= self.end {
            return Ok(None);
        }
        if let Some(frame) = self.frame(self.at)? {
            self.at = frame.end;
            return Ok(Some(Step::Frame(frame)));
        }
        let from = self.at;
        let mut look = from + 1;
        while let Some(found) = self.marker(look)? {
            if self.frame(found)?.is_some() {
                self.at = found;
                return Ok(Some(Step::Bad { from, to: found }));
            }
            look = found + 1;
        }
        self.at = self.end;
        Ok(Some(Step::Bad { from, to: self.end }))
    }

    /// The frame that begins there, if one does.
    fn frame(&mut self, start: u64) -> io::Result<Option<Frame>> {
        let end_of_walk = self.end;
        let head = self.bytes(start, FRAME_BYTES)?;
        if !head.starts_with(&MARKER) {
            return Ok(None);
        }
        let (Some(length), Some(group), Some(sum_said)) =
            (number(head, 4), number(head, 8), number(head, 12))
        else {
            return Ok(None);
        };
        let bytes = u64::from(length);
        let end = start + FRAME_BYTES + bytes;
        if bytes == 0 || bytes > MAX_RECORD_BYTES || end > end_of_walk {
            return Ok(None);
        }
        let record = self.bytes(start + FRAME_BYTES, bytes)?;
        // This keeps the work linear too: where frames claim to overlap, only the last of them is summed up.
        if record.len() as u64 != bytes
            || marker_in(record).is_some()
            || sum(length, group, record) != sum_said
        {
            return Ok(None);
        }
        Ok(Some(Frame { start, end, group, record: record.to_vec() }))
    }

    /// The first marker at or after an offset.
    fn marker(&mut self, mut from: u64) -> io::Result<Option<u64>> {
        loop {
            let bytes = self.bytes(from, CHUNK as u64)?;
            if let Some(found) = marker_in(bytes) {
                return Ok(Some(from + found as u64));
            }
            // A marker may begin in the last bytes of this chunk.
            let seen = bytes.len().saturating_sub(MARKER.len() - 1);
            if seen == 0 || bytes.len() < CHUNK {
                return Ok(None);
            }
            from += seen as u64;
        }
    }

    /// So many bytes from an offset; fewer at the end.
    fn bytes(&mut self, at: u64, want: u64) -> io::Result<&[u8]> {
        let want = want.min(self.end.saturating_sub(at));
        let have = self.bytes_at + self.bytes.len() as u64;
        if at < self.bytes_at || at + want > have {
            let most = want.max(CHUNK as u64).min(self.end.saturating_sub(at));
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            self.bytes = self.disk.read(self.path, at, most)?;
            self.bytes_at = at;
        }
        let from = usize::try_from(at - self.bytes_at).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(want).unwrap_or(usize::MAX));
        let to = to.min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }
}
