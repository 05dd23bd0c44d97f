//! The accounts, and their sums at one instant.

use std::collections::BTreeMap;

use baldur_core::{BackendKind, name::Domain, port::CaptureError};

use crate::metrics;

/// For how many domains drops are counted apart. Further ones are counted under `other`.
const MAX_DOMAINS: usize = 256;

/// Where a capture can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Account<'a> {
    /// The store has it, as an entry of its own. Only grows.
    Stored,
    /// The store merged it into a live entry. Only grows.
    Merged,
    /// It waits in the local spool.
    Spooled,
    /// It waits in the memory of the outbox.
    Queued,
    /// A store or spool was asked, and has not answered yet.
    InFlight,
    /// It is not known to be kept, and whoever captured it was told so, or a log was; the reason says how certain that is. Only grows.
    Rejected(RejectReason),
    /// A policy, or the end of the process, threw it away. Only grows.
    Dropped(DropReason, &'a Domain),
    /// No answer came. It will be found, or not.
    Unknown,
}

/// An account of things under way: captures leave it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// As [`Account::Queued`].
    Queued,
    /// As [`Account::InFlight`].
    InFlight,
    /// As [`Account::Spooled`].
    Spooled,
    /// As [`Account::Unknown`].
    Unknown,
}

impl Balance {
    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InFlight => "in_flight",
            Self::Spooled => "spooled",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a capture was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The store can't hold it.
    Invalid,
    /// The limit of live entries is reached.
    LimitReached,
    /// Its store, and its spool where there is one, were in this trouble.
    Backend(BackendKind),
    /// The outbox had no room.
    OutboxFull,
    /// The outbox was closed.
    Closed,
    /// The store refused for good what the spool held; it is kept in a file for people.
    SetAside,
    /// The store failed again and again at what the spool held, while it took others; it is kept in a file for people.
    /// A store that never answered for certain may have it all the same.
    Parked,
    /// No answer came, and the store doesn't know the id.
    Lost,
    /// No answer came, and the store doesn't know the id; it has a dedup key, so it may have merged.
    LostOrMerged,
    /// No answer came, and the same id was captured again without an answer, under which it is counted.
    Superseded,
}

impl RejectReason {
    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::LimitReached => "limit_reached",
            Self::Backend(kind) => kind.as_str(),
            Self::OutboxFull => "outbox_full",
            Self::Closed => "outbox_closed",
            Self::SetAside => "set_aside",
            Self::Parked => "parked",
            Self::Lost => "lost",
            Self::LostOrMerged => "lost_or_merged",
            Self::Superseded => "superseded",
        }
    }

    pub(crate) fn of(error: &CaptureError) -> Self {
        match error {
            CaptureError::Invalid(_) => Self::Invalid,
            CaptureError::LimitReached { .. } => Self::LimitReached,
            CaptureError::Backend(error) => Self::Backend(error.kind()),
            _ => Self::Backend(BackendKind::Other),
        }
    }
}

/// Why a capture was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DropReason {
    /// The outbox was full, and its policy is to drop the newest.
    Newest,
    /// The outbox was full, and its policy is to drop the oldest.
    Oldest,
    /// The process ended, and neither the store nor the spool took it in time.
    Shutdown,
    /// The spool does not have it any more: its file was damaged and put aside, or removed by someone else.
    SpoolDamaged,
}

impl DropReason {
    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
            Self::Shutdown => "shutdown",
            Self::SpoolDamaged => "spool_damaged",
        }
    }
}

/// All accounts at one instant, since the process began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Captures that were begun, and records of earlier processes that were found in the spool.
    pub offered: u64,
    /// See [`Account::Stored`].
    pub stored: u64,
    /// See [`Account::Merged`].
    pub merged: u64,
    /// See [`Account::Spooled`].
    pub spooled: u64,
    /// See [`Account::Queued`].
    pub queued: u64,
    /// See [`Account::InFlight`].
    pub in_flight: u64,
    /// See [`Account::Rejected`], by the name of the reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// See [`Account::Dropped`], by the name of the reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// See [`Account::Unknown`].
    pub unknown: u64,
    /// The same as `dropped`, by domain; beyond 256 domains under `other`.
    pub dropped_in: BTreeMap<Domain, u64>,
    /// How many of `offered` were found in the spool.
    pub recovered: u64,
    /// How many of `unknown` stay so, because too many ids waited for an answer at once.
    pub unresolvable: u64,
    /// What was moved without being there: 0 in a program without a mistake.
    pub overdrawn: u64,
}

impl Sums {
    /// Everything that was rejected.
    pub fn all_rejected(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Everything that was dropped.
    pub fn all_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Whether the law holds.
    pub fn balances(&self) -> bool {
        let kept = self.stored + self.merged + self.spooled + self.queued;
        let rest = self.in_flight + self.all_rejected() + self.all_dropped() + self.unknown;
        self.offered == kept + rest && self.all_dropped() == self.dropped_in.values().sum::<u64>()
    }

    pub(super) fn balance(&mut self, of: Balance) -> &mut u64 {
        match of {
            Balance::Queued => &mut self.queued,
            Balance::InFlight => &mut self.in_flight,
            Balance::Spooled => &mut self.spooled,
            Balance::Unknown => &mut self.unknown,
        }
    }

    pub(super) fn credit(&mut self, to: Account<'_>, n: u64) {
        if n == 0 {
            return;
        }
        let balance = match to {
            Account::Stored => return settle(&mut self.stored, "stored", n),
            Account::Merged => return settle(&mut self.merged, "merged", n),
            Account::Rejected(reason) => {
                metrics::rejected(reason.as_str(), n);
                *self.rejected.entry(reason.as_str()).or_default() += n;
                return;
            }
            Account::Dropped(reason, domain) => return self.credit_dropped(reason, domain, n),
            Account::Spooled => Balance::Spooled,
            Account::Queued => Balance::Queued,
            Account::InFlight => Balance::InFlight,
            Account::Unknown => Balance::Unknown,
        };
        metrics::held(balance.as_str(), n, true);
        *self.balance(balance) += n;
    }

    fn credit_dropped(&mut self, reason: DropReason, domain: &Domain, n: u64) {
        let known = self.dropped_in.contains_key(domain) || self.dropped_in.len() < MAX_DOMAINS;
        let domain = if known { domain.clone() } else { Domain::other() };
        metrics::dropped(&domain, reason.as_str(), n);
        *self.dropped.entry(reason.as_str()).or_default() += n;
        *self.dropped_in.entry(domain).or_default() += n;
    }
}

fn settle(sum: &mut u64, account: &'static str, n: u64) {
    metrics::settled(account, n);
    *sum += n;
}
