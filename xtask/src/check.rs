//! `cargo xtask check`: everything beside the tests that must hold before a change lands.
//!
//! All steps run even if one fails, cheap ones first, and a table at the end says what each took.

use std::time::Duration;

use crate::{
    arch,
    failure::Failure,
    features,
    process::{cargo, run as start},
    tidy, tools,
};

struct Step {
    name: &'static str,
    run: fn() -> Result<(), Failure>,
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: || start("fmt", cargo().args(["fmt", "--all", "--check"])) },
    Step { name: "tidy", run: || tidy::run(&[]) },
    Step { name: "arch", run: arch::run },
    Step { name: "deny", run: deny },
    Step { name: "clippy", run: clippy },
    Step { name: "doc", run: doc },
    Step { name: "features", run: features::run },
];

/// The names of all steps, for the help.
pub(crate) fn names() -> String {
    STEPS.iter().map(|step| step.name).collect::<Vec<_>>().join(", ")
}

/// Runs the steps that `arguments` name, or all.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut results = Vec::new();
    for step in chosen(arguments)? {
        let (result, took) = timed(step.run);
        if let Err(failure) = &result {
            eprintln!("{}: {failure}", step.name);
        }
        results.push((step.name, result.is_ok(), took));
    }

    println!("\n=== summary");
    for (name, passed, took) in &results {
        let verdict = if *passed { "ok" } else { "FAILED" };
        println!("    {name:<10} {verdict:<8} {:>7.1} s", took.as_secs_f64());
    }
    let failed: Vec<_> =
        results.iter().filter(|(_, passed, _)| !passed).map(|(name, ..)| *name).collect();
    if failed.is_empty() { Ok(()) } else { Err(Failure::Steps(failed)) }
}

fn chosen(arguments: &[String]) -> Result<Vec<&'static Step>, Failure> {
    if arguments.is_empty() {
        return Ok(STEPS.iter().collect());
    }
    let find = |name: &String| {
        STEPS.iter().find(|step| step.name == name).ok_or_else(|| {
            Failure::Usage(format!("unknown step `{name}`; the steps are {}", names()))
        })
    };
    arguments.iter().map(find).collect()
}

#[expect(clippy::disallowed_methods, reason = "no `Clock` here: the crate knows none of ours")]
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let result = run();
    (result, start.elapsed())
}

/// Advisories are left out: they need the network and change without us changing anything.
fn deny() -> Result<(), Failure> {
    tools::DENY.ensure()?;
    start("deny", cargo().args(["deny", "check", "bans", "licenses", "sources"]))
}

fn clippy() -> Result<(), Failure> {
    let mut command = cargo();
    command.args(["clippy", "--workspace", "--all-targets", "--all-features"]);
    start("clippy", command.args(["--", "-D", "warnings"]))
}

fn doc() -> Result<(), Failure> {
    let mut command = cargo();
    command.env("RUSTDOCFLAGS", "-D warnings");
    start("doc", command.args(["doc", "--workspace", "--all-features", "--no-deps"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_argument_means_every_step() {
        assert_eq!(chosen(&[]).expect("all").len(), STEPS.len());
    }

    #[test]
    fn steps_are_chosen_by_name() {
        let steps = chosen(&["arch".to_owned(), "tidy".to_owned()]).expect("both exist");
        assert_eq!(steps.iter().map(|step| step.name).collect::<Vec<_>>(), ["arch", "tidy"]);
    }

    #[test]
    fn an_unknown_step_is_a_usage_error() {
        assert!(matches!(chosen(&["lint".to_owned()]), Err(Failure::Usage(_))));
    }
}
