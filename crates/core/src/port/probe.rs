//! Asking a dependency whether it is back: the host's part.

use std::fmt;

use async_trait::async_trait;

/// Asks one dependency whether it can take work again. Hosts implement it.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait Probe: fmt::Debug + Send + Sync + 'static {
    /// Asks once. It must do no work that matters, and must be cancel-safe: the future is dropped when its time is up,
    /// which counts as a failure.
    ///
    /// # Errors
    ///
    /// When the dependency did not answer as it does in good health.
    async fn probe(&self) -> Result<(), ProbeFailure>;
}

/// A dependency that is not back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct ProbeFailure {
    /// What it said, without secrets.
    pub reason: String,
}

impl ProbeFailure {
    /// A failure for this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}
