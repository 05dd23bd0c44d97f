//! Metrics of protected calls.

use super::{Kind, Metric};

/// Logical calls through guards, however often they were tried.
pub const PROTECT_CALLS: Metric = Metric {
    name: "baldur_protect_calls_total",
    kind: Kind::Counter,
    labels: &["dependency", "outcome"],
    help: "Protected calls by how they ended, before any fallback: success, rejected, permanent, failed, timeout, deadline, circuit_open, bulkhead_full, dropped.",
};

/// How long logical calls took.
pub const PROTECT_SECONDS: Metric = Metric {
    name: "baldur_protect_call_seconds",
    kind: Kind::Histogram,
    labels: &["dependency"],
    help: "How long protected calls took, with their tries and waits, without fallback and capture.",
};

/// Tries after the first.
pub const PROTECT_RETRIES: Metric = Metric {
    name: "baldur_protect_retries_total",
    kind: Kind::Counter,
    labels: &["dependency"],
    help: "Tries of protected calls after the first.",
};

/// Tries that were not made.
pub const PROTECT_RETRIES_REFUSED: Metric = Metric {
    name: "baldur_protect_retries_refused_total",
    kind: Kind::Counter,
    labels: &["dependency", "by"],
    help: "Retries that were due and not made, by what refused them: budget, deadline, breaker, retry_after.",
};

/// Calls that found no slot.
pub const PROTECT_BULKHEAD_REFUSALS: Metric = Metric {
    name: "baldur_protect_bulkhead_refusals_total",
    kind: Kind::Counter,
    labels: &["dependency"],
    help: "Protected calls that were not made because too many were under way.",
};
