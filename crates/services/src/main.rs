//! `baldur-services [--] [CMD ARGS…]`, which `cargo xtask services` becomes: starts the servers, tells CMD by
//! variables where they are, forwards its exit code, and ends the servers.
//!
//! Without CMD it prints the variables as lines for a shell, and stays.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its terminal"
)]

use std::{
    env,
    error::Error,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitCode, ExitStatus},
};

use baldur_services::{
    POSTGRES_BIN, POSTGRES_CONTROL, POSTGRES_URL, PostgresOptions, PostgresServer, ServiceError,
};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::ExposeSecret as _;
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// What shells answer for a command that they can't start, and add to the number of the signal that ended one.
const NOT_STARTED: u8 = 127;
const SIGNALLED: i32 = 128;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if arguments.first().is_some_and(|it| it == "--") {
        arguments.remove(0);
    }
    // Whatever comes out of it, the servers have ended when `serve` returns.
    match serve(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", with_causes(&error));
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &[OsString]) -> Result<ExitCode, ServiceError> {
    // Until here a signal just ends us, and the guards end what was started.
    let services = Services::start()?;
    let variables = services.variables();
    // From before the command on, so that none is missed.
    let mut signals = Signals::new([SIGCHLD, SIGHUP, SIGINT, SIGTERM])
        .map_err(|source| ServiceError::Io { doing: "listen to signals".to_owned(), source })?;
    if let Some((program, arguments)) = arguments.split_first() {
        return Ok(run(program, arguments, &variables, &mut signals));
    }
    for (name, value) in &variables {
        println!("export {name}={}", quoted(&value.to_string_lossy()));
    }
    eprintln!("the servers run until this ends (Ctrl-C)");
    signals.forever().find(|signal| *signal != SIGCHLD);
    Ok(ExitCode::SUCCESS)
}

/// All servers. A second kind becomes a second field, with its variables.
struct Services {
    postgres: PostgresServer,
}

impl Services {
    fn start() -> Result<Self, ServiceError> {
        Ok(Self { postgres: PostgresServer::start(PostgresOptions::default())? })
    }

    fn variables(&self) -> Vec<(&'static str, OsString)> {
        let Self { postgres } = self;
        vec![
            (POSTGRES_URL, postgres.url().expose_secret().into()),
            (POSTGRES_CONTROL, postgres.data_dir().into()),
            // So that servers which tests start themselves are of the same version.
            (POSTGRES_BIN, postgres.bin().into()),
        ]
    }
}

/// Runs the command to its end. What would end us is for the command: SIGTERM and SIGHUP are forwarded; SIGINT is not,
/// because a terminal sends it to both, and twice means more to many programs.
fn run(
    program: &OsStr,
    arguments: &[OsString],
    variables: &[(&str, OsString)],
    signals: &mut Signals,
) -> ExitCode {
    let mut command = Command::new(program);
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            eprintln!("error: {} did not start: {error}", program.display());
            return ExitCode::from(NOT_STARTED);
        }
    };
    for signal in signals.forever() {
        // Only this loop waits for the child, so its id is its own where it is signalled.
        let forwarded = match signal {
            SIGTERM => kill_process(Pid::from_child(&child), Signal::TERM),
            SIGHUP => kill_process(Pid::from_child(&child), Signal::HUP),
            _ => Ok(()),
        };
        if let Err(error) = forwarded {
            eprintln!("error: {} can't be signalled: {error}", program.display());
        }
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => return ExitCode::from(code(status)),
            Err(error) => {
                eprintln!("error: {} can't be waited for: {error}", program.display());
                break;
            }
        }
    }
    ExitCode::FAILURE
}

/// As shells forward it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(SIGNALLED + status.signal()?));
    code.and_then(|it| u8::try_from(it).ok()).unwrap_or(1)
}

fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
