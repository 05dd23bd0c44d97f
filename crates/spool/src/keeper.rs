//! Reads, removes and puts aside what waits. One at a time; beside the writer.

use std::{io, path::Path, sync::Arc};

use baldur_core::{
    BackendKind,
    port::{SpoolError, SpoolPosition, Spooled},
};

use crate::{
    aside::{self, NotAside},
    core::Core,
    error::{classify, closed, said},
    frame::{Step, Walk},
    layout::{CURSOR, Cursor, LOCK, segment},
    scan::{Health, decode},
    state::{Handed, OWN, Segment, position},
};

/// Reads and removes.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(super) core: Arc<Core>,
    pub(super) next_lane: u32,
    closed: bool,
}

/// A lane, as it stood when a look at it began.
struct Look {
    dir: std::path::PathBuf,
    segments: Vec<Segment>,
    cursor: Cursor,
    base: u64,
}

/// What a look at a lane found.
#[derive(Default)]
struct Found {
    records: Vec<Spooled>,
    handed: Vec<Handed>,
    /// Segments in which something was found that can't be read, and was not known before.
    damaged: Vec<u64>,
    /// Segments that were read up to their end without a record that waits, and what their ends were.
    barren: Vec<(u64, u64)>,
    /// Segments whose files are gone.
    missing: Vec<u64>,
}

impl Keeper {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, next_lane: OWN + 1, closed: false }
    }

    /// The oldest records of the first lane that has any. A lane that can't be read now holds up those of its order keys only.
    pub(crate) fn peek(&mut self, limit: usize) -> Result<Vec<Spooled>, SpoolError> {
        self.check_open("peek")?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        self.sweep();
        let lanes = self.core.state().lanes();
        let mut unreadable = Vec::new();
        let mut trouble = None;
        for lane in lanes {
            match self.look(lane, limit) {
                Ok(mut records) => {
                    self.keep_free_ones(&mut records, &unreadable);
                    if !records.is_empty() {
                        return Ok(records);
                    }
                }
                Err(error) => {
                    tracing::debug!(lane, %error, "spool.lane_unreadable");
                    unreadable.push(lane);
                    trouble.get_or_insert(error);
                }
            }
        }
        self.sweep();
        trouble.map_or(Ok(Vec::new()), |error| Err(classify("peek", error).into()))
    }

    /// Cuts records off from the first on that others with its order key come before, in lanes that can't be read.
    fn keep_free_ones(&self, records: &mut Vec<Spooled>, unreadable: &[u32]) {
        let mut state = self.core.state();
        let mut is_held = |record: &Spooled| {
            record.capture.op.order_key.as_ref().is_some_and(|key| {
                unreadable.iter().any(|lane| state.lane(*lane).is_some_and(|lane| lane.holds(key)))
            })
        };
        if let Some(held) = records.iter().position(&mut is_held) {
            records.truncate(held);
        }
    }

    /// Removes records up to and including this one.
    pub(crate) fn remove(&mut self, through: SpoolPosition) -> Result<(), SpoolError> {
        self.check_open("remove")?;
        let cursor = {
            let mut state = self.core.state();
            let Some(lane) = state.lane(through.lane) else { return Ok(()) };
            if !lane.remove(through.record) {
                let sentence = "only records that were handed out can be removed";
                return Err(said("remove", BackendKind::Refused, sentence).into());
            }
            // Only when nothing waits to be written; keys of unreadable records go then.
            state.settled(0);
            state.lane(through.lane).and_then(|lane| {
                let place = lane.place.as_ref()?;
                Some((place.name.clone(), place.dir.clone(), lane.cursor))
            })
        };
        if let Some((name, dir, cursor)) = cursor {
            // Not synced, and no failure: without it records come back after a crash, and the store knows them.
            if let Err(error) = self.core.disk.overwrite(&dir.join(CURSOR), &cursor.to_bytes(&name))
            {
                tracing::debug!(%error, "spool.cursor_not_written");
            }
        }
        self.sweep();
        self.find_oldest(through.lane);
        Ok(())
    }

    /// Puts the oldest record of a lane aside.
    pub(crate) fn set_aside(
        &mut self,
        record: SpoolPosition,
        reason: &str,
    ) -> Result<(), SpoolError> {
        self.check_open("set_aside")?;
        let found = {
            let mut state = self.core.state();
            let Some(lane) = state.lane(record.lane) else { return Ok(()) };
            if record.record < lane.base {
                return Ok(());
            }
            let first = lane.window.front().filter(|_| record.record == lane.base).cloned();
            first.and_then(|handed| {
                Some((segment(&lane.place.as_ref()?.dir, handed.segment), handed))
            })
        };
        let Some((path, Handed { start, end, .. })) = found else {
            let sentence = "only the oldest record that was handed out can be put aside";
            return Err(said("set_aside", BackendKind::Refused, sentence).into());
        };
        self.refuse(&path, start, end, reason)?;
        self.core.state().set_aside += 1;
        // The reason is in the file; it may repeat more than a log should hold.
        tracing::error!(lane = record.lane, "spool.record_set_aside");
        self.remove(record)
    }

    fn refuse(&self, path: &Path, start: u64, end: u64, reason: &str) -> Result<(), SpoolError> {
        let Core { disk, root, clock, instance, config, .. } = &*self.core;
        let disk = &**disk;
        let max_bytes = config.max_refused_bytes;
        let refused = || {
            let step = Walk::new(disk, path, start, end).next()?;
            let Some(Step::Frame(frame)) = step else {
                let what = "the record can't be read";
                return Err(NotAside::Disk(io::Error::new(io::ErrorKind::InvalidData, what)));
            };
            let text = String::from_utf8_lossy(&frame.record);
            let line = aside::line(clock.now(), reason, &text);
            aside::refuse(disk, root, instance, line.as_bytes(), Some(max_bytes))
        };
        refused().map_err(|error| match error {
            NotAside::Full(bytes) => SpoolError::AsideFull { bytes, max_bytes },
            NotAside::Disk(error) => classify("set_aside", error).into(),
        })
    }

    /// Later calls fail; locks are given up, and the own lane goes if it is empty.
    pub(crate) fn close(&mut self) {
        if self.closed {
            return;
        }
        self.sweep();
        self.closed = true;
        let place = {
            let mut state = self.core.state();
            state.adopted.values_mut().for_each(|lane| drop_lock(lane.place.as_mut()));
            if state.own.segments.is_empty() {
                state.own.place.take()
            } else {
                drop_lock(state.own.place.as_mut());
                None
            }
        };
        if let Some(place) = place {
            self.remove_lane(&place.dir);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(super) fn check_open(&self, operation: &'static str) -> Result<(), SpoolError> {
        if self.closed { Err(closed(operation).into()) } else { Ok(()) }
    }

    /// Reads the first records of a lane that wait, and remembers where they stand.
    fn look(&mut self, lane: u32, limit: usize) -> io::Result<Vec<Spooled>> {
        let Some(look) = self.snapshot(lane) else { return Ok(Vec::new()) };
        let found = self.read(lane, &look, limit)?;
        for number in &found.damaged {
            let path = segment(&look.dir, *number);
            report(&path, "it can't be read any more");
        }
        for number in &found.missing {
            let path = segment(&look.dir, *number);
            tracing::error!(file = %path.display(), "spool.segment_missing");
        }
        let mut state = self.core.state();
        state.set_aside += found.damaged.len() as u64;
        let Some(lane) = state.lane(lane) else { return Ok(Vec::new()) };
        for segment in &mut lane.segments {
            if found.damaged.contains(&segment.number) {
                segment.health = Health::Damaged;
            }
        }
        for (number, end) in found.barren {
            // The writer may have added to it since.
            if lane.segments.iter().any(|s| s.number == number && s.end == end) {
                lane.give_up(number);
            }
        }
        for number in found.missing {
            lane.give_up(number);
            lane.window.retain(|handed| handed.segment != number);
        }
        // Where a record can be read that could not be before, positions are those of this look.
        let mut pairs = lane.window.iter().zip(&found.handed);
        if !pairs.all(|(one, other)| (one.segment, one.start) == (other.segment, other.start)) {
            lane.window.clear();
        }
        let known = lane.window.len();
        lane.window.extend(found.handed.into_iter().skip(known));
        lane.oldest = match lane.window.front() {
            Some(handed) => Some(handed.at),
            None => lane.oldest.filter(|_| lane.records > 0),
        };
        Ok(found.records)
    }

    fn snapshot(&self, lane: u32) -> Option<Look> {
        let mut state = self.core.state();
        let lane = state.lane(lane)?;
        let place = lane.place.as_ref()?;
        let waiting = lane.segments.iter().filter(|s| s.number >= lane.cursor.segment);
        Some(Look {
            dir: place.dir.clone(),
            segments: waiting.filter(|segment| segment.records > 0).copied().collect(),
            cursor: lane.cursor,
            base: lane.base,
        })
    }

    fn read(&self, lane: u32, look: &Look, limit: usize) -> io::Result<Found> {
        let Look { dir, segments, cursor, base } = look;
        let mut found = Found::default();
        let mut bytes = 0;
        for Segment { number, start, end, health, .. } in segments {
            let from = if *number == cursor.segment { cursor.offset.max(*start) } else { *start };
            let path = segment(dir, *number);
            let mut walk = Walk::new(&*self.core.disk, &path, from, *end);
            let before = found.records.len();
            loop {
                let step = match walk.next() {
                    Ok(Some(step)) => step,
                    Ok(None) => break,
                    // Somebody removed it; it must not hold up the others. What was read of it is told now, the rest next time.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        if found.records.len() == before {
                            found.missing.push(*number);
                        }
                        break;
                    }
                    Err(error) => return Err(error),
                };
                let readable = match step {
                    Step::Frame(frame) => decode(&frame.record).map(|read| (frame, read)),
                    Step::Bad { .. } => None,
                };
                let Some((frame, (capture, at))) = readable else {
                    if *health == Health::Good && !found.damaged.contains(number) {
                        found.damaged.push(*number);
                    }
                    continue;
                };
                bytes += frame.record.len();
                let key = capture.op.order_key.clone();
                let (start, end) = (frame.start, frame.end);
                found.handed.push(Handed { segment: *number, start, end, key, at });
                let position = position(lane, base + found.records.len() as u64);
                found.records.push(Spooled { position, capture, spooled_at: at });
                if found.records.len() >= limit || bytes >= self.core.config.peek_bytes {
                    return Ok(found);
                }
            }
            if found.records.len() == before {
                found.barren.push((*number, *end));
            }
        }
        Ok(found)
    }

    /// Learns when the first record was spooled that waits now.
    fn find_oldest(&mut self, lane: u32) {
        let unknown = {
            let mut state = self.core.state();
            state.lane(lane).is_some_and(|lane| lane.records > 0 && lane.window.is_empty())
        };
        if unknown && let Err(error) = self.look(lane, 1) {
            // Whoever peeks next hears of it.
            tracing::debug!(%error, "spool.oldest_unknown");
        }
    }

    /// Takes away segments in which nothing waits, and adopted lanes without segments.
    pub(super) fn sweep(&mut self) {
        let lanes = self.core.state().lanes();
        for lane in lanes {
            while self.retire_first(lane) {}
            if lane != OWN {
                self.sweep_lane(lane);
            }
        }
    }

    /// Takes the first segment of a lane away, if nothing in it waits. What is damaged is kept elsewhere.
    fn retire_first(&mut self, lane: u32) -> bool {
        let Core { disk, root, .. } = &*self.core;
        let (front, name, dir) = {
            let mut state = self.core.state();
            let Some(found) = state.lane(lane) else { return false };
            let (Some(front), Some(place)) = (found.segments.front().copied(), &found.place) else {
                return false;
            };
            let (name, dir) = (place.name.clone(), place.dir.clone());
            if !state.may_retire(lane, front.number) {
                return false;
            }
            (front, name, dir)
        };
        let path = segment(&dir, front.number);
        let gone = match front.health {
            Health::Good | Health::Torn => disk.remove_file(&path),
            Health::Damaged | Health::Unknown => aside::quarantine(&**disk, root, &path, &name),
        };
        match gone {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, lane = name, "spool.segment_not_removed");
                return false;
            }
        }
        if let Some(lane) = self.core.state().lane(lane) {
            lane.pop();
        }
        true
    }

    /// Lets an adopted lane go when it is empty.
    fn sweep_lane(&mut self, lane: u32) {
        let empty = {
            let mut state = self.core.state();
            let empty = state.adopted.get(&lane).is_some_and(|lane| lane.segments.is_empty());
            if empty { state.adopted.remove(&lane) } else { None }
        };
        if let Some(place) = empty.and_then(|lane| lane.place) {
            self.remove_lane(&place.dir);
            tracing::info!(lane = place.name, "spool.lane_emptied");
            // The lock is given up here, after its file is gone.
            drop(place);
        }
    }

    /// Removes the directory of a lane without segments, whose lock we hold. What is foreign in it stays, and the lane with it.
    pub(super) fn remove_lane(&self, dir: &Path) {
        let disk = &self.core.disk;
        let _ = disk.remove_file(&dir.join(CURSOR));
        let _ = disk.remove_file(&dir.join(LOCK));
        if let Err(error) = disk.remove_dir(dir) {
            tracing::debug!(%error, "spool.lane_not_removed");
        }
    }
}

fn drop_lock(place: Option<&mut crate::state::Place>) {
    if let Some(place) = place {
        place.lock = None;
    }
}

/// Reports a file that can't be read.
pub(super) fn report(path: &Path, what: &str) {
    tracing::error!(file = %path.display(), what, "spool.file_set_aside");
}
