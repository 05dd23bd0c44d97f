//! `cargo xtask test`: every test of every crate with all features, then the doctests.

use std::env;

use crate::{failure::Failure, process, tools};

/// Stops at the first step that fails. `arguments` go to nextest (`-p baldur-core`, a filter, …).
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    tools::ensure_c_compiler()?;
    tools::NEXTEST.ensure()?;

    let mut nextest = process::cargo();
    nextest.args(["nextest", "run", "--workspace", "--all-features"]);
    if is_ci() {
        nextest.args(["--profile", "ci"]);
    }
    process::run("tests", nextest.args(arguments))?;
    process::run(
        "doctests",
        process::cargo().args(["test", "--workspace", "--all-features", "--doc"]),
    )?;
    println!("\nall tests passed");
    Ok(())
}

/// Continuous integration says so with the variable `CI`; empty, `0` and `false` mean no.
fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|it| !matches!(it.to_str(), Some("" | "0" | "false")))
}
