//! Build tasks of the workspace; `cargo xtask help` lists them.
//!
//! This crate builds before everything else and judges everything else, so it depends on none of
//! our crates and on very few others.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its terminal"
)]

mod arch;
mod check;
mod failure;
mod features;
mod process;
mod services;
mod test;
mod tidy;
mod tools;
mod tree;

use std::{env, process::ExitCode};

use failure::Failure;

/// One word after `cargo xtask`.
struct Task {
    name: &'static str,
    usage: &'static str,
    help: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

const TASKS: &[Task] = &[
    Task {
        name: "test",
        usage: "test [ARGS…]",
        help: "all tests and doctests; with ARGS, what cargo nextest makes of them",
        run: test::run,
    },
    Task {
        name: "check",
        usage: "check [STEP…]",
        help: "everything that must hold beside the tests, or only the named steps",
        run: check::run,
    },
    Task {
        name: "tidy",
        usage: "tidy [--bless]",
        help: "the house rules; --bless records new migrations and writes the page of metrics",
        run: tidy::run,
    },
    Task {
        name: "arch",
        usage: "arch",
        help: "which crate may know which",
        run: |arguments| none(arguments).and_then(|()| arch::run()),
    },
    Task {
        name: "bench",
        usage: "bench [ARGS…]",
        help: "the benches beside their physical limits; ARGS go to the bench program",
        run: bench,
    },
    Task {
        name: "crash",
        usage: "crash [ARGS…]",
        help: "kills processes, stores and disks, and looks for every promise; ARGS go to the harness",
        run: crash,
    },
    Task {
        name: "services",
        usage: "services [CMD…]",
        help: "private servers, a CMD that uses them, and their end; without CMD, until Ctrl-C",
        run: services::run,
    },
    Task {
        name: "help",
        usage: "help",
        help: "this list",
        run: |_| {
            println!("{}", help());
            Ok(())
        },
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nerror: {failure}");
            failure.exit_code()
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = arguments.split_first() else {
        return Err(Failure::Usage(format!("no task given\n\n{}", help())));
    };
    let name = if matches!(name.as_str(), "-h" | "--help") { "help" } else { name };
    match TASKS.iter().find(|task| task.name == name) {
        Some(task) => (task.run)(rest),
        None => Err(Failure::Usage(format!("unknown task `{name}`\n\n{}", help()))),
    }
}

fn help() -> String {
    let lines: Vec<String> =
        TASKS.iter().map(|task| format!("  {:<16} {}", task.usage, task.help)).collect();
    format!("cargo xtask TASK\n\n{}\n\nsteps of check: {}", lines.join("\n"), check::names())
}

/// Refuses arguments where a task takes none.
fn none(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [] => Ok(()),
        [first, ..] => Err(Failure::Usage(format!("unexpected argument `{first}`\n\n{}", help()))),
    }
}

fn bench(arguments: &[String]) -> Result<(), Failure> {
    // The bench also measures the command, which it looks for beside itself.
    let mut build = process::cargo();
    build.args(["build", "--release", "--package", "baldur-cli"]);
    process::run("build", &mut build)?;
    let mut command = process::cargo();
    command.args(["run", "--release", "--package", "baldur-bench", "--"]).args(arguments);
    process::run("bench", &mut command)
}

/// Without arguments: the long run of kills.
fn crash(arguments: &[String]) -> Result<(), Failure> {
    let mut command = process::cargo();
    command.args(["run", "--release", "--package", "baldur-crash", "--"]);
    if arguments.is_empty() {
        command.arg("kills");
    }
    process::run("crash", command.args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(words: &[&str]) -> Result<(), Failure> {
        dispatch(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn an_unknown_task_is_a_usage_error_that_lists_the_tasks() {
        let Err(Failure::Usage(message)) = run(&["tidi"]) else { panic!("must be a usage error") };
        assert!(message.contains("`tidi`") && message.contains("tidy [--bless]"), "{message}");
    }

    #[test]
    fn no_task_is_a_usage_error() {
        assert!(matches!(run(&[]), Err(Failure::Usage(_))));
    }

    #[test]
    fn arch_takes_no_arguments() {
        assert!(matches!(run(&["arch", "fast"]), Err(Failure::Usage(_))));
    }
}
