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

/// The highest alarm of a limit.
pub const OVERFLOW_ALARM_PERCENT: Metric = Metric {
    name: "baldur_overflow_alarm_percent",
    kind: Kind::Gauge,
    labels: &["domain"],
    help: "The highest alarm that is raised for a limit of live entries: 70, 85, 95, or 0 for none. Domain `(all)` is the limit in all.",
};

/// Entries that made room.
pub const OVERFLOW_EVICTIONS: Metric = Metric {
    name: "baldur_overflow_evictions_total",
    kind: Kind::Counter,
    labels: &["domain"],
    help: "Entries that an overflow policy removed to make room for others, by their domain.",
};

/// Live entries, as the last capture was told.
pub const OVERFLOW_LIVE_ENTRIES: Metric = Metric {
    name: "baldur_overflow_live_entries",
    kind: Kind::Gauge,
    labels: &["domain"],
    help: "Live entries of domains with a limit, when one was last captured. Domain `(all)` is the limit in all.",
};

/// Captures without room.
pub const OVERFLOW_REFUSALS: Metric = Metric {
    name: "baldur_overflow_refusals_total",
    kind: Kind::Counter,
    labels: &["domain", "scope"],
    help: "Captures that found no room for another live entry, by the limit that was reached: domain, all.",
};

/// All of them, in order of name.
pub const ALL: &[Metric] = &[
    BREAKER_CHANGES,
    CAPTURES,
    OVERFLOW_ALARM_PERCENT,
    OVERFLOW_EVICTIONS,
    OVERFLOW_LIVE_ENTRIES,
    OVERFLOW_REFUSALS,
];
