//! Keeping failed operations.

use std::{borrow::Cow, fmt};

use async_trait::async_trait;

use crate::{
    command::Capture,
    error::{BackendError, Outcome, Retry},
    failed_op::Status,
    id::EntryId,
    name::{Domain, FailureType, ServiceName},
    time::Timestamp,
};

/// Keeps failed operations.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait CaptureStore: fmt::Debug + Send + Sync + 'static {
    /// Keeps each operation with its evidence, and answers when it is durable to the level that the answer names.
    ///
    /// - Keeping an id that is there already, whatever became of the entry, changes nothing and answers
    ///   [`Disposition::Repeated`] with the entry's id: the same one, or, for a capture that merged, the
    ///   one that it merged into.
    /// - A repeated capture is answered with the occurrence that it was answered with the first time.
    /// - When an entry with the same dedup key is live, the capture merges into it: occurrences grow by one,
    ///   and the answer has that entry's id. The merged id is remembered. Should several be live (one of them
    ///   reopened or imported), the oldest by (captured at, id) is meant.
    /// - A capture with [`OnMerge::KeepLast`](crate::command::OnMerge::KeepLast) replaces the payload of the entry that it merges
    ///   into, and the payload version grows by one, unless the entry's status is protected.
    /// - Both hold inside one batch too, in its order.
    /// - A new entry respects the capture's limits, counted over live entries in the same step. With
    ///   [`WhenFull::DropOldest`](crate::command::WhenFull::DropOldest) the oldest live entries by (captured at, id) that are not protected go,
    ///   of the domain where its limit is reached, else of all; [`decide::MAX_EVICTIONS`](crate::decide::MAX_EVICTIONS) at most for one capture, which
    ///   is then kept if the number of live entries does not grow. An evicted entry is gone; its evidence stays, with a
    ///   record of the eviction, and its id is remembered: keeping it again answers [`Disposition::Repeated`].
    /// - The state is set to the capture's, with the store's now: `next_attempt_at`, `expires_at`, `updated_at`.
    ///   The state's `evidence_count` becomes 1.
    ///
    /// # Errors
    ///
    /// Each item by itself: [`CaptureError::Invalid`] changes nothing and concerns that item only;
    /// [`Capture::check`] says which captures are.
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>>;
}

/// The answer to a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The entry that now stands for the operation.
    pub id: EntryId,
    /// How safe it is.
    pub durability: Durability,
    /// Which occurrence of the failure this is: 1 for a new entry.
    pub occurrence: u64,
    /// What happened.
    pub disposition: Disposition,
    /// How many live entries there are now. Present for a new entry that named limits.
    pub live: Option<LiveCounts>,
    /// What went to make room.
    pub evicted: Vec<Evicted>,
}

impl Captured {
    /// An answer that tells nothing of limits.
    pub fn new(
        id: EntryId,
        durability: Durability,
        occurrence: u64,
        disposition: Disposition,
    ) -> Self {
        Self { id, durability, occurrence, disposition, live: None, evicted: Vec::new() }
    }
}

/// How many live entries there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LiveCounts {
    /// In the domain of the operation.
    pub in_domain: u64,
    /// In the namespace.
    pub in_all: u64,
}

/// An entry that an overflow policy removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    /// Its id.
    pub id: EntryId,
    /// Its domain.
    pub domain: Domain,
    /// Its failure type.
    pub failure_type: FailureType,
    /// What had failed.
    pub dependency: ServiceName,
    /// Where it stood.
    pub status: Status,
    /// When it was captured.
    pub captured_at: Timestamp,
    /// How many captures it stood for.
    pub occurrences: u64,
}

/// Which limit of live entries was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LimitScope {
    /// That of the operation's domain.
    Domain,
    /// That of the namespace.
    All,
}

impl LimitScope {
    /// The name in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::All => "all",
        }
    }
}

/// What became of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Disposition {
    /// A new entry.
    New,
    /// It was kept before; nothing changed.
    Repeated,
    /// It merged into a live entry with the same dedup key.
    Merged,
}

impl Disposition {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Repeated => "repeated",
            Self::Merged => "merged",
        }
    }
}

/// How safe a captured operation is. Nobody is told a level before it is so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Committed in the store, at the store's durable level.
    Stored {
        /// What that level is, in the store's words, such as `wal, synchronous=full`.
        level: Cow<'static, str>,
    },
    /// Synced to the local spool; it reaches the store later.
    Spooled,
    /// Accepted in memory; a crash may lose it.
    Queued,
    /// Written inside the caller's transaction; it exists if that commits.
    Enlisted,
}

impl Durability {
    /// The name on the wire.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Stored { .. } => "stored",
            Self::Spooled => "spooled",
            Self::Queued => "queued",
            Self::Enlisted => "enlisted",
        }
    }
}

/// Why a capture was not kept.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The store can't keep this operation, whatever is tried; others are not affected.
    #[error("the operation can't be kept: {0}")]
    Invalid(String),
    /// The limit of live entries is reached, and nothing may make room.
    #[error("no room for another live entry: {live} of {limit} ({}) are there", scope.as_str())]
    LimitReached {
        /// Which limit.
        scope: LimitScope,
        /// How many live entries there are.
        live: u64,
        /// How many there may be.
        limit: u64,
    },
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl CaptureError {
    /// Whether trying again can help. A capture is idempotent by id, so repeating it is safe.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Invalid(_) | Self::LimitReached { .. } => Retry::Never,
            Self::Backend(error) => error.retry(),
        }
    }

    /// What is known about the effect.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Invalid(_) | Self::LimitReached { .. } => Outcome::NotApplied,
            Self::Backend(error) => error.outcome(),
        }
    }
}
