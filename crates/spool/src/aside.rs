//! Files and records that are put aside: moved, kept, reported, never deleted.

use std::{
    io,
    path::{Path, PathBuf},
};

use baldur_core::Timestamp;

use crate::{
    disk::{Disk, Held, Kind, ensure_dir, exists},
    layout::{LOCK, QUARANTINE, REFUSED},
};

/// File systems allow 255 bytes for a name.
const MAX_NAME: usize = 200;

/// Moves a file into the quarantine. `from` says where it was found.
pub(crate) fn quarantine(disk: &dyn Disk, root: &Path, path: &Path, from: &str) -> io::Result<()> {
    let quarantine = root.join(QUARANTINE);
    ensure_dir(disk, &quarantine)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut name = format!("{from}--{}", name.unwrap_or_default());
    if name.len() > MAX_NAME {
        let cut = (0..=MAX_NAME).rev().find(|cut| name.is_char_boundary(*cut)).unwrap_or(0);
        name.truncate(cut);
    }
    let mut target = quarantine.join(&name);
    let mut number = 1_u32;
    while exists(disk, &target)? {
        number += 1;
        target = quarantine.join(format!("{name}.{number}"));
    }
    disk.rename(path, &target)?;
    disk.sync_dir(&quarantine)?;
    if let Some(dir) = path.parent() {
        disk.sync_dir(dir)?;
    }
    Ok(())
}

/// Where the refused records of a process go.
pub(crate) fn refused_file(root: &Path, instance: &str) -> PathBuf {
    root.join(REFUSED).join(format!("{instance}.ndjson"))
}

/// Why a record could not be put aside. It is still in its lane.
#[derive(Debug)]
pub(crate) enum NotAside {
    /// So many bytes are there already.
    Full(u64),
    /// The disk failed, or another process is at work there.
    Disk(io::Error),
}

impl From<io::Error> for NotAside {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

/// A record as a line: when and why it was put aside, and the record as it stood, in quotes where it has lines of its own.
pub(crate) fn line(at: Timestamp, reason: &str, record: &str) -> String {
    let reason = serde_json::Value::from(reason);
    // Payloads keep their white space.
    let quoted = record.contains('\n').then(|| serde_json::Value::from(record).to_string());
    let record = quoted.as_deref().unwrap_or(record);
    format!("{{\"set_aside_at\":\"{at}\",\"reason\":{reason},\"record\":{record}}}\n")
}

/// Adds a line to the file of a process, and syncs it. With a limit, only if all that is there stays within.
pub(crate) fn refuse(
    disk: &dyn Disk,
    root: &Path,
    instance: &str,
    line: &[u8],
    max_bytes: Option<u64>,
) -> Result<(), NotAside> {
    let dir = root.join(REFUSED);
    ensure_dir(disk, &dir)?;
    // Whoever takes records back moves the files away meanwhile.
    let _lock = lock(disk, &dir, LOCK)?;
    if let Some(max) = max_bytes {
        let used = bytes(disk, &dir)?;
        // The first one is taken however long it is.
        if used > 0 && used + line.len() as u64 > max {
            return Err(NotAside::Full(used));
        }
    }
    let path = refused_file(root, instance);
    let mut file = disk.append_to(&path)?;
    let before = disk.length(&path)?;
    let written = file.write(line).and_then(|()| file.sync());
    if let Err(error) = written {
        // Half a line would spoil the next one. If even this fails, people see it; the record is still in its lane.
        let _ = file.cut(before);
        return Err(error.into());
    }
    disk.sync_dir(&dir)?;
    disk.sync_dir(root)?;
    Ok(())
}

/// Takes a lock among the refused records; whoever finds it taken comes back later.
pub(crate) fn lock(disk: &dyn Disk, dir: &Path, name: &str) -> io::Result<Box<dyn Held>> {
    let busy = || io::Error::new(io::ErrorKind::WouldBlock, "another process is at work there");
    disk.lock(&dir.join(name))?.ok_or_else(busy)
}

fn bytes(disk: &dyn Disk, dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for item in list(disk, dir)? {
        match disk.length(&dir.join(&item.name)) {
            Ok(length) => sum += length,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sum)
}

/// What was put aside and is still there: files in quarantine, and refused records.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// The names of the files in quarantine.
    pub(crate) files: Vec<String>,
    /// How many records were refused.
    pub(crate) refused: u64,
    /// How many bytes they have.
    pub(crate) refused_bytes: u64,
}

/// Looks for what was put aside.
pub(crate) fn look(disk: &dyn Disk, root: &Path) -> io::Result<Aside> {
    let mut aside = Aside::default();
    for item in list(disk, &root.join(QUARANTINE))? {
        aside.files.push(item.name.to_string_lossy().into_owned());
    }
    let refused = root.join(REFUSED);
    for item in list(disk, &refused)? {
        if item.kind == Kind::File {
            // It may be taken back at this moment.
            match lines(disk, &refused.join(&item.name)) {
                Ok((lines, bytes)) => {
                    aside.refused += lines;
                    aside.refused_bytes += bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(aside)
}

/// What is in a directory that may be missing.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<crate::disk::Item>> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}

/// How many lines a file has, and how many bytes.
fn lines(disk: &dyn Disk, path: &Path) -> io::Result<(u64, u64)> {
    const CHUNK: usize = 256 << 10;
    let (mut at, mut lines) = (0, 0);
    loop {
        let bytes = disk.read(path, at, CHUNK)?;
        // Each line feed parts two pieces.
        lines += bytes.split(|byte| *byte == b'\n').count() as u64 - 1;
        at += bytes.len() as u64;
        if bytes.len() < CHUNK {
            return Ok((lines, at));
        }
    }
}
