//! Metrics of circuit breakers.

use super::{Kind, Metric};

/// Changes of breakers.
pub const BREAKER_CHANGES: Metric = Metric {
    name: "baldur_breaker_changes_total",
    kind: Kind::Counter,
    labels: &["dependency", "to"],
    help: "Changes of circuit breakers, by the state that was entered.",
};

/// Calls that breakers rejected.
pub const BREAKER_REJECTIONS: Metric = Metric {
    name: "baldur_breaker_rejections_total",
    kind: Kind::Counter,
    labels: &["dependency", "why"],
    help: "Calls that circuit breakers rejected, by why: open, forced.",
};

/// How breakers stand.
pub const BREAKER_STATE: Metric = Metric {
    name: "baldur_breaker_state",
    kind: Kind::Gauge,
    labels: &["dependency"],
    help: "What callers meet at a circuit breaker since it first changed: 0 closed, 1 half open, 2 open.",
};

/// Rounds in which the shared states of breakers could not be read or written.
pub const BREAKER_STORE_FAILURES: Metric = Metric {
    name: "baldur_breaker_store_failures_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Rounds in which the states of circuit breakers were not exchanged with other processes.",
};
