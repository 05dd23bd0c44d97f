//! Looking after a store: checking it, and moving entries between stores.

use std::fmt;

use async_trait::async_trait;

use crate::{
    error::{BackendError, Outcome, Retry},
    evidence::EvidenceRecord,
    failed_op::FailedOp,
};

/// Looks after a store.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait StoreAdmin: fmt::Debug + Send + Sync + 'static {
    /// Checks the store and says what is wrong with it. Changes nothing.
    ///
    /// # Errors
    ///
    /// When the backend failed, so that nothing is known.
    async fn check(&self, depth: CheckDepth) -> Result<CheckReport, AdminError>;

    /// Keeps entries as another store exported them, with their state and evidence. Each is answered by itself.
    ///
    /// An id that is there already, also as that of a merged capture, or that went, is left as it is. Entries keep apart what
    /// was apart: two live ones with the same dedup key don't merge. A claim that was running when the entry was exported runs out
    /// here as it would have there.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for an entry of another namespace or whose evidence has gaps, as
    /// [`ExportedEntry::check`] says; else when the backend failed.
    async fn import_batch(&self, entries: Vec<ExportedEntry>) -> Vec<Result<Imported, AdminError>>;
}

/// How thoroughly to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckDepth {
    /// What can be told at once: version, settings, missing tables and indexes. Costs the same at any size.
    Quick,
    /// Everything: also reads every entry, recomputes counters and indexes and compares. Costs as much as there is.
    Deep,
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// What was looked at, in words: for people.
    pub checked: Vec<String>,
    /// What is wrong, one sentence each; empty when all is well.
    pub problems: Vec<String>,
}

/// An entry with its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportedEntry {
    /// The entry.
    pub op: FailedOp,
    /// All its evidence, in counter order.
    pub evidence: Vec<EvidenceRecord>,
}

/// What became of an imported entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is here now.
    New,
    /// It is here, or was before; nothing changed.
    Present,
}

/// Why a store could not be looked after.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The entry can't be kept; others are not affected.
    #[error("{0}")]
    Invalid(String),
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl AdminError {
    /// Whether trying again can help. An import is idempotent by id.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Invalid(_) => Retry::Never,
            Self::Backend(error) => error.retry(),
        }
    }

    /// What is known about the effect.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) => Outcome::NotApplied,
            Self::Backend(error) => error.outcome(),
        }
    }
}
