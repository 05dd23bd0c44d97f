//! Reading a segment from end to end, to learn what it holds and what is wrong with it.

use std::{io, path::Path};

use baldur_core::{Timestamp, command::Capture, wire};

use crate::{
    disk::Disk,
    frame::{HEADER_BYTES, Header, Step, Walk, read_header},
};

/// What is wrong at a place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where, in bytes from the start.
    pub(crate) offset: u64,
    /// What.
    pub(crate) what: &'static str,
}

/// What a segment turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// All of it can be read.
    Good,
    /// The last write did not get to the disk as a whole: it was never acknowledged.
    Torn,
    /// Something that was once written can't be read.
    Damaged,
    /// Nothing can be read: it is of a newer version.
    Unknown,
}

/// What a segment holds.
#[derive(Debug)]
pub(crate) struct Scan {
    /// How long the file is.
    pub(crate) length: u64,
    /// Where the frames begin.
    pub(crate) start: u64,
    /// Where the last good frame ends, or the header when there is none.
    pub(crate) good_end: u64,
    /// Good records that were not removed.
    pub(crate) records: u64,
    /// When the first of them was spooled.
    pub(crate) oldest: Option<Timestamp>,
    /// What the segment is.
    pub(crate) health: Health,
    /// What is wrong with it, a torn end included.
    pub(crate) faults: Vec<Fault>,
}

/// No more faults of one segment are listed.
const MAX_FAULTS: usize = 64;

/// Reads a whole segment. `removed` is the offset up to which its records were removed, `last` says whether its lane ends with it, and
/// `each` is shown every record that was not removed.
pub(crate) fn scan(
    disk: &dyn Disk,
    path: &Path,
    removed: u64,
    last: bool,
    each: &mut dyn FnMut(&Capture),
) -> io::Result<Scan> {
    let length = disk.length(path)?;
    let head = disk.read(path, 0, 16)?;
    let start = match read_header(&head) {
        Header::Known => HEADER_BYTES,
        Header::Unreadable => 0,
        Header::Unknown(_) => {
            let what = "it is of a newer version";
            let faults = vec![Fault { offset: 0, what }];
            let health = Health::Unknown;
            return Ok(Scan {
                length,
                start: length,
                good_end: 0,
                records: 0,
                oldest: None,
                health,
                faults,
            });
        }
    };
    let mut scan = Scan {
        length,
        start,
        good_end: start,
        records: 0,
        oldest: None,
        health: Health::Good,
        faults: Vec::new(),
    };
    let mut tear = Tear::default();
    let mut walk = Walk::new(disk, path, start, length);
    while let Some(step) = walk.next()? {
        match step {
            Step::Bad { from, to: _ } => {
                tear.bad();
                scan.fault(from, "these bytes are no record");
            }
            Step::Frame(frame) => {
                tear.good(frame.group);
                scan.good_end = frame.end;
                match decode(&frame.record) {
                    Some((capture, at)) if frame.end > removed => {
                        scan.records += 1;
                        scan.oldest.get_or_insert(at);
                        each(&capture);
                    }
                    Some(_) => {}
                    None => {
                        tear.undecodable = true;
                        scan.fault(frame.start, "this record can't be read");
                    }
                }
            }
        }
    }
    scan.health = tear.health(last);
    Ok(scan)
}

impl Scan {
    fn fault(&mut self, offset: u64, what: &'static str) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { offset, what });
        }
    }
}

/// Reads a record.
pub(crate) fn decode(record: &[u8]) -> Option<(Capture, Timestamp)> {
    wire::decode_spooled(std::str::from_utf8(record).ok()?).ok()
}

/// Tells a torn end from damage.
///
/// A lane has at most one write that was not synced, its last. All frames of a write name the same group, and groups of a segment count from
/// one. So bad bytes are torn ones if they are in the last segment, and nothing good follows them but frames of the group that
/// came next, or was begun, where they stand.
#[derive(Debug, Default)]
struct Tear {
    bad: bool,
    undecodable: bool,
    group_before: u32,
    more_groups: bool,
    group_after: Option<u32>,
}

impl Tear {
    fn bad(&mut self) {
        self.bad = true;
    }

    fn good(&mut self, group: u32) {
        if self.bad {
            self.more_groups |= *self.group_after.get_or_insert(group) != group;
        } else {
            self.group_before = group;
        }
    }

    fn health(&self, last: bool) -> Health {
        let next = self.group_before.wrapping_add(1);
        let of_one_write = !self.more_groups
            && self.group_after.is_none_or(|group| group == self.group_before || group == next);
        match (self.bad, self.undecodable) {
            (false, false) => Health::Good,
            (true, false) if last && of_one_write => Health::Torn,
            _ => Health::Damaged,
        }
    }
}
