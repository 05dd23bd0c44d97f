//! Every metric of Baldur: its name, kind, labels and meaning.
//!
//! They go through the `metrics` facade: without a recorder of the host they cost next to nothing, and `baldur serve`
//! installs one. Names are `baldur_<area>_<thing>_<unit>`, counters end with `_total`, times are seconds, sizes are bytes.
//! Labels take few values: words of this catalogue, and domains and dependencies, of which capture admits few.

/// A metric of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name that dashboards use.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Up only, from the start of the process.
    Counter,
    /// Up and down.
    Gauge,
    /// Counted by size.
    Histogram,
}

/// How captures ended, one for each.
pub const CAPTURES: Metric = Metric {
    name: "baldur_capture_answers_total",
    kind: Kind::Counter,
    labels: &["domain", "answer"],
    help: "Captures by what their callers were told: stored, merged, spooled, queued, rejected, unknown.",
};

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

/// All of them, in order of name.
pub const ALL: &[Metric] = &[
    BREAKER_CHANGES,
    BREAKER_REJECTIONS,
    BREAKER_STATE,
    BREAKER_STORE_FAILURES,
    CAPTURES,
    PROTECT_BULKHEAD_REFUSALS,
    PROTECT_SECONDS,
    PROTECT_CALLS,
    PROTECT_RETRIES_REFUSED,
    PROTECT_RETRIES,
];
