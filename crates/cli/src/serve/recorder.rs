//! The metrics of this process, as Prometheus reads them.

use std::sync::Arc;

use baldur::metrics::{ALL, Kind};
use baldur_http::Render;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

use crate::exit::{Code, Failure};

/// Seconds, from what a memory store needs to what no caller waits for.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Records what is counted from now on.
pub(super) fn install() -> Result<Render, Failure> {
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Failure::new(Code::Failure, "metrics can't be recorded").because(error)
    };
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|error| failed(&error))?;
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
    Ok(Arc::new(move || {
        // Without a listener of its own nothing else tidies up what was recorded.
        handle.run_upkeep();
        handle.render()
    }))
}
