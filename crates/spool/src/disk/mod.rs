//! The file layer under a spool: the real one, and for tests one that can lose power.

mod real;
#[cfg(test)]
pub(crate) mod sim;

use std::{fmt, io, path::Path};

pub(crate) use real::{RealDisk, Unfit, check, prepare};

/// What a spool asks of a file system. Nothing follows symbolic links into other places: what is listed as one is never opened.
pub(crate) trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a directory for the owner alone.
    fn make_dir(&self, path: &Path) -> io::Result<()>;

    /// What is in a directory, by name.
    fn list(&self, dir: &Path) -> io::Result<Vec<Item>>;

    /// Takes the lock that this file stands for, makes the file where it is missing. `None` when another holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Held>>>;

    /// Whether somebody holds the lock.
    fn is_locked(&self, path: &Path) -> io::Result<bool>;

    /// Makes a new file for the owner alone.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Append>>;

    /// Opens a file to append to it, makes it where it is missing.
    fn append_to(&self, path: &Path) -> io::Result<Box<dyn Append>>;

    /// How long a file is.
    fn length(&self, path: &Path) -> io::Result<u64>;

    /// Reads at most so many bytes; fewer only at the end of the file.
    fn read(&self, path: &Path, from: u64, most: usize) -> io::Result<Vec<u8>>;

    /// Puts these bytes at the start of a file, in one write and without a sync.
    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;

    /// Cuts a file to a length, and syncs that.
    fn cut(&self, path: &Path, length: u64) -> io::Result<()>;

    /// Moves a file within the spool.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory last.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// A file that is appended to.
pub(crate) trait Append: fmt::Debug + Send {
    /// Appends all of it. After a failure, some of it may be there.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes the content last.
    fn sync(&mut self) -> io::Result<()>;

    /// Cuts the file to a length; what is appended later follows there.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

/// A lock; dropping it, or the end of the process, gives it up.
pub(crate) trait Held: fmt::Debug + Send {}

/// Something in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its name. What is not Unicode can't be ours, and is only ever shown.
    pub(crate) name: std::ffi::OsString,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What something in a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link, a device, a socket.
    Other,
}

/// Makes a directory unless it is there.
pub(crate) fn ensure_dir(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.make_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Whether there is something at this path.
pub(crate) fn exists(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.length(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
