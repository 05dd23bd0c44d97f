//! Holding the tables: how an outage of the store is rehearsed.

use std::fmt;

use baldur_core::BackendError;
use sqlx::{Connection as _, PgConnection};
use tokio::time::timeout;

use crate::{
    config::PostgresConfig,
    connect,
    error::{Phase, StepError, classify},
};

/// A lock on the tables of the store, held by a connection of its own.
///
/// While it is held, writers of every process and namespace wait up to their lock timeout and are then told `Busy`;
/// readers go on. Nothing is written, so nothing of it is left, however it ends: by [`release`](Self::release), by
/// dropping it, which takes effect soon after, or with the process.
///
/// It is there to see what a host does while its store takes no writes. It protects nothing.
pub struct WriteLock(PgConnection);

/// Whoever changes an entry writes to one of these. `EXCLUSIVE` lets plain reads through, and no row lock.
const LOCK: &str =
    "BEGIN; LOCK TABLE baldur.entries, baldur.states, baldur.evidence IN EXCLUSIVE MODE";

impl WriteLock {
    /// Waits for the lock, up to the lock timeout, and holds it. The namespace doesn't matter.
    ///
    /// # Errors
    ///
    /// - `Refused` for settings out of range.
    /// - `Busy` when others held the tables for longer than the lock timeout.
    /// - As for opening, when the server can't be reached or has no store.
    pub async fn take(config: &PostgresConfig) -> Result<Self, BackendError> {
        config.validate()?;
        let failed = |error| classify("lock", Phase::BeforeCommit, StepError::Sql(error));
        let mut conn = connect::direct(config).await?;
        match timeout(config.lock_timeout, sqlx::raw_sql(LOCK).execute(&mut conn)).await {
            Ok(locked) => locked.map(|_| Self(conn)).map_err(failed),
            Err(_) => Err(failed(sqlx::Error::PoolTimedOut)),
        }
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
