//! Metrics of the HTTP interface.

use super::{Kind, Metric};

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
