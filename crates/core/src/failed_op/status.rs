//! Statuses, causes, and the one table of legal moves.

use std::{fmt, str::FromStr};

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Waits for a replay.
    Pending,
    /// Claimed: somebody replays it now.
    Replaying,
    /// A person looks at it.
    Reviewing,
    /// Replayed elsewhere, by a system that Baldur doesn't drive.
    Replayed,
    /// Needs a person: the budget is used up, the failure is permanent, or it can't be replayed.
    RequiresReview,
    /// Done.
    Resolved,
    /// Refused by a person.
    Rejected,
    /// Put away; only purge follows.
    Archived,
    /// Its time ran out before it was resolved.
    Expired,
    /// Given up by a system that Baldur doesn't drive.
    PermanentlyFailed,
}

/// A text that is no [`Status`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a status; use one of {list}", list = Status::names().join(", "))]
pub struct StatusError(String);

impl Status {
    /// Every status, in the order of the life cycle.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Replaying,
        Self::Reviewing,
        Self::RequiresReview,
        Self::Replayed,
        Self::Resolved,
        Self::Rejected,
        Self::Expired,
        Self::PermanentlyFailed,
        Self::Archived,
    ];

    /// Statuses of entries that are still to be dealt with. Limits on size count these.
    pub const LIVE: [Self; 4] =
        [Self::Pending, Self::Replaying, Self::Reviewing, Self::RequiresReview];

    /// Statuses of entries that no overflow policy may evict: somebody is at work on them.
    pub const PROTECTED: [Self; 2] = [Self::Replaying, Self::Reviewing];

    /// Whether the entry is still to be dealt with.
    pub fn is_live(self) -> bool {
        Self::LIVE.contains(&self)
    }

    /// Whether somebody is at work on the entry.
    pub fn is_protected(self) -> bool {
        Self::PROTECTED.contains(&self)
    }

    /// The name on the wire, in SQL, in the CLI and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Replaying => "replaying",
            Self::Reviewing => "reviewing",
            Self::Replayed => "replayed",
            Self::RequiresReview => "requires_review",
            Self::Resolved => "resolved",
            Self::Rejected => "rejected",
            Self::Archived => "archived",
            Self::Expired => "expired",
            Self::PermanentlyFailed => "permanently_failed",
        }
    }

    fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|status| status.as_str()).collect()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Status {
    type Err = StatusError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| StatusError(text.chars().take(64).collect()))
    }
}

/// Why an entry moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// A worker took it for a replay.
    Claim,
    /// A person ordered another replay of a reviewed entry; the budget starts anew.
    ForceRedrive,
    /// The replay worked.
    Succeeded,
    /// The target had done it before.
    AlreadyDone,
    /// The replay failed and budget is left.
    Failed,
    /// The replay failed and the budget is used up.
    FailedAtCap,
    /// The target said that it will never work.
    Permanent,
    /// A gate put it off; nothing is charged.
    Deferred,
    /// The worker gave it back untouched; nothing is charged.
    Released,
    /// The worker's claim ran out and budget is left.
    Lapsed,
    /// The worker's claim ran out and the budget is used up.
    LapsedAtCap,
    /// A person says that it is done.
    Resolve,
    /// A person refuses it.
    Reject,
    /// A person starts looking at it.
    Review,
    /// It needs a person.
    Escalate,
    /// A person is done looking and puts it back.
    Back,
    /// Its time ran out.
    Expire,
    /// A person takes a closed entry up again.
    Reopen,
    /// Retention puts it away.
    Archive,
    /// Retention removes it.
    Purge,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 20] = [
        Self::Claim,
        Self::ForceRedrive,
        Self::Succeeded,
        Self::AlreadyDone,
        Self::Failed,
        Self::FailedAtCap,
        Self::Permanent,
        Self::Deferred,
        Self::Released,
        Self::Lapsed,
        Self::LapsedAtCap,
        Self::Resolve,
        Self::Reject,
        Self::Review,
        Self::Escalate,
        Self::Back,
        Self::Expire,
        Self::Reopen,
        Self::Archive,
        Self::Purge,
    ];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::ForceRedrive => "force_redrive",
            Self::Succeeded => "succeeded",
            Self::AlreadyDone => "already_done",
            Self::Failed => "failed",
            Self::FailedAtCap => "failed_at_cap",
            Self::Permanent => "permanent",
            Self::Deferred => "deferred",
            Self::Released => "released",
            Self::Lapsed => "lapsed",
            Self::LapsedAtCap => "lapsed_at_cap",
            Self::Resolve => "resolve",
            Self::Reject => "reject",
            Self::Review => "review",
            Self::Escalate => "escalate",
            Self::Back => "back",
            Self::Expire => "expire",
            Self::Reopen => "reopen",
            Self::Archive => "archive",
            Self::Purge => "purge",
        }
    }

    /// The cause with this name on the wire.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == name)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One legal move. `to` is `None` where the entry is gone afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The status before.
    pub from: Status,
    /// Why it moves.
    pub cause: Cause,
    /// The status after.
    pub to: Option<Status>,
}

const fn go(from: Status, cause: Cause, to: Status) -> Transition {
    Transition { from, cause, to: Some(to) }
}

/// Every legal move; whatever is not here is refused.
pub const TRANSITIONS: [Transition; 32] = [
    go(Status::Pending, Cause::Claim, Status::Replaying),
    go(Status::Pending, Cause::Resolve, Status::Resolved),
    go(Status::Pending, Cause::Reject, Status::Rejected),
    go(Status::Pending, Cause::Review, Status::Reviewing),
    go(Status::Pending, Cause::Escalate, Status::RequiresReview),
    go(Status::Pending, Cause::Expire, Status::Expired),
    go(Status::Replaying, Cause::Succeeded, Status::Resolved),
    go(Status::Replaying, Cause::AlreadyDone, Status::Resolved),
    go(Status::Replaying, Cause::Failed, Status::Pending),
    go(Status::Replaying, Cause::FailedAtCap, Status::RequiresReview),
    go(Status::Replaying, Cause::Permanent, Status::RequiresReview),
    go(Status::Replaying, Cause::Deferred, Status::Pending),
    go(Status::Replaying, Cause::Released, Status::Pending),
    go(Status::Replaying, Cause::Lapsed, Status::Pending),
    go(Status::Replaying, Cause::LapsedAtCap, Status::RequiresReview),
    go(Status::Reviewing, Cause::Resolve, Status::Resolved),
    go(Status::Reviewing, Cause::Reject, Status::Rejected),
    go(Status::Reviewing, Cause::Back, Status::Pending),
    go(Status::Reviewing, Cause::Escalate, Status::RequiresReview),
    go(Status::RequiresReview, Cause::ForceRedrive, Status::Replaying),
    go(Status::RequiresReview, Cause::Resolve, Status::Resolved),
    go(Status::RequiresReview, Cause::Reject, Status::Rejected),
    go(Status::RequiresReview, Cause::Expire, Status::Expired),
    go(Status::Resolved, Cause::Reopen, Status::Pending),
    go(Status::Rejected, Cause::Reopen, Status::Pending),
    go(Status::Expired, Cause::Reopen, Status::Pending),
    go(Status::Resolved, Cause::Archive, Status::Archived),
    go(Status::Rejected, Cause::Archive, Status::Archived),
    go(Status::Expired, Cause::Archive, Status::Archived),
    go(Status::Replayed, Cause::Archive, Status::Archived),
    go(Status::PermanentlyFailed, Cause::Archive, Status::Archived),
    Transition { from: Status::Archived, cause: Cause::Purge, to: None },
];

/// The status after `cause`, or `None` when the move is illegal or ends the entry.
pub fn next_status(from: Status, cause: Cause) -> Option<Status> {
    TRANSITIONS.iter().find(|t| t.from == from && t.cause == cause).and_then(|t| t.to)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_pair_of_status_and_cause_has_one_outcome() {
        let pairs: BTreeSet<_> = TRANSITIONS.iter().map(|t| (t.from, t.cause)).collect();
        assert_eq!(pairs.len(), TRANSITIONS.len());
    }

    #[test]
    fn replaying_is_left_by_its_holder_or_by_lapse_only() {
        let left_by: BTreeSet<_> =
            TRANSITIONS.iter().filter(|t| t.from == Status::Replaying).map(|t| t.cause).collect();
        for cause in [Cause::Resolve, Cause::Reject, Cause::Claim, Cause::Expire] {
            assert!(!left_by.contains(&cause), "{cause}");
        }
    }

    #[test]
    fn archived_leads_nowhere_but_out() {
        let moves: Vec<_> = TRANSITIONS.iter().filter(|t| t.from == Status::Archived).collect();
        assert_eq!(moves.len(), 1);
        assert_eq!(moves[0].to, None);
    }

    #[test]
    fn names_are_unique_and_read_back() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        let causes: BTreeSet<_> = Cause::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(causes.len(), Cause::ALL.len());
        assert!("Pending".parse::<Status>().is_err());
    }
}
