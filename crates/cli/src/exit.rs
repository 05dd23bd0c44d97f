//! How the command ends: exit codes, and errors that say what to do.

use std::{error::Error, process::ExitCode};

use baldur::{
    BackendError, CaptureFailure, Chain,
    port::{AdminError, BreakerStoreError, CaptureError, ClaimError, EvidenceError, ReadError},
};

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
    /// Ctrl-C; what had begun was finished or given back.
    Interrupted = 130,
}

impl Code {
    /// One code for several failures: theirs if they agree, else the general one.
    pub(crate) fn of_all(codes: impl IntoIterator<Item = Self>) -> Option<Self> {
        codes.into_iter().reduce(|one, other| if one == other { one } else { Self::Failure })
    }
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

    /// A mistake in the command line, the settings or the input.
    pub(crate) fn usage(message: &str, error: &(dyn Error + 'static)) -> Self {
        Self::new(Code::Usage, message).because(error)
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

/// What an error means to whoever called the command.
pub(crate) trait HasCode {
    /// The exit code.
    fn exit_code(&self) -> Code;
}

impl HasCode for BackendError {
    fn exit_code(&self) -> Code {
        Code::Unavailable
    }
}

impl HasCode for ReadError {
    fn exit_code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::Usage,
            Self::Backend(_) => Code::Unavailable,
            _ => Code::Failure,
        }
    }
}

impl HasCode for EvidenceError {
    fn exit_code(&self) -> Code {
        Code::Unavailable
    }
}

impl HasCode for AdminError {
    fn exit_code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::Usage,
            Self::Backend(_) => Code::Unavailable,
            _ => Code::Failure,
        }
    }
}

impl HasCode for ClaimError {
    fn exit_code(&self) -> Code {
        match self {
            Self::NotFound(_) => Code::NotFound,
            Self::NotClaimable { .. }
            | Self::NotReplayable(_)
            | Self::Changed(_)
            | Self::Blocked { .. }
            | Self::Stale { .. }
            | Self::NotAllowed { .. } => Code::Conflict,
            Self::Invalid(_) => Code::Usage,
            Self::Backend(_) => Code::Unavailable,
            _ => Code::Failure,
        }
    }
}

impl HasCode for BreakerStoreError {
    fn exit_code(&self) -> Code {
        match self {
            Self::Conflict { .. } => Code::Conflict,
            Self::NotFound(_) => Code::NotFound,
            Self::Invalid(_) => Code::Usage,
            Self::Backend(_) => Code::Unavailable,
            _ => Code::Failure,
        }
    }
}

impl HasCode for CaptureFailure {
    fn exit_code(&self) -> Code {
        match self {
            Self::Store(CaptureError::Backend(_) | CaptureError::LimitReached { .. }) => {
                Code::Unavailable
            }
            Self::Store(_) | Self::Refused(_) => Code::Usage,
            _ => Code::Failure,
        }
    }
}

impl<E: HasCode + Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.exit_code(), Chain(&error).to_string())
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
