//! What is asked of a run, what it tells while it goes on, and what it reports.

use std::{sync::Arc, time::Duration};

use baldur_core::{
    EntryId, ResolutionType, Status, Timestamp,
    name::{Domain, ServiceName},
    port::{ClaimError, ReadError},
};

use super::{Governor, RateLimit};
use crate::Who;

/// The most entries that one request may name.
pub const MAX_IDS: usize = 100_000;

/// A request to replay entries.
#[derive(Clone, Debug)]
pub struct ReplayRequest {
    /// Which entries.
    pub select: ReplaySelect,
    /// Also take entries that wait for a person, with a fresh budget. By id only.
    pub force: bool,
    /// Leave entries alone that changed after this, by the store's clock. By id only.
    pub unchanged_since: Option<Timestamp>,
    /// The most entries to take up; all when absent.
    pub limit: Option<u64>,
    /// How fast to take them up; as the engine's policy says when absent.
    pub rate: Option<RateLimit>,
    /// How many handlers work at once; as the engine's policy says when absent.
    pub concurrency: Option<usize>,
    /// Who else has a say in how fast entries are taken up, and in whether the run goes on; nobody when absent. A dry
    /// run asks nobody.
    pub governor: Option<Arc<dyn Governor>>,
    /// Look what would happen, and change nothing.
    pub dry_run: bool,
    /// What successes are put down to.
    pub trigger: ResolutionType,
    /// Who wants it.
    pub who: Who,
}

impl ReplayRequest {
    /// Replays everything that is due, for Baldur itself.
    pub fn due() -> Self {
        Self::of(ReplaySelect::Due { domains: Vec::new(), dependency: None })
    }

    /// Replays these entries, due or not, for Baldur itself.
    pub fn ids(ids: Vec<EntryId>) -> Self {
        Self::of(ReplaySelect::Ids(ids))
    }

    fn of(select: ReplaySelect) -> Self {
        Self {
            select,
            force: false,
            unchanged_since: None,
            limit: None,
            rate: None,
            concurrency: None,
            governor: None,
            dry_run: false,
            trigger: ResolutionType::ScheduledBatch,
            who: Who::system(),
        }
    }
}

/// Which entries to replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplaySelect {
    /// Those that are due, those due longest first.
    Due {
        /// Of these domains, each of which needs a handler; an empty list means all that have one.
        domains: Vec<Domain>,
        /// Of this dependency only.
        dependency: Option<ServiceName>,
    },
    /// These, due or not; at most [`MAX_IDS`]. A repeated id counts once.
    Ids(Vec<EntryId>),
}

/// What a run did.
///
/// `claimed` is the sum of `succeeded`, `already_done`, `failed`, `permanent`, `deferred`, `released` and `stale`.
/// An entry that came up twice, after a failure, was claimed twice. In a dry run the numbers say what would have
/// happened, and nothing was claimed.
#[derive(Clone, Debug, Default)]
pub struct ReplayReport {
    /// Claims that were granted.
    pub claimed: u64,
    /// Replays that worked.
    pub succeeded: u64,
    /// Replays whose target had done it before.
    pub already_done: u64,
    /// Replays that failed, took too long or panicked; charged to the entry's budget.
    pub failed: u64,
    /// Replays that failed and will never work; a person has to look at the entry.
    pub permanent: u64,
    /// Entries that a gate or the target put off; nothing charged.
    pub deferred: u64,
    /// Entries that were given back untouched, because the run ended first.
    pub released: u64,
    /// Claims that were lost, or whose end the store never confirmed. Their entries come up again after the lease;
    /// the target may have acted.
    pub stale: u64,
    /// Ids that were asked for and not granted. Not part of `claimed`.
    pub refused: u64,
    /// Events that the listener was too slow for.
    pub events_dropped: u64,
    /// How long the run took.
    pub elapsed: Duration,
    /// Why it ended.
    pub stop: StopReason,
    /// Whether it only looked.
    pub dry_run: bool,
}

impl ReplayReport {
    pub(super) fn add(&mut self, outcome: ItemOutcome) {
        let counter = match outcome {
            ItemOutcome::Succeeded => &mut self.succeeded,
            ItemOutcome::AlreadyDone => &mut self.already_done,
            ItemOutcome::Failed => &mut self.failed,
            ItemOutcome::Permanent => &mut self.permanent,
            ItemOutcome::Deferred => &mut self.deferred,
            ItemOutcome::Released => &mut self.released,
            ItemOutcome::Stale => &mut self.stale,
            ItemOutcome::Refused => &mut self.refused,
        };
        *counter += 1;
        if outcome != ItemOutcome::Refused {
            self.claimed += 1;
        }
    }
}

/// Why a run ended.
#[derive(Clone, Debug, Default)]
pub enum StopReason {
    /// Nothing that it may take up is left.
    #[default]
    Drained,
    /// It took up as many entries as it was allowed to.
    LimitReached,
    /// It was cancelled.
    Cancelled,
    /// Its [`Governor`] ended it.
    Halted,
    /// The targets of these domains are down, so their entries were left alone; nothing else was left.
    TargetUnavailable(Vec<Domain>),
    /// The store gave no claims any more, for this reason.
    StoreUnavailable(ClaimError),
}

/// What became of one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ItemOutcome {
    /// It worked.
    Succeeded,
    /// The target had done it before.
    AlreadyDone,
    /// It failed, took too long, or the handler panicked.
    Failed,
    /// It failed and will never work.
    Permanent,
    /// A gate or the target put it off.
    Deferred,
    /// It was given back untouched.
    Released,
    /// The claim was lost, or the store never confirmed how it ended.
    Stale,
    /// It was not granted.
    Refused,
}

impl ItemOutcome {
    /// The stable name in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::AlreadyDone => "already_done",
            Self::Failed => "failed",
            Self::Permanent => "permanent",
            Self::Deferred => "deferred",
            Self::Released => "released",
            Self::Stale => "stale",
            Self::Refused => "refused",
        }
    }
}

/// What became of one entry, with the circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemResult {
    /// The entry.
    pub id: EntryId,
    /// Its domain; unknown for an id that was refused.
    pub domain: Option<Domain>,
    /// What became of it.
    pub outcome: ItemOutcome,
    /// Where it stands now, as far as the store said so.
    pub status: Option<Status>,
    /// How long its gate and handler took.
    pub took: Duration,
    /// What was said about it: redacted and bounded.
    pub note: String,
}

/// What a run tells while it goes on.
#[derive(Clone, Debug)]
pub enum ReplayEvent {
    /// It began.
    Started {
        /// About how many entries it may take up: pending ones, due or not. Unknown when the store didn't say.
        total: Option<u64>,
    },
    /// An entry's replay ended.
    Item(ItemResult),
    /// It waits for a second or more before it takes up the next entry.
    Waiting {
        /// Why.
        reason: WaitReason,
        /// How long.
        delay: Duration,
    },
    /// It ended.
    Finished(ReplayReport),
}

/// Why a run waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitReason {
    /// The rate limit.
    Rate,
    /// The store failed; the run asks again.
    Store,
}

/// Why nothing was replayed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A setting or request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// A domain was named that nobody handles.
    #[error("no handler is registered for domain {0}")]
    NoHandler(Domain),
    /// The one entry that was asked for could not be claimed.
    #[error(transparent)]
    NotClaimed(ClaimError),
    /// A dry run could not read the store.
    #[error(transparent)]
    Read(#[from] ReadError),
}
