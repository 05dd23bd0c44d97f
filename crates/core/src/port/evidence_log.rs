//! Reading the evidence that was stored with each change.

use std::fmt;

use async_trait::async_trait;

use crate::{
    error::{BackendError, Outcome, Retry},
    evidence::EvidenceRecord,
    id::EntryId,
    time::Timestamp,
};

/// Reads evidence. It is written by the other ports, in the same step as the change that it tells of.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait EvidenceLog: fmt::Debug + Send + Sync + 'static {
    /// The records of one entry with a counter above `after`, in counter order, at most `limit`.
    ///
    /// Counters run from 1 without gaps; their number is the entry's `evidence_count`. An unknown entry has none;
    /// that of an entry that went stays, and its last record says why it went.
    ///
    /// # Errors
    ///
    /// When the backend failed.
    async fn trail(
        &self,
        entry: EntryId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<EvidenceRecord>, EvidenceError>;

    /// Records that have no place in the journal yet, at most `limit`. Records of one entry come in counter
    /// order; between entries the order is about that of writing and promises nothing.
    ///
    /// # Errors
    ///
    /// When the backend failed.
    async fn unsealed(&self, limit: usize) -> Result<Vec<EvidenceRecord>, EvidenceError>;

    /// How many records have no place in the journal yet, and since when.
    ///
    /// # Errors
    ///
    /// When the backend failed.
    async fn backlog(&self) -> Result<EvidenceBacklog, EvidenceError>;
}

/// What waits for the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EvidenceBacklog {
    /// How many records.
    pub unsealed: u64,
    /// When the oldest of them was made; `None` when there are none.
    pub oldest: Option<Timestamp>,
}

/// Why no evidence could be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl EvidenceError {
    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Backend(error) => error.retry(),
        }
    }

    /// A read never changes anything.
    pub fn outcome(&self) -> Outcome {
        Outcome::NotApplied
    }
}
