//! What the processes of the demo say to each other.

use serde::{Deserialize, Serialize};

/// An order, as the shop sends it to checkout and checkout sends it to the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// The order key: the same at every try.
    pub(super) order: String,
    /// What is to be paid, in cents.
    pub(super) amount_cents: u64,
}

/// What checkout answers with a 2xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub(super) enum Accepted {
    /// The gateway charged it (200).
    Charged,
    /// The gateway did not answer well; the payment is captured for later (202).
    Captured {
        /// Whether a capture of the same order was there already.
        merged: bool,
        /// Whether it waits in the spool, since the store did not take it.
        spooled: bool,
    },
}

/// How the gateway behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mode {
    /// It charges and answers.
    Up,
    /// It listens to nobody: connections are refused.
    Refused,
    /// It answers 503 and charges nothing.
    Unavailable,
    /// It charges, and answers only after its callers have given up.
    Slow,
}

/// One charge in the gateway's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Charge {
    /// The order that was paid.
    pub(super) order: String,
    /// Under which idempotency key.
    pub(super) key: String,
}

/// The gateway's own books.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Ledger {
    /// Every charge, in order.
    pub(super) charges: Vec<Charge>,
    /// When each call came that was not refused, in milliseconds since the gateway's start.
    pub(super) calls: Vec<u64>,
}

/// What waits in checkout's spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SpoolState {
    /// Records that wait.
    pub(super) waiting: u64,
    /// Records that this process has brought to the store.
    pub(super) drained: u64,
}

/// How fast checkout is to replay.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Pace {
    /// Entries per second, once the ramp is over.
    pub(super) per_second: u32,
}

/// Which fail point of checkout is armed. Counting begins with the next capture, or replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FailPoint {
    /// Hold the n-th capture before its commit for ever, and the one after it after its commit.
    Capture(u64),
    /// Hold the n-th replay that the gateway charged, now or before, for ever: it is not settled.
    Replay(u64),
}

/// Where a fail point holds checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HoldPoint {
    /// A capture that is not yet handed to the store.
    BeforeCommit,
    /// A capture that the store has committed, but that nobody was told about.
    AfterCommit,
    /// A replay that was charged, but is not yet settled.
    AfterCharge,
}

/// One line that a child writes to its standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub(super) enum Report {
    /// It takes calls.
    Listening {
        /// The port of the service on loopback.
        port: u16,
        /// The port from which it is controlled.
        control: u16,
    },
    /// Nobody can write to the store from now on.
    StoreOut,
    /// A fail point holds it.
    Held {
        /// Which.
        at: HoldPoint,
    },
    /// A replay ended.
    Replayed {
        /// As the library calls it: `succeeded`, `already_done`, `failed`, ….
        outcome: String,
    },
    /// It can't go on.
    Failed {
        /// Why.
        problem: String,
    },
    /// The backlog is empty, or nothing more can be done about it.
    Drained {
        /// Entries that are resolved.
        resolved: u64,
        /// Entries that need a person.
        stuck: u64,
    },
}
