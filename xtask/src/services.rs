//! `cargo xtask services [CMD…]`: private servers around a command.
//!
//! The servers are the affair of `crates/services`, whose program this process becomes: there is
//! then no process between that could be killed alone, and a signal reaches the one that it means.

use std::{
    env,
    ffi::OsStr,
    fs::{self, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{failure::Failure, process, tools};

/// Names another PostgreSQL than Debian's.
pub(crate) const POSTGRES_BIN: &str = "BALDUR_POSTGRES_BIN";
/// `1`: a test that misses its server fails. The servers' crate reads it.
pub(crate) const REQUIRE: &str = "BALDUR_TEST_REQUIRE";

/// Returns only when it fails.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    tools::ensure_servers(&[tools::POSTGRES])?;
    // Not `process::cargo`: CMD runs where the developer is, with their input.
    let mut command = Command::new(env::var_os("CARGO").as_deref().unwrap_or(OsStr::new("cargo")));
    let error = around(&mut command, arguments).exec();
    Err(Failure::Command {
        command: "cargo run --package baldur-services".to_owned(),
        why: format!("did not start: {error}"),
    })
}

/// Makes `cargo` run CMD between the start and the end of the servers.
pub(crate) fn around<'a>(cargo: &'a mut Command, arguments: &[String]) -> &'a mut Command {
    let rest = match arguments {
        [first, rest @ ..] if first == "--" => rest,
        all => all,
    };
    let manifest = process::root().join("Cargo.toml");
    cargo.args(["run", "--quiet", "--package", "baldur-services", "--manifest-path"]).arg(manifest);
    cargo.arg("--").args(rest)
}

/// Whether there is a PostgreSQL; which one is taken, and whether it is whole, the servers' crate knows.
pub(crate) fn has_postgres() -> bool {
    env::var_os(POSTGRES_BIN).is_some_and(|it| !it.is_empty())
        || fs::read_dir("/usr/lib/postgresql").is_ok_and(|versions| {
            versions.filter_map(Result::ok).any(|it| it.path().join("bin/initdb").is_file())
        })
}

pub(crate) fn has_pgbouncer() -> bool {
    Path::new("/usr/sbin/pgbouncer").is_file()
}

/// Keeps Debian's packages from starting servers while we install them.
#[derive(Debug)]
pub(crate) struct Policy {
    /// `None` when somebody else's policy was there.
    ours: Option<PathBuf>,
}

impl Policy {
    pub(crate) fn no_services() -> Result<Self, Failure> {
        Self::at(Path::new("/usr/sbin/policy-rc.d"))
    }

    fn at(path: &Path) -> Result<Self, Failure> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o755).open(path);
        match opened.and_then(|mut file| file.write_all(b"#!/bin/sh\nexit 101\n")) {
            Ok(()) => Ok(Self { ours: Some(path.to_owned()) }),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(Self { ours: None }),
            Err(error) => Err(Failure::Missing(format!(
                "{} can't be written ({error}), so that packages would start servers of their own",
                path.display()
            ))),
        }
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if let Some(path) = &self.ours {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_of_ours_goes_and_one_of_others_stays() {
        let path = env::temp_dir().join(format!("baldur-policy-{}", std::process::id()));
        let ours = Policy::at(&path).expect("it can be written");
        assert!(Command::new(&path).status().is_ok_and(|it| it.code() == Some(101)));
        drop(Policy::at(&path).expect("one is there"));
        assert!(path.exists());
        drop(ours);
        assert!(!path.exists());
    }

    #[test]
    fn the_command_is_what_follows_the_dashes() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for line in ["-- cargo test -- --nocapture", "cargo test -- --nocapture"] {
            let mut cargo = Command::new("cargo");
            let shown: Vec<_> = around(&mut cargo, &words(line)).get_args().collect();
            assert!(shown.ends_with(&["--", "cargo", "test", "--", "--nocapture"].map(OsStr::new)));
        }
    }
}
