//! Taking back what was put aside: refused records go to the end of the own lane, as they were.
//!
//! A file is moved out of the way first, so that nobody adds to it, and removed when each of its records is synced in the lane. What is
//! interrupted in between is done again; the store knows the ids.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use baldur_core::{Timestamp, name::OrderKey, port::SpoolError};
use serde_json::value::RawValue;

use crate::{
    aside::{self, NotAside, list, lock},
    batch::Batch,
    core::Core,
    disk::{Disk, Held, Kind, exists},
    error::classify,
    keeper::Keeper,
    layout::{LOCK, REFUSED},
    scan::decode,
    spool::DiskSpool,
};

/// Held by who takes records back, for as long as that takes.
const RESTORE_LOCK: &str = "restore-lock";

/// The ending of files that nobody adds to any more.
const MOVED: &str = "restoring";

const OPERATION: &str = "restore";

/// What became of the records that were put aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// So many wait in the own lane again.
    pub restored: u64,
    /// So many lines are no records that can be read, and stay where they are.
    pub left: u64,
}

/// The files to take back, and the lock that makes them ours.
struct Taken {
    files: Vec<PathBuf>,
    _lock: Option<Box<dyn Held>>,
}

/// A part of a file.
struct Part {
    lines: Vec<Vec<u8>>,
    next: u64,
}

impl DiskSpool {
    /// Appends all records that were put aside to the own lane, where they wait for the store once more, behind all that waits there. Those
    /// that it refuses again are put aside again.
    ///
    /// They are synced in the lane before they leave `refused/`. If that is interrupted, some may be in both; the store takes each once.
    /// A process that keeps a ledger has to count them as recovered.
    ///
    /// # Errors
    ///
    /// When another process does the same, when the spool is full, and when the disk failed. What was not taken back stays
    /// where it is.
    pub async fn restore_refused(&self) -> Result<Restored, SpoolError> {
        let taken = self.with_keeper(OPERATION, |keeper| keeper.take_refused()).await??;
        let mut sum = Restored::default();
        for file in &taken.files {
            let of_file = self.restore_file(file).await?;
            sum.restored += of_file.restored;
            sum.left += of_file.left;
        }
        Ok(sum)
    }

    async fn restore_file(&self, file: &Path) -> Result<Restored, SpoolError> {
        let mut sum = Restored::default();
        let mut left = Vec::new();
        let mut from = 0;
        loop {
            let path = file.to_owned();
            let part = self.with_keeper(OPERATION, move |keeper| keeper.read_refused(&path, from));
            let Part { lines, next } = part.await??;
            if lines.is_empty() {
                break;
            }
            from = next;
            let mut batch = Batch::default();
            for line in lines {
                match record_of(&line) {
                    Some((record, key, at)) => batch.push_encoded(&record, key, at),
                    None => left.push(line),
                }
            }
            if batch.is_empty() {
                continue;
            }
            for answer in self.submit(batch).await {
                answer?;
                sum.restored += 1;
            }
        }
        sum.left = left.len() as u64;
        let path = file.to_owned();
        let ending = self.with_keeper(OPERATION, move |keeper| keeper.end_refused(&path, &left));
        ending.await??;
        let mut state = self.core().state();
        state.set_aside = state.set_aside.saturating_sub(sum.restored);
        Ok(sum)
    }
}

/// The record in a line, to the letter.
fn record_of(line: &[u8]) -> Option<(Cow<'_, str>, Option<OrderKey>, Timestamp)> {
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_slice(line).ok()?;
    let record = fields.get("record")?.get();
    let record = if record.starts_with('"') {
        Cow::Owned(serde_json::from_str(record).ok()?)
    } else {
        Cow::Borrowed(record)
    };
    let (capture, at) = decode(record.as_bytes())?;
    Some((record, capture.op.order_key, at))
}

impl Keeper {
    fn take_refused(&self) -> Result<Taken, SpoolError> {
        self.check_open(OPERATION)?;
        let Core { disk, root, .. } = &*self.core;
        take(&**disk, &root.join(REFUSED)).map_err(|error| classify(OPERATION, error).into())
    }

    fn read_refused(&self, path: &Path, from: u64) -> Result<Part, SpoolError> {
        let Core { disk, config, .. } = &*self.core;
        let most = config.group_records.min(config.queue_records);
        read(&**disk, path, from, most, config.group_bytes)
            .map_err(|error| classify(OPERATION, error).into())
    }

    /// Removes a file; the lines that are left go where later ones of this process go, too.
    fn end_refused(&self, path: &Path, left: &[Vec<u8>]) -> Result<(), SpoolError> {
        let Core { disk, root, instance, .. } = &*self.core;
        let end = || {
            for line in left {
                aside::refuse(&**disk, root, instance, &[line, &b"\n"[..]].concat(), None)?;
            }
            disk.remove_file(path)?;
            disk.sync_dir(&root.join(REFUSED)).map_err(NotAside::from)
        };
        end().map_err(|error| match error {
            NotAside::Full(bytes) => SpoolError::AsideFull { bytes, max_bytes: bytes },
            NotAside::Disk(error) => classify(OPERATION, error).into(),
        })
    }
}

fn take(disk: &dyn Disk, dir: &Path) -> io::Result<Taken> {
    if !exists(disk, dir)? {
        return Ok(Taken { files: Vec::new(), _lock: None });
    }
    let alone = lock(disk, dir, RESTORE_LOCK)?;
    // Nobody adds a line while its file is moved.
    let _still = lock(disk, dir, LOCK)?;
    let mut files = Vec::new();
    for item in list(disk, dir)? {
        let path = dir.join(&item.name);
        let name = item.name.to_string_lossy();
        if item.kind != Kind::File || name == LOCK || name == RESTORE_LOCK {
            continue;
        }
        if path.extension().is_some_and(|ending| ending == MOVED) {
            files.push(path);
            continue;
        }
        let mut moved = dir.join(format!("{name}.{MOVED}"));
        let mut number = 1_u32;
        while exists(disk, &moved)? {
            number += 1;
            moved = dir.join(format!("{name}.{number}.{MOVED}"));
        }
        disk.rename(&path, &moved)?;
        files.push(moved);
    }
    disk.sync_dir(dir)?;
    Ok(Taken { files, _lock: Some(alone) })
}

/// The next lines of a file: at most `most` of them, and none further after so many bytes.
fn read(disk: &dyn Disk, path: &Path, from: u64, most: usize, bytes: usize) -> io::Result<Part> {
    const CHUNK: usize = 256 << 10;
    let mut part = Part { lines: Vec::new(), next: from };
    let mut open = Vec::new();
    let (mut at, mut taken) = (from, 0);
    loop {
        let chunk = disk.read(path, at, CHUNK)?;
        at += chunk.len() as u64;
        let ended = chunk.len() < CHUNK;
        let mut pieces = chunk.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            open.extend_from_slice(piece);
            let complete = pieces.peek().is_some();
            // What stands behind the last line feed is half a line, but a part of what is there.
            let is_last = ended && !open.is_empty();
            if !complete && !is_last {
                continue;
            }
            part.next += open.len() as u64 + u64::from(complete);
            taken += open.len();
            part.lines.push(std::mem::take(&mut open));
            if part.lines.len() >= most || taken >= bytes {
                return Ok(part);
            }
        }
        if ended {
            return Ok(part);
        }
    }
}
