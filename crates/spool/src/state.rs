//! What a spool knows of its lanes, in memory. Locked for moments, never while the disk works.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::PathBuf,
};

use baldur_core::{
    Timestamp,
    name::OrderKey,
    port::{SpoolPosition, SpoolStatus},
};

use crate::{disk::Held, frame::HEADER_BYTES, layout::Cursor, scan::Health};

/// The number of the own lane; adopted ones count from one.
pub(crate) const OWN: u32 = 0;

/// All lanes of a spool.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// What this process appends to.
    pub(crate) own: Lane,
    /// Those of processes that died, the oldest first.
    pub(crate) adopted: BTreeMap<u32, Lane>,
    /// Records that wait to be written to the own lane. Their keys are held already.
    pub(crate) pending: u64,
    /// The segment that the writer appends to.
    pub(crate) open: Option<u64>,
    /// Whether the writer is at work on it, so that it must stay.
    pub(crate) writing: bool,
    /// Files and records that were put aside.
    pub(crate) set_aside: u64,
    /// Torn tails that were cut off.
    pub(crate) torn_tails: u64,
}

/// A lane.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Where it is; the own one is made when it is first needed.
    pub(crate) place: Option<Place>,
    /// Its segments on disk, the oldest first.
    pub(crate) segments: VecDeque<Segment>,
    /// Bytes of these on disk.
    pub(crate) bytes: u64,
    /// How far its records were removed.
    pub(crate) cursor: Cursor,
    /// The number of its first record that was not removed.
    pub(crate) base: u64,
    /// Records that were handed out and not removed, from the first on.
    pub(crate) window: VecDeque<Handed>,
    /// Records that were not removed.
    pub(crate) records: u64,
    /// How many of them have an order key, by the key.
    pub(crate) keys: HashMap<OrderKey, u64>,
    /// When the first of them was spooled.
    pub(crate) oldest: Option<Timestamp>,
}

/// Where a lane is, and its lock.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) dir: PathBuf,
    /// `None` once the spool is closed.
    pub(crate) lock: Option<Box<dyn Held>>,
}

/// A segment on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its number.
    pub(crate) number: u64,
    /// Where its frames begin.
    pub(crate) start: u64,
    /// Where the last synced frame ends.
    pub(crate) end: u64,
    /// How many bytes it has on disk.
    pub(crate) length: u64,
    /// Records that were not removed.
    pub(crate) records: u64,
    /// What it is.
    pub(crate) health: Health,
}

/// A record that was handed out.
#[derive(Clone, Debug)]
pub(crate) struct Handed {
    pub(crate) segment: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) key: Option<OrderKey>,
    pub(crate) at: Timestamp,
}

impl Lane {
    /// Puts a segment at the end, or replaces the last one if it has the same number.
    pub(crate) fn put(&mut self, segment: Segment) {
        if self.segments.back().is_some_and(|last| last.number == segment.number)
            && let Some(last) = self.segments.pop_back()
        {
            self.bytes = self.bytes.saturating_sub(last.length);
        }
        self.bytes += segment.length;
        self.segments.push_back(segment);
    }

    /// Lets the first segment go.
    pub(crate) fn pop(&mut self) {
        if let Some(first) = self.segments.pop_front() {
            self.bytes = self.bytes.saturating_sub(first.length);
        }
    }

    /// The last segment, if it has this number; else a new one without records.
    pub(crate) fn last_or_new(&self, number: u64) -> Segment {
        let last = self.segments.back().copied().filter(|last| last.number == number);
        last.unwrap_or(Segment {
            number,
            start: HEADER_BYTES,
            end: HEADER_BYTES,
            length: 0,
            records: 0,
            health: Health::Good,
        })
    }

    /// A record with this key waits.
    pub(crate) fn hold(&mut self, key: Option<&OrderKey>) {
        if let Some(key) = key {
            *self.keys.entry(key.clone()).or_default() += 1;
        }
    }

    /// Whether a record with this key waits.
    pub(crate) fn holds(&self, key: &OrderKey) -> bool {
        self.keys.contains_key(key)
    }

    /// A record with this key waits no more.
    pub(crate) fn release(&mut self, key: Option<&OrderKey>) {
        let Some(key) = key else { return };
        if let Some(count) = self.keys.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(key);
            }
        }
    }

    /// Takes the records up to and including this one off, if it was handed out. `false` when it was not.
    pub(crate) fn remove(&mut self, through: u64) -> bool {
        if through < self.base {
            return true;
        }
        let count = through - self.base + 1;
        if (self.window.len() as u64) < count {
            return false;
        }
        for _ in 0..count {
            let Some(handed) = self.window.pop_front() else { break };
            self.release(handed.key.as_ref());
            self.cursor = Cursor { segment: handed.segment, offset: handed.end };
            if let Some(segment) = self.segments.iter_mut().find(|s| s.number == handed.segment) {
                segment.records = segment.records.saturating_sub(1);
            }
        }
        self.base += count;
        self.records = self.records.saturating_sub(count);
        let cursor = self.cursor.segment;
        // What could not be read in front of the cursor will not be read any more.
        for number in self.numbers_before(cursor) {
            self.give_up(number);
        }
        self.oldest = self.window.front().map(|handed| handed.at);
        true
    }

    fn numbers_before(&self, number: u64) -> Vec<u64> {
        let before = self.segments.iter().take_while(|segment| segment.number < number);
        before.filter(|segment| segment.records > 0).map(|segment| segment.number).collect()
    }

    /// No further record of a segment can be read.
    pub(crate) fn give_up(&mut self, number: u64) {
        if let Some(segment) = self.segments.iter_mut().find(|s| s.number == number) {
            self.records = self.records.saturating_sub(segment.records);
            segment.records = 0;
        }
    }
}

impl State {
    /// A lane by its number.
    pub(crate) fn lane(&mut self, lane: u32) -> Option<&mut Lane> {
        if lane == OWN { Some(&mut self.own) } else { self.adopted.get_mut(&lane) }
    }

    /// The numbers of all lanes, in the order in which they are emptied.
    pub(crate) fn lanes(&self) -> Vec<u32> {
        self.adopted.keys().copied().chain([OWN]).collect()
    }

    fn all(&self) -> impl Iterator<Item = &Lane> {
        self.adopted.values().chain([&self.own])
    }

    /// Bytes on disk, in all lanes.
    pub(crate) fn bytes(&self) -> u64 {
        self.all().map(|lane| lane.bytes).sum()
    }

    /// Whether a record with this key waits anywhere.
    pub(crate) fn holds(&self, key: &OrderKey) -> bool {
        self.all().any(|lane| lane.holds(key))
    }

    /// What the spool holds.
    pub(crate) fn status(&self, max_bytes: u64) -> SpoolStatus {
        SpoolStatus {
            records: self.all().map(|lane| lane.records).sum(),
            bytes: self.bytes(),
            max_bytes,
            oldest: self.all().filter_map(|lane| lane.oldest).min(),
            adopted_lanes: self.adopted.len() as u64,
            set_aside: self.set_aside,
            torn_tails: self.torn_tails,
        }
    }

    /// Whether the files of a segment may go: nothing in it waits, and nobody writes to it. The writer then begins another.
    pub(crate) fn may_retire(&mut self, lane: u32, number: u64) -> bool {
        let own = lane == OWN && self.open == Some(number);
        if own && self.writing {
            return false;
        }
        let empty = self
            .lane(lane)
            .and_then(|lane| lane.segments.front())
            .is_some_and(|segment| segment.number == number && segment.records == 0);
        if own && empty {
            self.open = None;
        }
        empty
    }

    /// Records that waited to be written were written, or were not.
    pub(crate) fn settled(&mut self, count: u64) {
        self.pending = self.pending.saturating_sub(count);
        if self.pending == 0 && self.own.records == 0 {
            // Records that turned out to be unreadable have left their keys behind.
            self.own.keys.clear();
        }
    }
}

/// Where a record of a lane stands.
pub(crate) fn position(lane: u32, record: u64) -> SpoolPosition {
    SpoolPosition { lane, record }
}
