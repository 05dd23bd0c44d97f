//! The time of the store: the server's, so that all processes share it.

use std::{fmt, sync::Arc};

use baldur_core::{Clock, Timestamp};

/// Where a store takes its time from.
#[derive(Clone)]
pub(crate) enum StoreTime {
    /// The server's clock, asked in each transaction.
    Server,
    /// A clock of the process: for tests.
    Given(Arc<dyn Clock>),
}

impl StoreTime {
    /// Now, where the server said `server`.
    pub(crate) fn now(&self, server: Timestamp) -> Timestamp {
        match self {
            Self::Server => server,
            Self::Given(clock) => clock.now(),
        }
    }
}

impl fmt::Debug for StoreTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("Server"),
            Self::Given(_) => f.write_str("Given"),
        }
    }
}
