//! The one writer of the own lane: groups of records, each with one write and one sync.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use baldur_core::{BackendError, port::SpoolError};

use crate::{
    batch::{Batch, Record},
    core::Core,
    disk::{Append, Disk, Held},
    error::classify,
    frame::{self, HEADER_BYTES, header},
    layout::{CURSOR, Cursor, LOCK, segment},
    state::{Place, Segment},
};

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
    /// What is written is put together here, where it isn't already.
    text: Vec<u8>,
}

const LANE_TRIES: usize = 8;

impl Writer {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, current: None, next_segment: 1, text: Vec::new() }
    }

    /// Appends records that were announced by [`Core::expect`], and answers each when it is synced.
    pub(crate) fn commit(&mut self, batches: &mut [&mut Batch]) -> Vec<Result<(), SpoolError>> {
        let mut answers = self.admit(batches);
        let accepted = answers.iter().filter(|answer| answer.is_ok()).count();
        if accepted > 0 {
            let outcome = self.write(batches, &answers);
            self.finish(batches, &answers, outcome.is_ok());
            if let Err(failed) = outcome {
                let error = refused(failed);
                tracing::warn!(
                    records = accepted,
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
    fn admit(&mut self, batches: &[&mut Batch]) -> Vec<Result<(), SpoolError>> {
        let max_bytes = self.core.config.max_bytes;
        let mut state = self.core.state();
        // The keeper may have taken the segment away, because nothing in it waited.
        if self.current.as_ref().is_some_and(|current| state.open != Some(current.number)) {
            self.current = None;
        }
        state.writing = true;
        let bytes = state.bytes();
        let mut used = bytes + HEADER_BYTES;
        let mut refused = 0;
        let mut answers = Vec::with_capacity(batches.iter().map(|batch| batch.len()).sum());
        for record in batches.iter().flat_map(|batch| batch.records()) {
            if used + record.bytes() <= max_bytes {
                used += record.bytes();
                answers.push(Ok(()));
            } else {
                refused += 1;
                state.own.release(record.key.as_ref());
                answers.push(Err(SpoolError::Full { bytes, max_bytes }));
            }
        }
        state.settled(refused);
        if refused == answers.len() as u64 {
            state.writing = false;
        }
        answers
    }

    fn write(
        &mut self,
        batches: &mut [&mut Batch],
        answers: &[Result<(), SpoolError>],
    ) -> Result<(), Failed> {
        let bytes: u64 = accepted(batches, answers).map(|(_, record)| record.bytes()).sum();
        let sealed = self.core.config.segment_bytes;
        if self.current.as_ref().is_some_and(|current| current.end + bytes > sealed) {
            self.current = None;
        }
        let (mut current, is_new) = match self.current.take() {
            Some(current) => (current, false),
            None => (self.begin().map_err(Failed::certain)?, true),
        };
        let group = current.groups.wrapping_add(1);
        let mut own = std::mem::take(&mut self.text);
        let text = match batches {
            // As it comes, without a copy.
            [batch] if !is_new && answers.iter().all(Result::is_ok) => batch.sealed(group),
            _ => {
                put_together(&mut own, batches, answers, is_new, group);
                &own
            }
        };
        let (written, length) = (current.file.write(text), text.len() as u64);
        // A large write is rare, and its memory is not kept for the next one.
        if own.capacity() <= 2 * self.core.config.group_bytes {
            self.text = own;
        }
        if let Err(error) = written {
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
        current.end += length;
        current.groups = group;
        self.keep(&current, accepted(batches, answers).map(|(_, record)| record));
        self.current = Some(current);
        Ok(())
    }

    /// Tells what is in the segment now, all at once: from here on the keeper may hand it out and remove it.
    fn keep<'a>(&self, current: &Current, written: impl Iterator<Item = &'a Record>) {
        let mut written = written.peekable();
        let oldest = written.peek().map(|record| record.at);
        let records = written.count() as u64;
        let mut state = self.core.state();
        state.own.records += records;
        state.own.oldest = state.own.oldest.or(oldest);
        state.open = Some(current.number);
        let before = state.own.last_or_new(current.number);
        let records = before.records + records;
        let (end, length) = (current.end, current.end);
        state.own.put(Segment { end, length, records, ..before });
    }

    /// Ends a write, and lets go of what was not written.
    fn finish(&self, batches: &[&mut Batch], answers: &[Result<(), SpoolError>], written: bool) {
        let mut state = self.core.state();
        state.writing = false;
        let mut count = 0;
        for (_, record) in accepted(batches, answers) {
            count += 1;
            if !written {
                state.own.release(record.key.as_ref());
            }
        }
        state.settled(count);
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

/// The records that found room, each with its batch.
fn accepted<'a>(
    batches: &'a [&mut Batch],
    answers: &'a [Result<(), SpoolError>],
) -> impl Iterator<Item = (&'a Batch, &'a Record)> {
    let of = |batch: &'a &mut Batch| batch.records().iter().map(move |record| (&**batch, record));
    let records = batches.iter().flat_map(of).zip(answers);
    records.filter(|(_, answer)| answer.is_ok()).map(|(record, _)| record)
}

/// Puts together what one write is to hold.
fn put_together(
    text: &mut Vec<u8>,
    batches: &[&mut Batch],
    answers: &[Result<(), SpoolError>],
    is_new: bool,
    group: u32,
) {
    text.clear();
    if is_new {
        text.extend_from_slice(&header());
    }
    for (batch, record) in accepted(batches, answers) {
        let start = text.len();
        text.extend_from_slice(batch.frame(record));
        frame::seal(text.get_mut(start..).unwrap_or_default(), group);
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
