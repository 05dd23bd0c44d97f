//! Metrics that the store is asked for at each scrape.

use super::{Kind, Metric};

/// Whether the store answers.
pub const STORE_UP: Metric = Metric {
    name: "baldur_store_up",
    kind: Kind::Gauge,
    labels: &[],
    help: "1 when the store answered this scrape in time, else 0; then the other gauges of the store are absent.",
};

/// How many entries there are.
pub const STORE_ENTRIES: Metric = Metric {
    name: "baldur_store_entries",
    kind: Kind::Gauge,
    labels: &["status"],
    help: "Entries in the store, by status.",
};

/// How many entries wait for something.
pub const STORE_LIVE_ENTRIES: Metric = Metric {
    name: "baldur_store_live_entries",
    kind: Kind::Gauge,
    labels: &["domain"],
    help: "Live entries in the store by domain: the 100 largest, and (other) for the rest.",
};

/// Evidence that waits for the journal.
pub const STORE_UNSEALED_RECORDS: Metric = Metric {
    name: "baldur_store_unsealed_records",
    kind: Kind::Gauge,
    labels: &[],
    help: "Records of evidence that have no place in the journal yet.",
};
