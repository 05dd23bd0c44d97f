//! Metrics of limits of live entries.

use super::{Kind, Metric};

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
