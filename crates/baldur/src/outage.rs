//! An outage of the store, begun on purpose: to rehearse what a host does in one.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use std::fmt;

use crate::{open::OpenError, settings::StoreSettings, stores};

/// An outage of a store that lasts as long as this value, or the process that holds it.
///
/// For SQLite, it is the write lock of the file, for PostgreSQL a lock on its tables: whatever writes to it, from any
/// process and in any namespace, waits for its busy or lock timeout and fails; reading goes on. So begin one only on a
/// store that nobody needs. Nothing is changed in the store.
#[derive(Debug)]
#[must_use = "the outage ends when this is dropped"]
pub struct StoreOutage {
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    _lock: Box<dyn fmt::Debug + Send + Sync>,
}

impl StoreOutage {
    /// Begins an outage of the store that the settings name, which must exist already.
    ///
    /// # Errors
    ///
    /// [`OpenError::Url`] for a store in memory, which no other process can reach, and otherwise as for opening the
    /// store.
    pub async fn begin(settings: &StoreSettings) -> Result<Self, OpenError> {
        stores::outage(settings).await
    }

    /// The value holds the lock.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn of(lock: impl fmt::Debug + Send + Sync + 'static) -> Self {
        Self { _lock: Box::new(lock) }
    }
}
