//! The local spool: where captures wait that the store can't take.

use std::fmt;

use async_trait::async_trait;

use crate::{
    command::Capture,
    error::{BackendError, Outcome, Retry},
    id::EntryId,
    name::OrderKey,
    time::Timestamp,
};

/// Keeps captures on a local disk until the store has them.
///
/// A spool consists of lanes, one for each process that filled it: the own one, and those of processes that died. Records of
/// one lane keep their order.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait Spool: fmt::Debug + Send + Sync + 'static {
    /// Appends captures, and answers each when it is synced to the disk. Their limits are not kept.
    ///
    /// # Errors
    ///
    /// Each by itself: [`SpoolError::Full`] when its bytes find no room, [`SpoolError::TooLarge`] when it never would;
    /// [`SpoolError::Backend`] when the disk failed.
    async fn append(&self, captures: Vec<Capture>) -> Vec<Result<(), SpoolError>>;

    /// The oldest records of one lane that were not removed yet, at most `limit` of them; empty when there are none. Lanes of processes
    /// that died come before the own one. Asking again without [`remove`](Self::remove) gives the same.
    ///
    /// A record that can't be read is put aside with its segment, reported by [`status`](Self::status), and never deleted.
    ///
    /// # Errors
    ///
    /// When the disk failed.
    async fn peek(&self, limit: usize) -> Result<Vec<Spooled>, SpoolError>;

    /// Removes the records of a lane up to and including this one: the store has them. Removing again changes nothing.
    ///
    /// A crash right after may bring records back; the store knows their ids.
    ///
    /// # Errors
    ///
    /// When the disk failed.
    async fn remove(&self, through: SpoolPosition) -> Result<(), SpoolError>;

    /// Puts the oldest record of a lane aside, because the store will never take it, or has failed at it for too long: it is kept in a
    /// file for people, and reported by [`status`](Self::status).
    ///
    /// # Errors
    ///
    /// [`SpoolError::AsideFull`] when too much was put aside already, [`SpoolError::Backend`] when the disk failed; the record is
    /// still in its lane then.
    async fn set_aside(&self, record: SpoolPosition, reason: String) -> Result<(), SpoolError>;

    /// Whether records with this order key wait in the own lane. Captures of that key belong behind them.
    fn holds(&self, key: &OrderKey) -> bool;

    /// What the spool holds.
    fn status(&self) -> SpoolStatus;

    /// Finishes appends that were accepted and refuses later ones, gives up the locks. May be called again.
    async fn close(&self);
}

/// Where a record stands. Grows along a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpoolPosition {
    /// Which lane.
    pub lane: u32,
    /// Which record of the lane, counted by the spool since it was opened.
    pub record: u64,
}

/// A record of the spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spooled {
    /// Where it stands.
    pub position: SpoolPosition,
    /// What is to be kept.
    pub capture: Capture,
    /// When it was spooled, by the clock of the process that did.
    pub spooled_at: Timestamp,
}

/// What a spool holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpoolStatus {
    /// Records that wait, in all lanes.
    pub records: u64,
    /// Bytes of the segments on disk, in all lanes.
    pub bytes: u64,
    /// How many bytes there may be.
    pub max_bytes: u64,
    /// When the oldest record that waits was spooled.
    pub oldest: Option<Timestamp>,
    /// Lanes of other processes that were taken over and still hold records.
    pub adopted_lanes: u64,
    /// Files and records that were put aside, because they were damaged, foreign, refused by the store for good,
    /// or failed at by it for too long.
    pub set_aside: u64,
    /// Torn tails that were cut off: bytes of appends that were never acknowledged.
    pub torn_tails: u64,
}

/// Why the spool did not do something.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// There is no room for this record.
    #[error("the spool is full: {bytes} of {max_bytes} bytes are used")]
    Full {
        /// How many bytes are used.
        bytes: u64,
        /// How many may be.
        max_bytes: u64,
    },
    /// The record is longer than a record may be.
    #[error("entry {id} has {bytes} bytes in the spool; a record may have {max}")]
    TooLarge {
        /// The entry.
        id: EntryId,
        /// How many bytes it has.
        bytes: u64,
        /// How many are allowed.
        max: u64,
    },
    /// There is no room for another record to be put aside; it is still in its lane.
    #[error(
        "{bytes} of {max_bytes} bytes of records are put aside; look at them, and take them back or away"
    )]
    AsideFull {
        /// How many bytes are used.
        bytes: u64,
        /// How many may be.
        max_bytes: u64,
    },
    /// The disk failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl SpoolError {
    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Full { .. } | Self::AsideFull { .. } => Retry::Backoff,
            Self::TooLarge { .. } => Retry::Never,
            Self::Backend(error) => error.retry(),
        }
    }

    /// What is known about the effect.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Full { .. } | Self::TooLarge { .. } | Self::AsideFull { .. } => {
                Outcome::NotApplied
            }
            Self::Backend(error) => error.outcome(),
        }
    }

    /// The stable name in answers, logs and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "spool_full",
            Self::TooLarge { .. } => "spool_record_too_large",
            Self::AsideFull { .. } => "spool_aside_full",
            Self::Backend(error) => error.kind().as_str(),
        }
    }
}
