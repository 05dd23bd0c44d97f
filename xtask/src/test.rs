//! `cargo xtask test`: every test of every crate with all features, between the start and the end
//! of the servers that some need; then the doctests.
//!
//! With arguments it is a narrower run for one's own desk: they go to nextest
//! (`-p baldur-core a_stale_claim`), and the doctests are left out.

use std::{env, process::Command};

use crate::{failure::Failure, process, services, tools};

/// Stops at the first step that fails.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    tools::ensure_c_compiler()?;
    tools::NEXTEST.ensure()?;
    tools::want_strace();

    let mut nextest = with_servers(arguments)?;
    nextest.args(["nextest", "run", "--all-features"]);
    if !names_packages(arguments) {
        nextest.arg("--workspace");
    }
    if is_ci() {
        nextest.args(["--profile", "ci"]);
    }
    process::run("tests", nextest.args(arguments))?;
    if !arguments.is_empty() {
        println!("\nthe chosen tests passed; without arguments, all tests and the doctests run");
        return Ok(());
    }
    let mut doctests = process::cargo();
    process::run("doctests", doctests.args(["test", "--workspace", "--all-features", "--doc"]))?;
    println!("\nall tests passed");
    Ok(())
}

/// Cargo, with servers around it. A test that misses one must fail rather than be left out. A chosen few may need none,
/// so only a whole run insists.
fn with_servers(arguments: &[String]) -> Result<Command, Failure> {
    match tools::ensure_servers(&[tools::POSTGRES, tools::PGBOUNCER]) {
        Ok(()) => {
            let cargo = process::cargo();
            let mut around = process::cargo();
            services::around(&mut around, &[]).arg(cargo.get_program());
            around.env(services::REQUIRE, "1");
            Ok(around)
        }
        Err(missing) if !arguments.is_empty() => {
            eprintln!("{missing}\ntests that need them will fail");
            let mut cargo = process::cargo();
            cargo.env(services::REQUIRE, "1");
            Ok(cargo)
        }
        Err(missing) => Err(missing),
    }
}

/// Cargo's `--workspace` would win over any `--package` beside it.
fn names_packages(arguments: &[String]) -> bool {
    let options = arguments.iter().take_while(|it| *it != "--");
    options.into_iter().any(|it| it.starts_with("-p") || it.starts_with("--package"))
}

/// Continuous integration says so with the variable `CI`; empty, `0` and `false` mean no.
fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|it| !matches!(it.to_str(), Some("" | "0" | "false")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_named_package_narrows_the_run() {
        assert!(names_packages(&words("--no-fail-fast -p baldur-core")));
        assert!(names_packages(&words("--package=xtask")));
        assert!(!names_packages(&words("a_stale_claim --no-fail-fast")));
        assert!(!names_packages(&words("claims -- -p")));
    }
}
