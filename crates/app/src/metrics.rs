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
    help: "Captures by what their callers were told: stored, repeated, merged, spooled, queued, enlisted, rejected, unknown.",
};

/// Changes of breakers.
pub const BREAKER_CHANGES: Metric = Metric {
    name: "baldur_breaker_changes_total",
    kind: Kind::Counter,
    labels: &["dependency", "to"],
    help: "Changes of circuit breakers, by the state that was entered.",
};

/// Requests that were answered.
pub const HTTP_REQUESTS: Metric = Metric {
    name: "baldur_http_requests_total",
    kind: Kind::Counter,
    labels: &["route", "method", "status"],
    help: "HTTP requests by route template, method and class of status: 2xx, 4xx, 5xx, other, gone (the caller left).",
};

/// How long requests took.
pub const HTTP_SECONDS: Metric = Metric {
    name: "baldur_http_request_seconds",
    kind: Kind::Histogram,
    labels: &["route", "method"],
    help: "How long HTTP requests took, to the last byte of the answer.",
};

/// Requests that are under way.
pub const HTTP_IN_FLIGHT: Metric = Metric {
    name: "baldur_http_in_flight_requests",
    kind: Kind::Gauge,
    labels: &[],
    help: "HTTP requests that are under way.",
};

/// Connections that were not taken.
pub const HTTP_REFUSED_CONNECTIONS: Metric = Metric {
    name: "baldur_http_refused_connections_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Connections that were refused because there were too many.",
};

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

/// All of them, in order of name.
pub const ALL: &[Metric] = &[
    BREAKER_CHANGES,
    CAPTURES,
    HTTP_IN_FLIGHT,
    HTTP_REFUSED_CONNECTIONS,
    HTTP_SECONDS,
    HTTP_REQUESTS,
    STORE_ENTRIES,
    STORE_LIVE_ENTRIES,
    STORE_UNSEALED_RECORDS,
    STORE_UP,
];
