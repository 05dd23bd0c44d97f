//! Under which account servers run: PostgreSQL and PgBouncer refuse to run as root.

use std::{
    io,
    os::unix::{fs::chown, process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
};

use crate::ServiceError;

/// Where the processes of a server run, and who owns its files.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Account {
    /// As who started us.
    Ourselves,
    /// We are root, and they are not.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// Ourselves, or the user `postgres` when we are root.
    pub(crate) fn find() -> Result<Self, ServiceError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        Ok(Self::Other { uid: id("-u")?, gid: id("-g")? })
    }

    /// Makes `command` run under this account, apart from our terminal's signals.
    pub(crate) fn apply(self, command: &mut Command) -> &mut Command {
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command.process_group(0).stdin(Stdio::null())
    }

    pub(crate) fn own(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid } => chown(path, Some(uid), Some(gid)),
        }
    }
}

fn id(which: &str) -> Result<u32, ServiceError> {
    let output = Command::new("id")
        .args([which, "postgres"])
        .stdin(Stdio::null())
        .output()
        .map_err(ServiceError::io("run `id`"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| {
        ServiceError::Missing(
            "PostgreSQL refuses to run as root, and there is no user `postgres` to run it as; \
             Debian's package makes one:\n    apt-get install -y postgresql"
                .to_owned(),
        )
    })
}
