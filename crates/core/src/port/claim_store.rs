//! Claiming entries, settling them, and moving them by hand.

use std::fmt;

use async_trait::async_trait;

use crate::{
    command::{Act, ClaimBatch, Claimed, Extend, Lapse, Settle},
    error::{BackendError, Outcome, Retry},
    failed_op::{Cause, OpState, Status},
    id::{ClaimToken, EntryId},
};

/// Claims entries for replays, settles them, and moves them by hand.
///
/// Every change goes through the state table ([`TRANSITIONS`](crate::TRANSITIONS)) and stores its evidence in
/// the same step.
#[cfg_attr(feature = "test-util", mockall::automock)]
#[async_trait]
pub trait ClaimStore: fmt::Debug + Send + Sync + 'static {
    /// Claims entries. Of several claimers of one entry, one gets it.
    ///
    /// - Due selection: `pending`, `next_attempt_at` reached by the store's clock, of the named domains (and
    ///   dependency), those due longest first; ties go to the smaller (captured at, id).
    /// - Of entries with the same order key, only the oldest live one (by captured at, id) is claimable, in either
    ///   selection, and none while another one is being replayed. What it waits for, the others wait for.
    /// - Selection by id ignores `next_attempt_at`; ids that are not granted are in
    ///   [`ClaimBatchOutcome::refused`]. A repeated id is claimed once and refused after. What the entry's own
    ///   state forbids is said before what its order key forbids.
    /// - What changed after [`ClaimTerms::unchanged_since`](crate::command::ClaimTerms) is refused.
    /// - Each granted claim has a new token, larger than every token the entry had before.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Invalid`] when more than [`MAX_CLAIM`](crate::command::MAX_CLAIM) entries are asked for,
    /// or none; else when the backend failed.
    async fn claim_batch(&self, claim: ClaimBatch) -> Result<ClaimBatchOutcome, ClaimError>;

    /// Makes running claims last `lease` from now. Each claim is answered by itself, in order.
    ///
    /// A claim that ran out but was not lapsed yet is still its holder's, and is extended. Nothing is ever shortened.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Stale`] where the token doesn't hold the entry any more, [`ClaimError::NotFound`] where there is
    /// no such entry.
    async fn extend(&self, extend: Extend) -> Vec<Result<(), ClaimError>>;

    /// Settles claims. Each is answered by itself, in order.
    ///
    /// Settling again with the same token and the same kind of outcome changes nothing and succeeds, as long as
    /// nobody claimed the entry since: a caller that missed the answer may repeat.
    ///
    /// # Errors
    ///
    /// [`ClaimError::Stale`] where the token doesn't hold the entry any more: its state is untouched, and a record of
    /// the refusal is kept. [`ClaimError::NotFound`] where there is no such entry,
    /// [`ClaimError::Invalid`] where [`Settle::check`] says so.
    async fn settle_batch(&self, settles: Vec<Settle>) -> Vec<Result<Settled, ClaimError>>;

    /// Ends claims that ran out by the store's clock, those first that ran out first; ties go to the smaller
    /// (captured at, id).
    ///
    /// # Errors
    ///
    /// When the backend failed.
    async fn lapse(&self, lapse: Lapse) -> Result<Lapsed, ClaimError>;

    /// Moves entries by hand or by policy. Each act is answered by itself, in order.
    ///
    /// # Errors
    ///
    /// [`ClaimError::NotAllowed`] where the state table forbids it, [`ClaimError::NotFound`] where there is no such entry,
    /// [`ClaimError::Invalid`] where [`Act::check`] says so.
    async fn apply(&self, acts: Vec<Act>) -> Vec<Result<OpState, ClaimError>>;
}

/// What a claim gave.
#[derive(Clone, Debug, Default)]
pub struct ClaimBatchOutcome {
    /// The granted claims: in due order, or in the order of the ids asked for.
    pub claimed: Vec<Claimed>,
    /// The ids that were asked for and not granted, with the reason. Always empty for a due selection.
    pub refused: Vec<(EntryId, ClaimError)>,
}

/// What a settle did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// Where the entry stands now.
    pub status: Status,
    /// The budget used.
    pub retry_count: u32,
    /// Whether the same settle had been applied before.
    pub repeated: bool,
}

/// What a lapse did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lapsed {
    /// The entries whose claims ended, and where they stand now.
    pub lapsed: Vec<(EntryId, Status)>,
    /// Whether claims that ran out remain: ask again.
    pub more: bool,
}

/// Why a claim, settle or act did not go through.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// There is no such entry.
    #[error("no entry {0}")]
    NotFound(EntryId),
    /// Its status doesn't allow a claim, which is also how a loser of a race finds out.
    #[error("entry {id} can't be claimed: it is {status}")]
    NotClaimable {
        /// The entry.
        id: EntryId,
        /// Where it stands.
        status: Status,
    },
    /// It can't be replayed: its request, or the key of its call, was not kept.
    #[error("entry {0} can't be replayed: its request or its key was not kept")]
    NotReplayable(EntryId),
    /// It changed after the time that the claim named: somebody else took it up, or it came up again.
    #[error("entry {0} changed since it was looked at")]
    Changed(EntryId),
    /// An older live entry with the same order key comes first.
    #[error("entry {id} waits for {by}, which has the same order key and is older")]
    Blocked {
        /// The entry.
        id: EntryId,
        /// The one that comes first.
        by: EntryId,
    },
    /// The token doesn't hold the entry any more.
    #[error("claim {held} of entry {id} is stale: the entry is {status}, its token is {current}")]
    Stale {
        /// The entry.
        id: EntryId,
        /// The token that was shown.
        held: ClaimToken,
        /// The token that the entry has.
        current: ClaimToken,
        /// Where the entry stands.
        status: Status,
    },
    /// The state table forbids it.
    #[error("entry {id} is {status}; {cause} is not allowed from there")]
    NotAllowed {
        /// The entry.
        id: EntryId,
        /// Where it stands.
        status: Status,
        /// What was asked for.
        cause: Cause,
    },
    /// The command itself is wrong; nothing was changed.
    #[error("{0}")]
    Invalid(String),
    /// The backend failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

impl ClaimError {
    /// Whether trying again can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Backend(error) => error.retry(),
            Self::Blocked { .. } => Retry::Backoff,
            Self::NotFound(_)
            | Self::NotClaimable { .. }
            | Self::NotReplayable(_)
            | Self::Changed(_)
            | Self::Stale { .. }
            | Self::NotAllowed { .. }
            | Self::Invalid(_) => Retry::Never,
        }
    }

    /// What is known about the effect.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Backend(error) => error.outcome(),
            Self::NotFound(_)
            | Self::NotClaimable { .. }
            | Self::NotReplayable(_)
            | Self::Changed(_)
            | Self::Blocked { .. }
            | Self::Stale { .. }
            | Self::NotAllowed { .. }
            | Self::Invalid(_) => Outcome::NotApplied,
        }
    }
}
