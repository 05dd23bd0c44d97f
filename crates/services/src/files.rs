//! The folder of a server.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::{ServiceError, account::Account};

/// A new folder in the temporary one, which only `account` may look into. Its guard removes it.
pub(crate) fn folder(service: &str, account: Account) -> Result<PathBuf, ServiceError> {
    let doing = || ServiceError::io("make a temporary folder");
    let folder = tempfile::Builder::new()
        .prefix(&format!("baldur-{service}-"))
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(doing())?;
    account.own(folder.path()).map_err(doing())?;
    Ok(folder.keep())
}

/// A file with a secret: only `account` may read it.
pub(crate) fn secret(path: &Path, text: &str, account: Account) -> Result<(), ServiceError> {
    let doing = || ServiceError::io(format!("write {}", path.display()));
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(doing())?;
    file.write_all(text.as_bytes()).map_err(doing())?;
    account.own(path).map_err(doing())
}

pub(crate) fn remove(path: &Path) -> Result<(), ServiceError> {
    fs::remove_file(path).map_err(ServiceError::io(format!("remove {}", path.display())))
}

/// Opens a log for a program's output, twice.
pub(crate) fn log(path: &Path) -> Result<(Stdio, Stdio), ServiceError> {
    let doing = || ServiceError::io(format!("open {}", path.display()));
    let file = File::options().create(true).append(true).open(path).map_err(doing())?;
    let again = file.try_clone().map_err(doing())?;
    Ok((file.into(), again.into()))
}
