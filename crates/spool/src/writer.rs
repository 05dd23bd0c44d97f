//! The one writer of the own lane: groups of records, each with one write and one sync.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use baldur_core::{BackendError, Timestamp, name::OrderKey, port::SpoolError};

use crate::{
    core::Core,
    disk::{Append, Disk, Held},
    error::classify,
    frame::{FRAME_BYTES, HEADER_BYTES, header, put},
    layout::{CURSOR, Cursor, LOCK, segment},
    state::{Place, Segment},
};

/// A record to append.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) key: Option<OrderKey>,
    pub(crate) at: Timestamp,
    pub(crate) text: String,
}

impl Record {
    /// How many bytes it takes in a segment.
    pub(crate) fn bytes(&self) -> u64 {
        self.text.len() as u64 + FRAME_BYTES
    }
}

/// The segment at work.
#[derive(Debug)]
struct Current {
    number: u64,
    path: PathBuf,
    file: Box<dyn Append>,
    /// How far it was written and synced.
    end: u64,
    /// How many writes that were.
    groups: u32,
}

/// A write that failed.
struct Failed {
    error: io::Error,
    /// Whether the disk certainly holds nothing of it.
    certain: bool,
}

impl Failed {
    fn uncertain(error: io::Error) -> Self {
        Self { error, certain: false }
    }

    fn certain(error: io::Error) -> Self {
        Self { error, certain: true }
    }
}

/// Appends to the own lane.
#[derive(Debug)]
pub(crate) struct Writer {
    core: Arc<Core>,
    current: Option<Current>,
    next_segment: u64,
}

const LANE_TRIES: usize = 8;

impl Writer {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, current: None, next_segment: 1 }
    }

    /// Appends records that were announced by [`Core::expect`], and answers each when it is synced.
    pub(crate) fn commit(&mut self, records: &[&Record]) -> Vec<Result<(), SpoolError>> {
        let (mut answers, accepted) = self.admit(records);
        if !accepted.is_empty() {
            let outcome = self.write(&accepted);
            self.finish(&accepted, outcome.is_ok());
            if let Err(failed) = outcome {
                let error = refused(failed);
                tracing::warn!(
                    records = accepted.len(),
                    error = %baldur_core::Chain(&error),
                    "spool.write_failed"
                );
                for answer in answers.iter_mut().filter(|answer| answer.is_ok()) {
                    *answer = Err(SpoolError::Backend(error.clone()));
                }
            }
        }
        answers
    }

    /// Who finds room.
    fn admit<'a>(
        &mut self,
        records: &[&'a Record],
    ) -> (Vec<Result<(), SpoolError>>, Vec<&'a Record>) {
        let max_bytes = self.core.config.max_bytes;
        let mut state = self.core.state();
        // The keeper may have taken the segment away, because nothing in it waited.
        if self.current.as_ref().is_some_and(|current| state.open != Some(current.number)) {
            self.current = None;
        }
        state.writing = true;
        let bytes = state.bytes();
        let mut used = bytes + HEADER_BYTES;
        let mut accepted = Vec::with_capacity(records.len());
        let mut answers = Vec::with_capacity(records.len());
        for record in records {
            if used + record.bytes() <= max_bytes {
                used += record.bytes();
                accepted.push(*record);
                answers.push(Ok(()));
            } else {
                state.own.release(record.key.as_ref());
                answers.push(Err(SpoolError::Full { bytes, max_bytes }));
            }
        }
        let refused = records.len() - accepted.len();
        state.settled(refused as u64);
        if accepted.is_empty() {
            state.writing = false;
        }
        (answers, accepted)
    }

    fn write(&mut self, records: &[&Record]) -> Result<(), Failed> {
        let bytes: u64 = records.iter().map(|record| record.bytes()).sum();
        let sealed = self.core.config.segment_bytes;
        if self.current.as_ref().is_some_and(|current| current.end + bytes > sealed) {
            self.current = None;
        }
        let mut text = Vec::with_capacity(usize::try_from(bytes + HEADER_BYTES).unwrap_or(0));
        let (mut current, is_new) = if let Some(current) = self.current.take() {
            (current, false)
        } else {
            text.extend_from_slice(&header());
            (self.begin().map_err(Failed::certain)?, true)
        };
        let group = current.groups.wrapping_add(1);
        for record in records {
            put(&mut text, group, record.text.as_bytes());
        }
        if let Err(error) = current.file.write(&text) {
            return Err(self.undo(current, is_new, error));
        }
        let synced = current
            .file
            .sync()
            .and_then(|()| if is_new { self.sync_lane(&current.path) } else { Ok(()) });
        if let Err(error) = synced {
            self.abandon(current, is_new);
            return Err(Failed::uncertain(error));
        }
        current.end += text.len() as u64;
        current.groups = group;
        self.keep(&current, records);
        self.current = Some(current);
        Ok(())
    }

    /// Tells what is in the segment now, all at once: from here on the keeper may hand it out and remove it.
    fn keep(&self, current: &Current, written: &[&Record]) {
        let records = written.len() as u64;
        let mut state = self.core.state();
        state.own.records += records;
        state.own.oldest = state.own.oldest.or(written.first().map(|record| record.at));
        state.open = Some(current.number);
        let before = state.own.last_or_new(current.number);
        let records = before.records + records;
        let (end, length) = (current.end, current.end);
        state.own.put(Segment { end, length, records, ..before });
    }

    /// Ends a write, and lets go of what was not written.
    fn finish(&self, records: &[&Record], written: bool) {
        let mut state = self.core.state();
        state.writing = false;
        if !written {
            for record in records {
                state.own.release(record.key.as_ref());
            }
        }
        state.settled(records.len() as u64);
    }

    /// Takes a failed write back, as far as the disk lets us.
    fn undo(&mut self, mut current: Current, is_new: bool, error: io::Error) -> Failed {
        let undone = current.file.cut(current.end).and_then(|()| current.file.sync());
        if undone.is_err() {
            self.abandon(current, is_new);
            return Failed::uncertain(error);
        }
        if is_new {
            // It is empty. If it can't be removed it stays empty, and whoever adopts the lane removes it.
            let _ = self.core.disk.remove_file(&current.path);
        } else {
            self.current = Some(current);
        }
        Failed::certain(error)
    }

    /// Gives a segment up that can't be trusted any more. What was acknowledged before stays readable.
    fn abandon(&self, mut current: Current, is_new: bool) {
        // Kernels forget which pages they failed to write, so a second sync proves nothing. Cutting only
        // spares readers the rest of the failed write.
        let _ = current.file.cut(current.end);
        if is_new && self.core.disk.remove_file(&current.path).is_ok() {
            return;
        }
        let length = self.core.disk.length(&current.path).unwrap_or(current.end);
        let mut state = self.core.state();
        state.open = None;
        let before = state.own.last_or_new(current.number);
        let end = before.end.min(length);
        state.own.put(Segment { end, length, ..before });
    }

    fn sync_lane(&self, segment: &Path) -> io::Result<()> {
        segment.parent().map_or(Ok(()), |lane| self.core.disk.sync_dir(lane))
    }

    fn begin(&mut self) -> io::Result<Current> {
        let lane = self.lane()?;
        let number = self.next_segment;
        let path = segment(&lane, number);
        let file = self.core.disk.create(&path)?;
        self.next_segment += 1;
        Ok(Current { number, path, file, end: 0, groups: 0 })
    }

    /// The own lane; made where it is missing.
    pub(crate) fn lane(&mut self) -> io::Result<PathBuf> {
        if let Some(place) = &self.core.state().own.place {
            return Ok(place.dir.clone());
        }
        let Core { disk, root, .. } = &*self.core;
        for attempt in 0..LANE_TRIES {
            let name =
                if attempt == 0 { self.core.instance.clone() } else { self.core.lane_name() };
            let dir = root.join(&name);
            let lock = match take(&**disk, root, &dir) {
                Ok(Some(lock)) => lock,
                // Another took it for an orphan before we had the lock, or has the name.
                Ok(None) => continue,
                Err(error) if is_taken(&error) && disk.length(root).is_ok() => continue,
                Err(error) => return Err(error),
            };
            // Made while there is room, so that it can be written on a full disk. It can be made later, too.
            let _ = disk.overwrite(&dir.join(CURSOR), &Cursor::default().to_bytes(&name));
            let place = Place { name, dir: dir.clone(), lock: Some(lock) };
            self.core.state().own.place = Some(place);
            return Ok(dir);
        }
        Err(io::Error::other("no directory of its own could be made"))
    }
}

/// Makes a lane and takes its lock. A failed attempt leaves nothing behind.
fn take(disk: &dyn Disk, root: &Path, dir: &Path) -> io::Result<Option<Box<dyn Held>>> {
    disk.make_dir(dir)?;
    let lock = match disk.lock(&dir.join(LOCK)) {
        Ok(Some(lock)) => lock,
        Ok(None) => return Ok(None),
        Err(error) => {
            let _ = disk.remove_dir(dir);
            return Err(error);
        }
    };
    if let Err(error) = disk.sync_dir(root) {
        let _ = disk.remove_file(&dir.join(LOCK));
        let _ = disk.remove_dir(dir);
        return Err(error);
    }
    Ok(Some(lock))
}

fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound)
}

fn refused(failed: Failed) -> BackendError {
    let Failed { error, certain } = failed;
    let error = classify("append", error);
    if certain { error.not_applied() } else { error }
}
