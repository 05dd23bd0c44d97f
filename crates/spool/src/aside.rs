//! Files and records that are put aside: moved, kept, reported, never deleted.

use std::{
    io,
    path::{Path, PathBuf},
};

use baldur_core::Timestamp;

use crate::{
    disk::{Disk, Kind, ensure_dir, exists},
    layout::{QUARANTINE, REFUSED},
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

/// Writes a record that the store will never take, with the reason, as a line of its own, and syncs it.
pub(crate) fn refuse(
    disk: &dyn Disk,
    root: &Path,
    instance: &str,
    at: Timestamp,
    reason: &str,
    record: &str,
) -> io::Result<()> {
    let dir = root.join(REFUSED);
    ensure_dir(disk, &dir)?;
    let path = refused_file(root, instance);
    let mut file = disk.append_to(&path)?;
    let before = disk.length(&path)?;
    let reason = serde_json::Value::from(reason);
    let line = format!("{{\"set_aside_at\":\"{at}\",\"reason\":{reason},\"record\":{record}}}\n");
    let written = file.write(line.as_bytes()).and_then(|()| file.sync());
    if let Err(error) = written {
        // Half a line would spoil the next one. If even this fails, people see it; the record is still in its lane.
        let _ = file.cut(before);
        return Err(error);
    }
    disk.sync_dir(&dir)?;
    disk.sync_dir(root)
}

/// What was put aside and is still there: files in quarantine, and refused records.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    /// The names of the files in quarantine.
    pub(crate) files: Vec<String>,
    /// How many records were refused.
    pub(crate) refused: u64,
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
            aside.refused += lines(disk, &refused.join(&item.name))?;
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

fn lines(disk: &dyn Disk, path: &Path) -> io::Result<u64> {
    const CHUNK: usize = 256 << 10;
    let (mut at, mut lines) = (0, 0);
    loop {
        let bytes = disk.read(path, at, CHUNK)?;
        // Each line feed parts two pieces.
        lines += bytes.split(|byte| *byte == b'\n').count() as u64 - 1;
        at += bytes.len() as u64;
        if bytes.len() < CHUNK {
            return Ok(lines);
        }
    }
}
