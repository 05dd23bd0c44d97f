//! Holding the write lock of a file: how an outage of the store is rehearsed.

use std::fmt;

use baldur_core::BackendError;
use sqlx::{Connection as _, SqliteConnection};

use crate::{
    config::SqliteConfig,
    connect,
    error::{Phase, StepError, classify},
};

/// The write lock of a database file, held by a connection of its own.
///
/// While it is held, writers of every process wait up to their busy timeout and are then told `Busy`; readers go on.
/// Nothing is written, so nothing of it is left, however it ends: by [`release`](Self::release), by dropping it, which
/// takes effect soon after, or with the process.
///
/// It is there to see what a host does while its store takes no writes. It protects nothing: to copy a store that runs,
/// export it.
pub struct WriteLock(SqliteConnection);

impl WriteLock {
    /// Waits for the write lock of an existing file, up to the busy timeout, and holds it. The namespace doesn't matter:
    /// the lock is that of the whole file.
    ///
    /// # Errors
    ///
    /// - `Refused` for settings out of range.
    /// - `Busy` when others held the lock for longer than the busy timeout.
    /// - As for opening, when the file can't be opened or is no database.
    pub async fn take(config: &SqliteConfig) -> Result<Self, BackendError> {
        config.validate()?;
        let taken = async {
            let mut conn = connect::writer(config).await?;
            sqlx::query("BEGIN IMMEDIATE").execute(&mut conn).await?;
            Ok(Self(conn))
        };
        taken.await.map_err(|error: sqlx::Error| {
            classify("lock", Phase::BeforeCommit, StepError::from(error))
        })
    }

    /// Lets others write again. When this returns, they can.
    ///
    /// # Errors
    ///
    /// When the connection does not close in order; the lock is given up in any case.
    pub async fn release(self) -> Result<(), BackendError> {
        self.0
            .close()
            .await
            .map_err(|error| classify("unlock", Phase::BeforeCommit, StepError::from(error)))
    }
}

impl fmt::Debug for WriteLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WriteLock")
    }
}
