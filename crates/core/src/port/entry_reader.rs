//! Reading entries.

use std::fmt;

use async_trait::async_trait;

use crate::{
    error::{BackendError, Outcome, Retry},
    failed_op::FailedOp,
    id::EntryId,
    query::{Count, EntrySummary, FacetScope, Facets, Filter, ListQuery, Page},
};

/// Reads entries. Every answer looks at the whole store, never at a window of it.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait EntryReader: fmt::Debug + Send + Sync + 'static {
    /// Looks entries up, in the order of the ids. An unknown id is `None`, not an error.
    ///
    /// The id of a capture that merged finds nothing: the entry has its own id.
    ///
    /// # Errors
    ///
    /// When the backend failed.
    async fn find(&self, ids: Vec<EntryId>) -> Result<Vec<Option<FailedOp>>, ReadError>;

    /// One page, in the order of (captured at, id).
    ///
    /// A walk from page to page contains each entry that existed at its start and was not modified exactly
    /// once, whatever is written meanwhile. `next` is `None` exactly when nothing followed at that moment.
    ///
    /// # Errors
    ///
    /// [`ReadError::Invalid`] for a cursor of the other direction; else when the backend failed.
    async fn list(&self, query: ListQuery) -> Result<Page<EntrySummary>, ReadError>;

    /// How many entries match.
    ///
    /// With conditions on status, domain, failure type and dependency only, the answer is exact and costs the
    /// same at any size, unless the store counts some combinations together. Else matching entries are walked
    /// and at most `cap` of them counted: more than that is [`Count::AtLeast`] `cap`.
    ///
    /// # Errors
    ///
    /// When the backend failed.
    async fn count(&self, filter: Filter, cap: u64) -> Result<Count, ReadError>;

    /// How many entries there are by status, domain, failure type and dependency. One consistent snapshot, at
    /// the same cost at any size.
    ///
    /// # Errors
    ///
    /// When the backend failed.
    async fn facets(&self, scope: FacetScope) -> Result<Facets, ReadError>;
}

/// Why nothing could be read.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The question itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl ReadError {
    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Invalid(_) => Retry::Never,
            Self::Backend(error) => error.retry(),
        }
    }

    /// A read never changes anything.
    pub fn outcome(&self) -> Outcome {
        Outcome::NotApplied
    }
}
