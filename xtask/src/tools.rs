//! Programs that the tasks need: installed where possible, else the message says how.

use std::process::Command;

use crate::{
    failure::Failure,
    process::{cargo, program, run, succeeds},
    services::{self, Policy},
};

/// A cargo subcommand from the registry. Any installed version is taken; `version` is what we
/// install, so that two fresh machines get the same.
pub(crate) struct Tool {
    subcommand: &'static str,
    version: &'static str,
}

pub(crate) const NEXTEST: Tool = Tool { subcommand: "nextest", version: "0.9.143" };
pub(crate) const DENY: Tool = Tool { subcommand: "deny", version: "0.20.2" };

impl Tool {
    pub(crate) fn ensure(&self) -> Result<(), Failure> {
        if succeeds(cargo().args([self.subcommand, "--version"])) {
            return Ok(());
        }
        let package = format!("cargo-{}", self.subcommand);
        let exact = format!("{package}@{}", self.version);
        run(&format!("install {package}"), cargo().args(["install", "--locked", &exact])).map_err(
            |failure| {
                Failure::Missing(format!(
                    "{failure}\n{package} is needed; install it by hand with\n    \
                     cargo install --locked {exact}"
                ))
            },
        )
    }
}

/// SQLite is bundled as C source, so a C compiler is part of what we need. (Rust itself links
/// with `cc` nearly everywhere; a configured other linker is the case in which this speaks.)
pub(crate) fn ensure_c_compiler() -> Result<(), Failure> {
    if has_c_compiler() {
        return Ok(());
    }
    let install = ["install", "-y", "gcc", "libc6-dev"];
    if is_root() && succeeds(program("apt-get").arg("--version")) {
        run("update the package lists", apt().arg("update"))?;
        run("install a C compiler", apt().args(install))?;
        if has_c_compiler() {
            return Ok(());
        }
    }
    Err(Failure::Missing(
        "a C compiler is needed for the bundled SQLite, and `cc --version` does not work; \
         on Debian or Ubuntu run\n    sudo apt-get install -y gcc libc6-dev"
            .to_owned(),
    ))
}

/// One test watches system calls. Without strace it is reported as ignored, so this only tries and tells.
pub(crate) fn want_strace() {
    let is_there = || succeeds(program("strace").arg("--version"));
    if !cfg!(target_os = "linux") || is_there() {
        return;
    }
    if is_root() && succeeds(program("apt-get").arg("--version")) {
        let installed = run("update the package lists", apt().arg("update"))
            .and_then(|()| run("install strace", apt().args(["install", "-y", "strace"])));
        if installed.is_ok() && is_there() {
            return;
        }
    }
    eprintln!(
        "strace is not installed, so the test that looks for the sync before the answer is ignored; \
         on Debian or Ubuntu run\n    sudo apt-get install -y strace"
    );
}

/// A server that tests need.
pub(crate) struct Server {
    package: &'static str,
    is_there: fn() -> bool,
}

pub(crate) const POSTGRES: Server =
    Server { package: "postgresql", is_there: services::has_postgres };
pub(crate) const PGBOUNCER: Server =
    Server { package: "pgbouncer", is_there: services::has_pgbouncer };

/// Installs what is missing where possible. Debian's packages start servers of their own, which
/// is prevented: ours are private ones.
pub(crate) fn ensure_servers(servers: &[Server]) -> Result<(), Failure> {
    let missing = || -> Vec<&str> {
        servers.iter().filter(|it| !(it.is_there)()).map(|it| it.package).collect()
    };
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    if is_root() && succeeds(program("apt-get").arg("--version")) {
        let _policy = Policy::no_services()?;
        let install = || run("install servers", apt().args(["install", "-y"]).args(&packages));
        // The lists of packages may be older than the packages, or not be there at all.
        install().or_else(|_| {
            run("update the package lists", apt().arg("update")).and_then(|()| install())
        })?;
        if missing().is_empty() {
            return Ok(());
        }
    }
    Err(Failure::Missing(format!(
        "tests need servers that are not installed; on Debian or Ubuntu run\n    \
         sudo apt-get install -y {}\n\
         another PostgreSQL is taken when {} names the folder of its programs",
        packages.join(" "),
        services::POSTGRES_BIN
    )))
}

fn has_c_compiler() -> bool {
    succeeds(program("cc").arg("--version"))
}

fn apt() -> Command {
    let mut command = program("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_root() -> bool {
    program("id").arg("-u").output().is_ok_and(|it| it.stdout.trim_ascii() == b"0")
}
