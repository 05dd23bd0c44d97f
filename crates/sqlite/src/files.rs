//! The files of a database: made before SQLite sees them, so that nobody else can ever read them.

use std::{
    fs::{DirBuilder, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use baldur_core::{BackendError, BackendKind};

use crate::error::{BACKEND, said};

/// Makes the database file with mode 0600, and its directory with 0700, where they don't exist.
///
/// SQLite gives its `-wal` and `-shm` files the mode of the database file.
pub(crate) async fn prepare(path: PathBuf) -> Result<(), BackendError> {
    let made = tokio::task::spawn_blocking(move || make(&path)).await;
    let unavailable = || BackendError::new(BACKEND, "open", BackendKind::Unavailable).not_applied();
    match made {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.kind() == io::ErrorKind::StorageFull => {
            Err(said("open", BackendKind::Full, "the disk has no room for the database"))
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            Err(said("open", BackendKind::ReadOnly, "the file system takes no writes"))
        }
        Ok(Err(error)) => Err(unavailable().because(error)),
        Err(cancelled) => Err(unavailable().because(cancelled)),
    }
}

fn make(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        private_dir().create(parent)?;
    }
    // An existing file keeps its content and its mode.
    private_file().open(path)?.sync_all()?;
    // The name must outlive a power cut as well as the content does.
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => sync_dir(parent),
        None => sync_dir(Path::new(".")),
    }
}

#[cfg(unix)]
fn private_dir() -> DirBuilder {
    use std::os::unix::fs::DirBuilderExt;

    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder
}

#[cfg(unix)]
fn private_file() -> OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;

    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

#[cfg(unix)]
fn sync_dir(path: &Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

#[cfg(not(unix))]
fn private_dir() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    builder
}

#[cfg(not(unix))]
fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options
}

#[cfg(not(unix))]
fn sync_dir(_: &Path) -> io::Result<()> {
    Ok(())
}
