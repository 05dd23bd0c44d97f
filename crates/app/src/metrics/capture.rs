//! Metrics of capture, and of the accounts of its ledger.

use super::{Kind, Metric};

/// How captures ended, one for each.
pub const CAPTURES: Metric = Metric {
    name: "baldur_capture_answers_total",
    kind: Kind::Counter,
    labels: &["domain", "answer"],
    help: "Captures by what their callers were told: stored, repeated, merged, spooled, queued, enlisted, rejected, unknown.",
};

/// Captures that were begun here or found in the spool.
pub const CAPTURE_OFFERED: Metric = Metric {
    name: "baldur_capture_offered_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Captures that were begun, and records of earlier processes that were found in the spool.",
};

/// Captures that are under way.
pub const CAPTURE_HELD: Metric = Metric {
    name: "baldur_capture_held_entries",
    kind: Kind::Gauge,
    labels: &["account"],
    help: "Captures under way, by account: queued, in_flight, spooled, unknown.",
};

/// Captures that the store has.
pub const CAPTURE_SETTLED: Metric = Metric {
    name: "baldur_capture_settled_total",
    kind: Kind::Counter,
    labels: &["account"],
    help: "Captures that the store has, by account: stored, merged.",
};

/// Captures that were certainly not kept.
pub const CAPTURE_REJECTED: Metric = Metric {
    name: "baldur_capture_rejected_total",
    kind: Kind::Counter,
    labels: &["reason"],
    help: "Captures that are not known to be kept, by reason; those that were set aside or parked are in a file for people, and what was parked or lost_or_merged the store may have all the same.",
};

/// Captures that were thrown away.
pub const CAPTURE_DROPPED: Metric = Metric {
    name: "baldur_capture_dropped_total",
    kind: Kind::Counter,
    labels: &["domain", "reason"],
    help: "Captures that were thrown away, by domain and reason: newest, oldest, shutdown, spool_damaged.",
};

/// Whether captures ask the store.
pub const CAPTURE_STORE_UP: Metric = Metric {
    name: "baldur_capture_store_up",
    kind: Kind::Gauge,
    labels: &[],
    help: "1 while captures go to the store, 0 while they go to the spool because the store failed.",
};
