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
use secrecy::ExposeSecret as _;

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
    let services = Services::start()?;
    let variables = services.variables();
    if let Some((program, arguments)) = arguments.split_first() {
        return Ok(run(program, arguments, &variables));
    }
    for (name, value) in &variables {
        println!("export {name}={}", quoted(&value.to_string_lossy()));
    }
    eprintln!("the servers run until this ends (Ctrl-C)");
    loop {
        std::thread::park();
    }
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

fn run(program: &OsStr, arguments: &[OsString], variables: &[(&str, OsString)]) -> ExitCode {
    let mut command = Command::new(program);
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    match command.status() {
        Ok(status) => ExitCode::from(code(status)),
        Err(error) => {
            eprintln!("error: {} did not start: {error}", program.display());
            ExitCode::from(NOT_STARTED)
        }
    }
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
