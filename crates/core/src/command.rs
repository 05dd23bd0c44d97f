//! Commands: what ports are asked to do, each with the evidence of who asks and why.

use std::{num::NonZeroU64, time::Duration};

use crate::{
    evidence::Evidence,
    failed_op::{Cause, FailedOp, ResolutionType},
    id::{ClaimToken, EntryId},
    name::{Domain, ServiceName, WorkerName},
    time::Timestamp,
};

/// Keep this operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// The operation. Its state is a fresh one, see [`OpState::captured`](crate::OpState::captured).
    pub op: FailedOp,
    /// How long it may wait before it expires; for ever when absent. The store adds its own now.
    pub expires_in: Option<Duration>,
    /// How long it must wait before the first automatic claim. The store adds its own now.
    pub next_attempt_in: Duration,
    /// Who captured it.
    pub evidence: Evidence,
    /// How many live entries there may be; as many as the backend holds when absent.
    pub limits: Option<LiveLimits>,
    /// Whose payload a merge keeps.
    pub on_merge: OnMerge,
}

impl Capture {
    /// Keep `op`, due at once, without expiry and limits.
    pub fn new(op: FailedOp, evidence: Evidence) -> Self {
        Self {
            op,
            expires_in: None,
            next_attempt_in: Duration::ZERO,
            evidence,
            limits: None,
            on_merge: OnMerge::KeepFirst,
        }
    }
}

/// How many live entries a store may hold, and what a capture does that finds no room.
///
/// Only entries with a status in [`Status::LIVE`](crate::Status::LIVE) count. Captures that are repeated or that merge need no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LiveLimits {
    /// In the domain of the operation.
    pub in_domain: Option<NonZeroU64>,
    /// In the whole namespace.
    pub in_all: Option<NonZeroU64>,
    /// What to do when one of them is reached.
    pub when_full: WhenFull,
}

/// What a capture does that finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenFull {
    /// It is refused.
    Reject,
    /// The oldest live entries that nobody works on make room; it is refused when there is none.
    DropOldest,
}

impl WhenFull {
    /// The name in settings, answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reject => "reject",
            Self::DropOldest => "drop_oldest",
        }
    }
}

/// Whose payload remains when a capture merges into a live entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnMerge {
    /// The first one's.
    #[default]
    KeepFirst,
    /// The last one's, unless somebody works on the entry (its status is in
    /// [`Status::PROTECTED`](crate::Status::PROTECTED)): what is being replayed or looked at stays as it is.
    KeepLast,
}

impl OnMerge {
    /// The name in settings and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeepFirst => "keep_first",
            Self::KeepLast => "keep_last",
        }
    }
}

/// The largest number of entries that one claim may ask for.
pub const MAX_CLAIM: usize = 1_000;

/// Claim entries for a replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimBatch {
    /// Which entries.
    pub select: ClaimSelect,
    /// On which terms.
    pub terms: ClaimTerms,
}

/// Which entries to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimSelect {
    /// The due ones, those that have waited longest first, at most `limit` (1 to [`MAX_CLAIM`]).
    Due {
        /// Of these domains only. Ask for domains that have a handler; an empty list claims nothing.
        domains: Vec<Domain>,
        /// Of this dependency only.
        dependency: Option<ServiceName>,
        /// The most to claim.
        limit: usize,
    },
    /// These, due or not. Each is claimed or refused by itself. At most [`MAX_CLAIM`].
    Ids(Vec<EntryId>),
}

/// The terms of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimTerms {
    /// Who claims.
    pub holder: WorkerName,
    /// How long the claim lasts from the store's now. The holder measures the same time on its own
    /// monotonic clock from before its request.
    pub lease: Duration,
    /// Also claim entries that wait for a person, with a fresh budget. Meant for claims by id.
    pub force: bool,
    /// Claim only what has not changed after this, by the store's clock: for who looked at the entries before, and
    /// must not undo what others did since, such as a wait that a target asked for. Claims by id only.
    pub unchanged_since: Option<Timestamp>,
    /// Who, when, why.
    pub evidence: Evidence,
}

/// A claim that was granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The entry, as it is after the claim. Its `state.claim_token` is the token to settle with.
    pub op: FailedOp,
}

/// A running claim, as its holder names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimRef {
    /// The entry.
    pub id: EntryId,
    /// The token of the claim.
    pub token: ClaimToken,
}

/// Make running claims last longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend {
    /// The claims.
    pub claims: Vec<ClaimRef>,
    /// How long they last from the store's now.
    pub lease: Duration,
}

/// Say how a claimed replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settle {
    /// The entry.
    pub id: EntryId,
    /// The token of the claim.
    pub token: ClaimToken,
    /// How it ended.
    pub outcome: SettleOutcome,
    /// What a success is put down to.
    pub trigger: ResolutionType,
    /// Who, when, why.
    pub evidence: Evidence,
}

/// How a claimed replay ended. Texts are redacted and bounded by whoever settles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettleOutcome {
    /// It worked.
    Succeeded {
        /// What the target said.
        note: String,
    },
    /// The target had done it before.
    AlreadyDone {
        /// What the target said.
        note: String,
    },
    /// It failed; charged to the budget.
    Failed {
        /// What went wrong.
        error: String,
        /// How long to wait before the next automatic claim. The store adds its own now.
        retry_in: Duration,
    },
    /// It failed and will never work; charged to the budget.
    Permanent {
        /// What went wrong.
        error: String,
    },
    /// A gate put it off; nothing is charged.
    Deferred {
        /// Which gate, and why.
        reason: String,
        /// How long to wait. The store adds its own now.
        delay: Duration,
    },
    /// It was not touched; nothing is charged, and it is due at once.
    Released,
}

/// End claims that ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapse {
    /// The most to end.
    pub limit: usize,
    /// How long lapsed entries wait before the next automatic claim. The store adds its own now.
    pub retry_in: Duration,
    /// Who, when, why.
    pub evidence: Evidence,
}

/// Do this to an entry that nobody replays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// The entry.
    pub id: EntryId,
    /// What to do.
    pub action: Action,
    /// Who, when, why.
    pub evidence: Evidence,
}

/// What can be done to an entry by hand or by policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is done.
    Resolve {
        /// Why; redacted and bounded by the caller.
        note: String,
    },
    /// It is refused.
    Reject {
        /// Why; redacted and bounded by the caller.
        note: String,
    },
    /// A person looks at it.
    Review,
    /// The person is done looking.
    Back,
    /// It needs a person.
    Escalate,
    /// Its time ran out.
    Expire,
    /// Take it up again, with a fresh budget.
    Reopen,
}

impl Action {
    /// The cause that the state table knows it by.
    pub const fn cause(&self) -> Cause {
        match self {
            Self::Resolve { .. } => Cause::Resolve,
            Self::Reject { .. } => Cause::Reject,
            Self::Review => Cause::Review,
            Self::Back => Cause::Back,
            Self::Escalate => Cause::Escalate,
            Self::Expire => Cause::Expire,
            Self::Reopen => Cause::Reopen,
        }
    }
}
