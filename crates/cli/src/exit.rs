//! How the command ends: exit codes, and errors that say what to do.

use std::{error::Error, process::ExitCode};

use baldur::Chain;

use crate::out::Output;

/// Exit codes, as the book documents them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Something failed, or part of what was asked for.
    Failure = 1,
    /// The command line, the settings or the input are wrong; nothing was done.
    Usage = 2,
    /// There is no such entry.
    NotFound = 3,
    /// The entry's status does not allow it.
    Conflict = 4,
    /// The store can't be used.
    Unavailable = 5,
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It has words and a code.
    Said {
        /// The exit code.
        code: Code,
        /// What went wrong, and what to do.
        message: String,
    },
    /// Everything was said already.
    Silent(Code),
    /// Whoever read standard output has gone; there is nobody to talk to.
    ReaderGone,
}

impl Failure {
    /// A failure in these words: lower case, no full stop.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Said { code, message: message.into() }
    }

    /// Adds the causes.
    #[must_use]
    pub(crate) fn because(self, error: &(dyn Error + 'static)) -> Self {
        match self {
            Self::Said { code, message } => {
                Self::Said { code, message: format!("{message}: {}", Chain(error)) }
            }
            Self::Silent(_) | Self::ReaderGone => self,
        }
    }

    /// Adds what to do about it.
    #[must_use]
    pub(crate) fn hint(self, hint: &str) -> Self {
        match self {
            Self::Said { code, message } => {
                Self::Said { code, message: format!("{message}\n  {hint}") }
            }
            Self::Silent(_) | Self::ReaderGone => self,
        }
    }
}

/// Says what is left to say and gives the exit code.
pub(crate) fn finish(out: &Output, result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) | Err(Failure::ReaderGone) => ExitCode::SUCCESS,
        Err(Failure::Silent(code)) => ExitCode::from(code as u8),
        Err(Failure::Said { code, message }) => {
            out.error(&message);
            ExitCode::from(code as u8)
        }
    }
}
