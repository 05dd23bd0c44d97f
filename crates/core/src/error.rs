//! What a backend's failure means to the caller.

use std::{error::Error, fmt, sync::Arc};

/// Whether trying again can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call would fail again.
    Never,
    /// It may work after a pause.
    Backoff,
}

/// What is known about the effect of a failed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Certainly nothing was changed.
    NotApplied,
    /// It may or may not have been applied. Look it up by id, or repeat it only if it is idempotent.
    Unknown,
}

/// What kind of trouble a backend is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BackendKind {
    /// It can't be reached.
    Unavailable,
    /// Others hold what is needed for longer than the timeout.
    Busy,
    /// No answer came in time.
    Timeout,
    /// There is no room left.
    Full,
    /// It takes no writes at present.
    ReadOnly,
    /// What it holds is damaged, foreign, or of a newer version.
    Corrupt,
    /// This handle was closed.
    Closed,
    /// A request that the store can't represent, such as one above its size limits.
    Refused,
    /// Anything else.
    Other,
}

impl BackendKind {
    /// The stable name in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Busy => "busy",
            Self::Timeout => "timeout",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Corrupt => "corrupt",
            Self::Closed => "closed",
            Self::Refused => "refused",
            Self::Other => "other",
        }
    }
}

/// A failure of the machinery behind a port.
///
/// Its text says which backend failed to do what; the driver's own words are in [`Error::source`].
#[derive(Clone)]
pub struct BackendError {
    backend: &'static str,
    operation: &'static str,
    kind: BackendKind,
    retry: Retry,
    outcome: Outcome,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl BackendError {
    /// A failure of `backend` to do `operation` ("capture", "claim"). Pessimistic until told otherwise:
    /// not worth a retry, outcome unknown.
    pub fn new(backend: &'static str, operation: &'static str, kind: BackendKind) -> Self {
        Self {
            backend,
            operation,
            kind,
            retry: Retry::Never,
            outcome: Outcome::Unknown,
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Trying again after a pause may help.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retry = Retry::Backoff;
        self
    }

    /// Nothing was changed.
    #[must_use]
    pub fn not_applied(mut self) -> Self {
        self.outcome = Outcome::NotApplied;
        self
    }

    /// The backend's name.
    pub fn backend(&self) -> &'static str {
        self.backend
    }

    /// What it failed to do.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The kind of trouble.
    pub fn kind(&self) -> BackendKind {
        self.kind
    }

    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// What is known about the effect.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed to {} ({})", self.backend, self.operation, self.kind.as_str())
    }
}

impl fmt::Debug for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendError")
            .field("backend", &self.backend)
            .field("operation", &self.operation)
            .field("kind", &self.kind)
            .field("retry", &self.retry)
            .field("outcome", &self.outcome)
            .field("source", &self.source)
            .finish()
    }
}

impl Error for BackendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Shows an error and all its causes on one line, each once: for logs and terminals.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.0, f)?;
        let mut next = self.0.source();
        while let Some(error) = next {
            write!(f, ": {error}")?;
            next = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_error_is_pessimistic_until_told_otherwise() {
        let error = BackendError::new("sqlite", "capture", BackendKind::Busy);
        assert_eq!((error.retry(), error.outcome()), (Retry::Never, Outcome::Unknown));
        let error = error.retryable().not_applied();
        assert_eq!((error.retry(), error.outcome()), (Retry::Backoff, Outcome::NotApplied));
    }

    #[test]
    fn the_chain_names_each_cause_once() {
        let error = BackendError::new("sqlite", "capture", BackendKind::Full)
            .because(std::io::Error::other("no space left"));
        assert_eq!(Chain(&error).to_string(), "sqlite failed to capture (full): no space left");
    }
}
