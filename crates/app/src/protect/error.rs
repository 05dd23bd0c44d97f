//! How protected calls fail.

use std::{error::Error, fmt, time::Duration};

use baldur_core::{EntryId, name::NameError, port::Captured};

use crate::capture::CaptureFailure;

/// Why a guard could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtectError {
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A value of the policy is out of its range.
    #[error("{0}")]
    Invalid(String),
}

/// Says what an error of a call means. Hosts implement it for the errors of their clients.
pub trait ClassifyFailure {
    /// What happened, in the terms of an entry.
    fn classify(&self) -> CallFailure;
}

/// What the error of a call means. `Debug` shows how long its texts are, and not what they say: nothing is redacted yet.
#[derive(Clone, PartialEq, Eq)]
pub struct CallFailure {
    /// The class of the failure, such as `CONNECTION_REFUSED`.
    pub failure_type: String,
    /// Its machine-readable code, such as `503`.
    pub error_code: Option<String>,
    /// What it said. Redacted and bounded before it is kept.
    pub message: String,
    /// How long the dependency asked to be left alone.
    pub retry_after: Option<Duration>,
    /// What follows from it.
    pub kind: FailureKind,
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The dependency failed; the same call may work later.
    Transient,
    /// The call will never work. It says nothing about the dependency's health.
    Permanent,
    /// The dependency worked and said no, on business grounds. Not a failure: neither captured nor counted.
    Rejected,
}

impl fmt::Debug for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { failure_type, error_code, message, retry_after, kind } = self;
        f.debug_struct("CallFailure")
            .field("failure_type", &format_args!("{} bytes", failure_type.len()))
            .field("error_code", &error_code.as_ref().map(String::len))
            .field("message", &format_args!("{} bytes", message.len()))
            .field("retry_after", retry_after)
            .field("kind", kind)
            .finish()
    }
}

impl CallFailure {
    /// A failure that may go away.
    pub fn transient(failure_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            failure_type: failure_type.into(),
            error_code: None,
            message: message.into(),
            retry_after: None,
            kind: FailureKind::Transient,
        }
    }

    /// A failure that will not.
    pub fn permanent(failure_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Permanent, ..Self::transient(failure_type, message) }
    }

    /// A refusal on business grounds.
    pub fn rejected(failure_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind: FailureKind::Rejected, ..Self::transient(failure_type, message) }
    }

    /// Adds the code.
    #[must_use]
    pub fn error_code(mut self, code: impl Into<String>) -> Self {
        self.error_code = Some(code.into());
        self
    }

    /// Adds how long the dependency asked to be left alone.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }
}

impl ClassifyFailure for CallFailure {
    fn classify(&self) -> CallFailure {
        self.clone()
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.failure_type, self.message)
    }
}

impl Error for CallFailure {}

/// Why a protected call gave no result.
#[derive(Debug)]
pub enum Protected<E> {
    /// It failed and is kept: it will be replayed, or a person will see to it.
    Captured {
        /// The entry.
        captured: Captured,
        /// Why it failed.
        cause: FailedCall<E>,
    },
    /// It failed and is not known to be kept. The caller has to see to it.
    NotCaptured {
        /// The id under which it may have been kept after all.
        id: EntryId,
        /// Why it is not.
        error: NotKept,
        /// Why the call failed.
        cause: FailedCall<E>,
    },
    /// The dependency said no, or it failed for good and the policy is not to keep that.
    Returned(E),
    /// The idempotency key that the caller gave is none. No call was made.
    InvalidKey(NameError),
}

/// How a call failed.
#[derive(Debug)]
pub enum FailedCall<E> {
    /// It returned an error.
    Error(E),
    /// It took too long. It may have worked.
    TimedOut {
        /// How long it had.
        after: Duration,
    },
    /// The last try was cut short, because the time of the whole call was up. It may have worked.
    DeadlinePassed {
        /// How long the call had.
        after: Duration,
    },
    /// It was not made, because the dependency is known to be down.
    BreakerOpen {
        /// When asking again makes sense.
        retry_in: Duration,
    },
    /// It was not made, because too many calls are under way.
    BulkheadFull {
        /// How long it waited for its turn; zero if too many were waiting.
        waited: Duration,
    },
}

impl<E> FailedCall<E> {
    /// The error that the call returned, if it was made and returned one.
    pub fn error(&self) -> Option<&E> {
        match self {
            Self::Error(error) => Some(error),
            Self::TimedOut { .. }
            | Self::DeadlinePassed { .. }
            | Self::BreakerOpen { .. }
            | Self::BulkheadFull { .. } => None,
        }
    }
}

/// What a call gave, and how.
#[derive(Clone, Debug)]
pub struct Guarded<T> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub from: ValueFrom,
    /// The entry of the failed call, where the value is a fallback's and the call was captured all the same.
    pub captured: Option<Captured>,
    /// Why there is no such entry, although there should be one.
    pub not_kept: Option<NotKept>,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueFrom {
    /// The call worked.
    Call,
    /// The call failed, and its fallback gave the value.
    Fallback,
}

impl<T> Guarded<T> {
    pub(super) fn from_call(value: T) -> Self {
        Self { value, from: ValueFrom::Call, captured: None, not_kept: None }
    }
}

/// Why a failed call is not known to be kept.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotKept {
    /// The capture failed.
    #[error(transparent)]
    Failed(#[from] CaptureFailure),
    /// The capture took too long.
    #[error("no answer to the capture within {after:?}")]
    TimedOut {
        /// How long it had.
        after: Duration,
    },
    /// The runtime shut down, or the capture panicked.
    #[error("the capture was interrupted")]
    Interrupted,
}

impl<E> Protected<E> {
    /// The error that the call returned, if it was made and returned one.
    pub fn into_call_error(self) -> Option<E> {
        match self {
            Self::Captured { cause, .. } | Self::NotCaptured { cause, .. } => match cause {
                FailedCall::Error(error) => Some(error),
                FailedCall::TimedOut { .. }
                | FailedCall::DeadlinePassed { .. }
                | FailedCall::BreakerOpen { .. }
                | FailedCall::BulkheadFull { .. } => None,
            },
            Self::Returned(error) => Some(error),
            Self::InvalidKey(_) => None,
        }
    }

    /// What is known of the capture, where one was made.
    pub fn captured(&self) -> Option<&Captured> {
        match self {
            Self::Captured { captured, .. } => Some(captured),
            Self::NotCaptured { .. } | Self::Returned(_) | Self::InvalidKey(_) => None,
        }
    }
}

impl<E> fmt::Display for FailedCall<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(_) => f.write_str("the call failed"),
            Self::TimedOut { after } => write!(f, "the call took longer than {after:?}"),
            Self::DeadlinePassed { after } => write!(f, "the call was not done within {after:?}"),
            Self::BreakerOpen { retry_in } => {
                write!(f, "the call was not made: the circuit is open for {retry_in:?}")
            }
            Self::BulkheadFull { waited } if waited.is_zero() => {
                f.write_str("the call was not made: too many calls wait for their turn")
            }
            Self::BulkheadFull { waited } => {
                write!(f, "the call was not made: its turn did not come within {waited:?}")
            }
        }
    }
}

impl<E> fmt::Display for Protected<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Captured { captured, cause } => {
                write!(f, "{cause}; kept as entry {}", captured.id)
            }
            Self::NotCaptured { id, error, cause } => {
                write!(f, "{cause}; not kept as entry {id}: {error}")
            }
            Self::Returned(_) => f.write_str("the call was refused"),
            Self::InvalidKey(error) => write!(f, "the call was not made: {error}"),
        }
    }
}

impl<E: Error + 'static> Error for Protected<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Captured { cause: FailedCall::Error(error), .. }
            | Self::NotCaptured { cause: FailedCall::Error(error), .. }
            | Self::Returned(error) => Some(error),
            Self::Captured { .. } | Self::NotCaptured { .. } | Self::InvalidKey(_) => None,
        }
    }
}
