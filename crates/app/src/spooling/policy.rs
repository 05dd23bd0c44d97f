//! How long captures wait for whom, and what they say when nobody took them.

use std::{error::Error, fmt, time::Duration};

use baldur_core::{
    BackendError, BackendKind, Outcome,
    port::{CaptureError, SpoolError},
};

/// How long a capture waits for the store and for the spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolingPolicy {
    /// How long the store may take to answer before a capture goes to the spool.
    pub store_timeout: Duration,
    /// How long the spool may take to sync.
    pub spool_timeout: Duration,
    /// How long the store is left alone after it failed, when no drainer asks it.
    pub trial_pause: Duration,
}

impl Default for SpoolingPolicy {
    fn default() -> Self {
        Self {
            store_timeout: Duration::from_millis(250),
            spool_timeout: Duration::from_secs(5),
            trial_pause: Duration::from_secs(1),
        }
    }
}

/// Why a capture is not in the store.
#[derive(Debug)]
pub(super) enum Failed {
    NotAsked,
    Store(CaptureError),
}

/// Why neither took a capture. Retryable: each trouble may pass.
pub(super) fn both(failed: Failed, spool: SpoolError) -> CaptureError {
    let spool_kind =
        if let SpoolError::Backend(error) = &spool { error.kind() } else { BackendKind::Full };
    let (kind, store_outcome) = match &failed {
        Failed::Store(CaptureError::Backend(error)) => (error.kind(), error.outcome()),
        Failed::Store(error) => (BackendKind::Other, error.outcome()),
        Failed::NotAsked => (spool_kind, Outcome::NotApplied),
    };
    let certain = store_outcome == Outcome::NotApplied && spool.outcome() == Outcome::NotApplied;
    let error = BackendError::new("store with spool", "capture", kind)
        .retryable()
        .because(NeitherTook { failed, spool });
    let error = if certain { error.not_applied() } else { error };
    error.into()
}

#[derive(Debug)]
struct NeitherTook {
    failed: Failed,
    spool: SpoolError,
}

impl fmt::Display for NeitherTook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.failed {
            Failed::Store(error) => write!(f, "{error}; {}", self.spool),
            Failed::NotAsked => {
                write!(f, "{}; others with the same order key wait in it", self.spool)
            }
        }
    }
}

impl Error for NeitherTook {}
