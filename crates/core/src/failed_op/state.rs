//! The part of an entry that changes after capture.

use crate::{
    failed_op::{Attempts, Status},
    id::ClaimToken,
    name::{Actor, WorkerName},
    time::Timestamp,
};

/// What changes after capture. Small on purpose: adapters rewrite it at each step and leave payloads alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpState {
    /// Where the entry stands.
    pub status: Status,
    /// The budget used: failed replays and lapsed claims since capture or the last force redrive.
    pub retry_count: u32,
    /// The budget: after this many failures a person has to look at it. At least 1.
    pub max_retries: u32,
    /// When it was last claimed.
    pub last_retry_at: Option<Timestamp>,
    /// When it may be claimed again, by the store's clock. Claims by id ignore it.
    pub next_attempt_at: Timestamp,
    /// The fence; see [`ClaimToken`].
    pub claim_token: ClaimToken,
    /// The running claim; set exactly while the status is `replaying`.
    pub hold: Option<Hold>,
    /// What happened so far.
    pub attempts: Attempts,
    /// How often a person ordered another replay after the budget was used up.
    pub force_redrive_count: u32,
    /// The budgets that earlier force redrives wrote off, added up.
    pub previous_total_retries: u64,
    /// When it was resolved or rejected.
    pub resolved_at: Option<Timestamp>,
    /// Who resolved or rejected it.
    pub resolved_by_id: Option<Actor>,
    /// What resolved it.
    pub resolution_type: Option<ResolutionType>,
    /// What was said about it: by the replay that succeeded, or by the person who closed it.
    pub resolution_note: String,
    /// What a person should do, where the system has an opinion.
    pub recommended_action: Option<RecommendedAction>,
    /// Why it can't be replayed, if it can't.
    pub not_replayable: Option<NotReplayable>,
    /// How often this failure was captured: 1, and one more for each capture that merged into it.
    pub occurrences: u64,
    /// When the newest of these captures was made.
    pub last_occurred_at: Timestamp,
    /// How many evidence records the entry has. A missing record shows as a gap.
    pub evidence_count: u64,
    /// When anything here last changed, by the store's clock.
    pub updated_at: Timestamp,
    /// When it expires if it is still waiting, by the store's clock.
    pub expires_at: Option<Timestamp>,
}

impl OpState {
    /// The state of a new entry: pending, or waiting for a person if it can't be replayed.
    ///
    /// The store sets its own times (`next_attempt_at`, `expires_at`, `updated_at`) when it keeps the entry.
    pub fn captured(
        max_retries: u32,
        not_replayable: Option<NotReplayable>,
        at: Timestamp,
    ) -> Self {
        let status = match not_replayable {
            None => Status::Pending,
            Some(_) => Status::RequiresReview,
        };
        Self {
            status,
            retry_count: 0,
            max_retries: max_retries.max(1),
            last_retry_at: None,
            next_attempt_at: at,
            claim_token: ClaimToken::default(),
            hold: None,
            attempts: Attempts::default(),
            force_redrive_count: 0,
            previous_total_retries: 0,
            resolved_at: None,
            resolved_by_id: None,
            resolution_type: None,
            resolution_note: String::new(),
            recommended_action: not_replayable.map(|_| RecommendedAction::ManualCheck),
            not_replayable,
            occurrences: 1,
            last_occurred_at: at,
            evidence_count: 0,
            updated_at: at,
            expires_at: None,
        }
    }

    /// Whether budget is left.
    pub fn can_retry(&self) -> bool {
        self.retry_count < self.max_retries
    }
}

/// A running claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Who holds it.
    pub holder: WorkerName,
    /// When it was claimed, by the store's clock.
    pub claimed_at: Timestamp,
    /// When it runs out, by the store's clock.
    pub expires_at: Timestamp,
}

/// Why an entry can't be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotReplayable {
    /// The request was larger than the limit, so it was not kept.
    RequestTooLarge,
    /// The request could not be redacted, so it was not kept.
    RequestNotRedactable,
    /// The key of the original call could not be kept, so a replay could be taken for another operation.
    IdempotencyKeyNotKept,
}

impl NotReplayable {
    /// Every reason.
    pub const ALL: [Self; 3] =
        [Self::RequestTooLarge, Self::RequestNotRedactable, Self::IdempotencyKeyNotKept];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RequestTooLarge => "request_too_large",
            Self::RequestNotRedactable => "request_not_redactable",
            Self::IdempotencyKeyNotKept => "idempotency_key_not_kept",
        }
    }

    /// The reason with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// What resolved an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ResolutionType {
    /// A replay of a whole set, started by a person.
    ManualReplay,
    /// A replay of this one entry, started by a person.
    ManualRetry,
    /// A replay that a person ordered after the budget was used up.
    ForceRedrive,
    /// A replay that began because the dependency recovered.
    AutoReplayCircuitClose,
    /// A replay on a schedule.
    ScheduledBatch,
    /// The target had done it before.
    DuplicateSkip,
    /// A person said that it is done, or refused it.
    Manual,
    /// Its time ran out.
    TtlExpired,
}

impl ResolutionType {
    /// Every type.
    pub const ALL: [Self; 8] = [
        Self::ManualReplay,
        Self::ManualRetry,
        Self::ForceRedrive,
        Self::AutoReplayCircuitClose,
        Self::ScheduledBatch,
        Self::DuplicateSkip,
        Self::Manual,
        Self::TtlExpired,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ManualReplay => "manual_replay",
            Self::ManualRetry => "manual_retry",
            Self::ForceRedrive => "force_redrive",
            Self::AutoReplayCircuitClose => "auto_replay_circuit_close",
            Self::ScheduledBatch => "scheduled_batch",
            Self::DuplicateSkip => "duplicate_skip",
            Self::Manual => "manual",
            Self::TtlExpired => "ttl_expired",
        }
    }

    /// The type with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What a person should do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecommendedAction {
    /// Replay it.
    Replay,
    /// Look at it before anything else.
    ManualCheck,
    /// Hand it to whoever owns the dependency.
    Escalate,
    /// Put it away.
    Archive,
}

impl RecommendedAction {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Replay, Self::ManualCheck, Self::Escalate, Self::Archive];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::ManualCheck => "manual_check",
            Self::Escalate => "escalate",
            Self::Archive => "archive",
        }
    }

    /// The action with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == name)
    }
}
