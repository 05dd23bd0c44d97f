//! Taking over the lanes of processes that died.

use std::{io, path::Path};

use baldur_core::BackendError;

use crate::{
    aside,
    core::Core,
    disk::{Disk, Kind},
    error::{classify, closed},
    keeper::{Keeper, report},
    layout::{self, CURSOR, Cursor, LOCK, segment, segment_number},
    scan::{Health, Scan, scan},
    state::{Lane, Place, Segment},
};

/// What is found in a lane, beside its lock and cursor.
struct Contents {
    segments: Vec<u64>,
    foreign: Vec<std::ffi::OsString>,
}

impl Keeper {
    /// Takes over every lane whose process is gone; answers how many records wait in them. Lanes that can't be read now are left for later.
    pub(crate) fn adopt(&mut self) -> Result<u64, BackendError> {
        if self.is_closed() {
            return Err(closed("adopt"));
        }
        let root = self.core.root.clone();
        let items = self.core.disk.list(&root).map_err(|error| classify("adopt", error))?;
        let mut adopted = 0;
        for item in items {
            let lane = item.name.to_str().filter(|name| layout::is_lane(name));
            let adopted_now = match (item.kind, lane) {
                (Kind::Dir, Some(name)) if !self.is_ours(name) => self.adopt_lane(name),
                // Other directories may be the file system's own, such as `lost+found`.
                (Kind::Dir, _) => Ok(0),
                (Kind::File | Kind::Other, _) => {
                    self.set_foreign_aside(&root.join(&item.name), "spool");
                    Ok(0)
                }
            };
            match adopted_now {
                Ok(records) => adopted += records,
                // Another process was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let name = item.name.to_string_lossy();
                    tracing::warn!(%error, lane = %name, "spool.lane_not_adopted");
                }
            }
        }
        Ok(adopted)
    }

    /// Whether we hold this lane already.
    fn is_ours(&self, name: &str) -> bool {
        let state = self.core.state();
        let mut places =
            state.adopted.values().chain([&state.own]).filter_map(|l| l.place.as_ref());
        places.any(|place| place.name == name)
    }

    /// Answers how many records wait in it.
    fn adopt_lane(&mut self, name: &str) -> io::Result<u64> {
        let dir = self.core.root.join(name);
        let Some(lock) = self.core.disk.lock(&dir.join(LOCK))? else { return Ok(0) };
        let Contents { segments, foreign } = self.contents(&dir)?;
        let mut lane = self.read_lane(name, &dir, &segments)?;
        for file in foreign {
            self.set_foreign_aside(&dir.join(file), name);
        }
        self.core.state().torn_tails += lane.torn;
        for number in &lane.damaged {
            self.core.state().set_aside += 1;
            report(&segment(&dir, *number), "it is damaged, or of a newer version");
        }
        tracing::info!(lane = name, records = lane.lane.records, "spool.lane_adopted");
        let records = lane.lane.records;
        lane.lane.place = Some(Place { name: name.to_owned(), dir, lock: Some(lock) });
        let number = self.next_lane;
        self.next_lane += 1;
        self.core.state().adopted.insert(number, lane.lane);
        // What holds nothing that waits goes at once.
        self.sweep();
        Ok(records)
    }

    fn contents(&self, dir: &Path) -> io::Result<Contents> {
        let mut contents = Contents { segments: Vec::new(), foreign: Vec::new() };
        for item in self.core.disk.list(dir)? {
            let name = item.name.to_str().unwrap_or_default();
            match (item.kind, segment_number(name)) {
                (Kind::File, Some(number)) => contents.segments.push(number),
                (Kind::File, None) if name == LOCK || name == CURSOR => {}
                _ => contents.foreign.push(item.name),
            }
        }
        Ok(contents)
    }

    fn read_lane(&self, name: &str, dir: &Path, segments: &[u64]) -> io::Result<ReadLane> {
        let disk = &*self.core.disk;
        let cursor = read_cursor(disk, name, dir)?;
        let mut read =
            ReadLane { lane: Lane { cursor, ..Lane::default() }, torn: 0, damaged: vec![] };
        for (index, number) in segments.iter().enumerate() {
            let path = segment(dir, *number);
            let lane = &mut read.lane;
            let mut keys = Vec::new();
            let last = index + 1 == segments.len();
            let found = scan(disk, &path, removed(cursor, *number), last, &mut |capture| {
                keys.extend(capture.op.order_key.clone());
            })?;
            for key in &keys {
                lane.hold(Some(key));
            }
            lane.records += found.records;
            lane.oldest = lane.oldest.or(found.oldest);
            let (mut length, mut health) = (found.length, found.health);
            match health {
                Health::Good => {}
                Health::Torn => {
                    read.torn += 1;
                    length = cut(disk, &path, &found);
                    // Nothing bad is left in it, so what is found later is damage.
                    if found.faults.iter().all(|fault| fault.offset >= length) {
                        health = Health::Good;
                    }
                }
                Health::Damaged | Health::Unknown => read.damaged.push(*number),
            }
            let Scan { start, records, .. } = found;
            let end = length;
            lane.put(Segment {
                number: *number,
                start: start.min(end),
                end,
                length,
                records,
                health,
            });
        }
        Ok(read)
    }

    /// Moves what is none of ours out of the way. Where that fails it stays, and delays no record.
    fn set_foreign_aside(&self, path: &Path, from: &str) {
        let Core { disk, root, .. } = &*self.core;
        match aside::quarantine(&**disk, root, path, from) {
            Ok(()) => {
                report(path, "it is none of ours");
                self.core.state().set_aside += 1;
            }
            Err(error) => {
                tracing::warn!(%error, file = %path.display(), "spool.file_not_set_aside");
            }
        }
    }

    /// Counts what was put aside before, so that it is not forgotten.
    pub(crate) fn count_aside(&self) -> io::Result<()> {
        let found = aside::look(&*self.core.disk, &self.core.root)?;
        self.core.state().set_aside += found.files.len() as u64 + found.refused;
        Ok(())
    }
}

/// A lane that was read.
struct ReadLane {
    lane: Lane,
    torn: u64,
    damaged: Vec<u64>,
}

/// Up to where the records of a segment were removed.
pub(crate) fn removed(cursor: Cursor, number: u64) -> u64 {
    match number.cmp(&cursor.segment) {
        std::cmp::Ordering::Less => u64::MAX,
        std::cmp::Ordering::Equal => cursor.offset,
        std::cmp::Ordering::Greater => 0,
    }
}

/// How far the records of a lane were removed, as far as that is known.
pub(crate) fn read_cursor(disk: &dyn Disk, name: &str, dir: &Path) -> io::Result<Cursor> {
    match disk.read(&dir.join(CURSOR), 0, 64) {
        Ok(bytes) => Ok(Cursor::from_bytes(name, &bytes).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Cursor::default()),
        Err(error) => Err(error),
    }
}

/// Cuts what follows the last good frame off. Answers how long the file is then.
fn cut(disk: &dyn Disk, path: &Path, found: &Scan) -> u64 {
    let bytes = found.length.saturating_sub(found.good_end);
    tracing::warn!(file = %path.display(), bytes, "spool.torn_tail_cut");
    match disk.cut(path, found.good_end) {
        Ok(()) => found.good_end,
        Err(error) => {
            // Readers pass over it, and who adopts the lane next tries again.
            tracing::warn!(%error, file = %path.display(), "spool.torn_tail_not_cut");
            found.length
        }
    }
}
