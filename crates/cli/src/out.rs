//! The one place that writes: data to standard output, messages to standard error.

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use clap::ColorChoice;
use serde::Serialize;

use crate::{
    args::{Format, Globals},
    exit::{Code, Failure},
};

/// Where and how to write. Share it by reference or in an `Arc`.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: io::Stdout,
    stderr: io::Stderr,
    format: Format,
    input_terminal: bool,
    data: Stream,
    messages: Stream,
}

/// What is known of a standard stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    /// Whether a person looks at it.
    pub(crate) terminal: bool,
    /// Whether to use colour.
    pub(crate) color: bool,
}

impl Output {
    /// The streams of this process, as the command line wants them used.
    pub(crate) fn new(globals: &Globals) -> Self {
        let stream = |terminal: bool| Stream { terminal, color: color(globals.color, terminal) };
        Self {
            stdout: io::stdout(),
            stderr: io::stderr(),
            format: if globals.json { Format::Json } else { globals.output },
            input_terminal: io::stdin().is_terminal(),
            data: stream(io::stdout().is_terminal()),
            messages: stream(io::stderr().is_terminal()),
        }
    }

    /// Whether programs read the answer.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether a person types the input.
    pub(crate) fn input_is_terminal(&self) -> bool {
        self.input_terminal
    }

    /// Standard output.
    pub(crate) fn data(&self) -> Stream {
        self.data
    }

    /// Standard error.
    pub(crate) fn messages(&self) -> Stream {
        self.messages
    }

    /// Writes text and a line feed to standard output.
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        writeln!(stdout, "{text}")
            .and_then(|()| stdout.flush())
            .map_err(|error| write_failed(&error))
    }

    /// Writes one JSON object and a line feed to standard output.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| {
            Failure::new(Code::Failure, "no JSON could be made").because(&error)
        })?;
        self.line(&text)
    }

    /// Writes whole lines, line feeds included, to standard output in one go.
    pub(crate) fn lines(&self, lines: &str) -> Result<(), Failure> {
        let mut stdout = self.stdout.lock();
        stdout
            .write_all(lines.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| write_failed(&error))
    }

    /// Tells a person something, on standard error. That nobody reads it is no failure.
    pub(crate) fn message(&self, text: &str) {
        writeln!(self.stderr.lock(), "{text}").unwrap_or_default();
    }

    /// Tells a person what went wrong, on standard error.
    pub(crate) fn error(&self, text: &str) {
        let (red, off) = if self.messages.color { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        self.message(&format!("{red}error:{off} {text}"));
    }
}

/// Whether to use colour, by the option, `NO_COLOR` and the terminal.
fn color(choice: ColorChoice, terminal: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
            terminal && !refused && !dumb
        }
    }
}

fn write_failed(error: &io::Error) -> Failure {
    if error.kind() == ErrorKind::BrokenPipe {
        return Failure::ReaderGone;
    }
    Failure::new(Code::Failure, "standard output can't be written").because(error)
}
