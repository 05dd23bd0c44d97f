//! Looking at a spool from outside: no lock is kept, nothing is changed.

use std::{
    io,
    path::{Path, PathBuf},
};

use baldur_core::{BackendError, Timestamp};

use crate::{
    adopt::{read_cursor, removed},
    aside,
    disk::{Disk, Kind, RealDisk},
    error::{classify, said},
    layout::{self, CURSOR, LOCK, segment, segment_number},
    scan::{Health, scan},
    spool::blocking,
};

/// What a spool holds, as far as its files tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// Its lanes, the oldest first.
    pub lanes: Vec<LaneReport>,
    /// What is wrong, with place and words.
    pub problems: Vec<Problem>,
    /// Files in quarantine, by their paths below the spool.
    pub quarantined: Vec<PathBuf>,
    /// Records that the store refused for good, or failed at for too long, and that are kept for people.
    pub refused: u64,
    /// Bytes of these.
    pub refused_bytes: u64,
}

/// A lane of a spool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneReport {
    /// Its name.
    pub name: String,
    /// Whether its process, or one that took it over, lives.
    pub live: bool,
    /// Records that wait.
    pub records: u64,
    /// Bytes of its segments.
    pub bytes: u64,
    /// When the oldest record that waits was spooled.
    pub oldest: Option<Timestamp>,
    /// Whether its last write did not get to the disk as a whole. It was never acknowledged.
    pub torn: bool,
}

/// Something wrong in a spool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The file, below the spool.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What.
    pub what: &'static str,
}

/// Reads every record of every lane of the spool in `dir`, and says what it holds and what is wrong with it. Changes nothing and needs no
/// store. Processes may be at work meanwhile: what they have not finished is no problem.
///
/// # Errors
///
/// When the directory is missing, is one that a spool would refuse, or can't be read.
pub async fn inspect(dir: PathBuf) -> Result<Inspection, BackendError> {
    blocking("inspect", move || {
        crate::disk::check(&dir).map_err(|unfit| match unfit {
            crate::disk::Unfit::Disk(error) => classify("inspect", error).not_applied(),
            crate::disk::Unfit::Refused(sentence) => {
                said("inspect", baldur_core::BackendKind::Refused, sentence)
            }
        })?;
        look(&RealDisk, &dir).map_err(|error| classify("inspect", error).not_applied())
    })
    .await
}

/// The same, over a file layer.
pub(crate) fn look(disk: &dyn Disk, root: &Path) -> io::Result<Inspection> {
    let mut found = Inspection::default();
    for item in disk.list(root)? {
        let lane = item.name.to_str().filter(|name| layout::is_lane(name));
        match (item.kind, lane) {
            (Kind::Dir, Some(name)) => look_at_lane(disk, root, name, &mut found)?,
            (Kind::Dir, None) => {}
            (Kind::File | Kind::Other, _) => found.problem(item.name.as_ref(), 0, FOREIGN),
        }
    }
    let aside = aside::look(disk, root)?;
    let quarantine = Path::new(layout::QUARANTINE);
    found.quarantined = aside.files.iter().map(|name| quarantine.join(name)).collect();
    found.refused = aside.refused;
    found.refused_bytes = aside.refused_bytes;
    Ok(found)
}

const FOREIGN: &str = "it is none of ours";

fn look_at_lane(
    disk: &dyn Disk,
    root: &Path,
    name: &str,
    found: &mut Inspection,
) -> io::Result<()> {
    let dir = root.join(name);
    let live = match disk.is_locked(&dir.join(LOCK)) {
        // It is being made, or being removed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        live => live?,
    };
    let mut lane =
        LaneReport { name: name.to_owned(), live, records: 0, bytes: 0, oldest: None, torn: false };
    let mut segments = Vec::new();
    for item in aside::list(disk, &dir)? {
        let file = item.name.to_str().unwrap_or_default();
        match (item.kind, segment_number(file)) {
            (Kind::File, Some(number)) => segments.push(number),
            (Kind::File, None) if file == LOCK || file == CURSOR => {}
            _ => found.problem(&Path::new(name).join(&item.name), 0, FOREIGN),
        }
    }
    let cursor = read_cursor(disk, name, &dir)?;
    for (index, number) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        let path = segment(&dir, *number);
        let scanned = match scan(disk, &path, removed(cursor, *number), last, &mut |_| {}) {
            // It was emptied meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            scanned => scanned?,
        };
        lane.records += scanned.records;
        lane.bytes += scanned.length;
        lane.oldest = lane.oldest.or(scanned.oldest);
        match scanned.health {
            Health::Good => {}
            // What a live process writes at this moment looks the same.
            Health::Torn => lane.torn |= !live,
            Health::Damaged | Health::Unknown => {
                let file = path.strip_prefix(root).unwrap_or(&path);
                scanned.faults.iter().for_each(|f| found.problem(file, f.offset, f.what));
            }
        }
    }
    found.lanes.push(lane);
    Ok(())
}

impl Inspection {
    fn problem(&mut self, file: &Path, offset: u64, what: &'static str) {
        self.problems.push(Problem { file: file.to_owned(), offset, what });
    }
}
