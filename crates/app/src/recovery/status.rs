//! What recovery is doing, as it can be seen.

use baldur_core::{Timestamp, name::ServiceName};

use super::Signal;

/// How it stands with one dependency in this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryStatus {
    /// The dependency.
    pub dependency: ServiceName,
    /// What recovery does about it.
    pub phase: Phase,
    /// Whether it is taken to be down, until the next signal.
    pub is_down: bool,
    /// How many of its entries waited when that was last looked at.
    pub pending: Option<u64>,
    /// Replays that ended, since the signal that began the sweep. The sum of the following three.
    pub replayed: u64,
    /// Of these, those that worked or had been done before.
    pub succeeded: u64,
    /// Of these, those that failed.
    pub failed: u64,
    /// Of these, those that were put off; nothing charged.
    pub deferred: u64,
    /// The last signal, and when it came.
    pub last_signal: Option<(Signal, Timestamp)>,
}

impl RecoveryStatus {
    pub(super) fn new(dependency: ServiceName) -> Self {
        Self {
            dependency,
            phase: Phase::Idle,
            is_down: false,
            pending: None,
            replayed: 0,
            succeeded: 0,
            failed: 0,
            deferred: 0,
            last_signal: None,
        }
    }
}

/// What recovery does about a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing, and there is nothing to do.
    Idle,
    /// It waits before it sweeps.
    Waiting {
        /// Why.
        reason: WaitCause,
        /// Until when, by this process's clock.
        until: Timestamp,
    },
    /// It replays.
    Sweeping,
    /// It stopped, and waits for a signal.
    Stopped(StopCause),
}

impl Phase {
    /// The stable name in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Waiting { .. } => "waiting",
            Self::Sweeping => "sweeping",
            Self::Stopped(_) => "stopped",
        }
    }
}

/// Why recovery waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitCause {
    /// So that not all processes start at once; longer when the dependency failed during its last sweep.
    Start,
    /// Some entries are left, and are looked at again.
    Leftovers,
    /// The store failed.
    Store,
}

/// Why recovery stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// Too many replays failed, or all.
    Failing,
    /// The dependency was reported down, such as by its breaker.
    WentDown,
    /// Nothing may be replayed here: see [`Recovery::arming`](super::Recovery::arming).
    Disarmed,
    /// The process closes.
    Closed,
    /// The sweep broke; a fault of ours.
    Broken,
}

impl StopCause {
    /// The stable name in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::WentDown => "went_down",
            Self::Disarmed => "disarmed",
            Self::Closed => "closed",
            Self::Broken => "broken",
        }
    }

    /// Whether the dependency is to blame.
    pub(super) const fn is_down(self) -> bool {
        matches!(self, Self::Failing | Self::WentDown)
    }
}
