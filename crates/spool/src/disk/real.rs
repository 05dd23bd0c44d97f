//! The file system of the machine.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::{Append, Disk, Held, Item, Kind};

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RealDisk;

/// Why a directory can't be used, beside failures of the disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] io::Error),
    /// It may be used by others, or is none.
    #[error("{0}")]
    Refused(&'static str),
}

/// Makes the directory of a spool where it is missing, and checks that it is ours alone. Answers its real path.
pub(crate) fn prepare(dir: &Path) -> Result<PathBuf, Unfit> {
    match dir.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let parents = parents_to_sync(dir);
            private_dir().recursive(true).create(dir)?;
            // The names must outlive a power cut as well as the content does: those above may be new, too.
            parents.into_iter().try_for_each(sync_dir)?;
        }
        Err(error) => return Err(error.into()),
        Ok(_) => {}
    }
    check(dir)?;
    Ok(dir.canonicalize()?)
}

/// The directories above one that is missing, up to the first that is there: a name is new in each.
fn parents_to_sync(dir: &Path) -> Vec<&Path> {
    let mut parents = Vec::new();
    for parent in dir.ancestors().skip(1) {
        // A relative path ends with nothing, which stands for the working directory.
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        parents.push(parent);
        if parent.exists() {
            break;
        }
    }
    parents
}

/// Checks that a directory is one, is no link, and that nobody else can put files into it.
pub(crate) fn check(dir: &Path) -> Result<(), Unfit> {
    let found = dir.symlink_metadata()?;
    if found.is_symlink() {
        return Err(Unfit::Refused("the directory of the spool is a symbolic link"));
    }
    if !found.is_dir() {
        return Err(Unfit::Refused("the directory of the spool is no directory"));
    }
    owned(&found)
}

#[cfg(unix)]
fn owned(found: &std::fs::Metadata) -> Result<(), Unfit> {
    use std::os::unix::fs::MetadataExt as _;

    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(Unfit::Refused("the directory of the spool belongs to another user"));
    }
    if found.mode() & 0o022 != 0 {
        let sentence = "others can write into the directory of the spool; `chmod 700` it";
        return Err(Unfit::Refused(sentence));
    }
    Ok(())
}

#[cfg(not(unix))]
fn owned(_: &std::fs::Metadata) -> Result<(), Unfit> {
    Ok(())
}

#[cfg(unix)]
fn private_dir() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt as _;

    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(not(unix))]
fn private_dir() -> DirBuilder {
    DirBuilder::new()
}

#[cfg(unix)]
fn private_file() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

#[cfg(not(unix))]
fn private_file() -> OpenOptions {
    OpenOptions::new()
}

#[cfg(unix)]
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether the path still names the file that was opened: another may have removed it in between.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;

    let (opened, named) = (file.metadata()?, path.symlink_metadata()?);
    Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

#[cfg(not(unix))]
fn is_at(_: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

impl Disk for RealDisk {
    fn make_dir(&self, path: &Path) -> io::Result<()> {
        private_dir().create(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Item>> {
        let mut items = Vec::new();
        for found in dir.read_dir()? {
            let found = found?;
            let kind = match found.file_type() {
                Ok(kind) if kind.is_file() => Kind::File,
                Ok(kind) if kind.is_dir() => Kind::Dir,
                Ok(_) => Kind::Other,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            items.push(Item { name: found.file_name(), kind });
        }
        items.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(items)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>> {
        let file = private_file().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Whoever removes a lock file holds its lock, so from here on it stays.
        Ok(is_at(&file, path)?.then(|| Box::new(Lock(file)) as Box<dyn Held>))
    }

    fn is_locked(&self, path: &Path) -> io::Result<bool> {
        match File::open(path)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn Append>> {
        Ok(Box::new(Appended(private_file().append(true).create_new(true).open(path)?)))
    }

    fn append_to(&self, path: &Path) -> io::Result<Box<dyn Append>> {
        Ok(Box::new(Appended(private_file().append(true).create(true).open(path)?)))
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(path.symlink_metadata()?.len())
    }

    fn read(&self, path: &Path, from: u64, most: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::with_capacity(most);
        file.take(most as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = private_file().write(true).create(true).truncate(false).open(path)?;
        file.write_all(bytes)
    }

    fn cut(&self, path: &Path, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_dir(dir)
    }
}

/// The lock lives as long as the open file.
#[derive(Debug)]
struct Lock(#[expect(dead_code, reason = "closing it gives the lock up")] File);

impl Held for Lock {}

#[derive(Debug)]
struct Appended(File);

impl Append for Appended {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_that_is_made_on_the_way_is_synced() {
        let dir = tempfile::tempdir().expect("a directory");
        let top = dir.path();
        let (var, shop) = (top.join("var"), top.join("var/shop"));
        assert_eq!(parents_to_sync(&shop.join("spool")), [shop.as_path(), &var, top]);
        assert_eq!(parents_to_sync(&var), [top]);
        let not_there = Path::new("there-is-no-such-directory/spool");
        let above = Path::new("there-is-no-such-directory");
        assert_eq!(parents_to_sync(not_there), [above, Path::new(".")]);
    }
}
