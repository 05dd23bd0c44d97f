//! What recovery hears of dependencies.

use baldur_core::name::ServiceName;

/// Why a dependency is taken to be back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Its breaker closed.
    BreakerClosed,
    /// Its probe succeeded as often in a row as asked for.
    ProbeOk,
    /// A person said so. It waits for nothing.
    Manual,
}

impl Signal {
    /// The stable name in answers, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BreakerClosed => "breaker_closed",
            Self::ProbeOk => "probe_ok",
            Self::Manual => "manual",
        }
    }
}

/// What is told to recovery: in order, and without waiting.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// The dependency is back.
    Back(ServiceName, Signal),
    /// The dependency failed.
    Down(ServiceName),
}
