//! `/metrics`: what was counted in this process, and what the store says at this moment.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{Request, Response, StatusCode},
};
use baldur_app::metrics::{
    self, Kind, Metric, SPOOL_BYTES, SPOOL_MAX_BYTES, SPOOL_OLDEST, SPOOL_RECORDS, SPOOL_SET_ASIDE,
    STORE_ENTRIES, STORE_LIVE_ENTRIES, STORE_UNSEALED_RECORDS, STORE_UP,
};
use baldur_core::{
    FacetScope, Facets, Status, Timestamp,
    port::{EvidenceBacklog, SpoolStatus},
};
use tokio::time::timeout;

use super::text_of;
use crate::{
    keys::{Caller, Role},
    params::Params,
    problem::{self, Problem},
    state::ApiState,
};

/// How many domains have a series of their own; the smaller ones share one.
const MOST_DOMAINS: usize = 100;

/// The domain of those that share a series.
const OTHERS: &str = "(other)";

/// Renders them.
pub(super) async fn scrape(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    caller.must(Role::Read)?;
    Params::read(request.uri().query(), &[])?;
    let render = state.parts().metrics.as_ref().ok_or_else(|| {
        problem::NO_METRICS.because("the host of this server installed no recorder")
    })?;
    let mut text = render();
    gauges(&mut text, ask(&state).await);
    let parts = state.parts();
    if let Some(spool) = &parts.capture.routes().spool {
        of_spool(&mut text, &spool.status(), parts.env.clock.now());
    }
    describe_the_rest(&mut text);
    Ok(text_of(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", text))
}

/// What the store says; `None` when it doesn't in time.
async fn ask(state: &ApiState) -> Option<(Facets, EvidenceBacklog)> {
    let entries = &state.parts().entries;
    // Each dimension is limited by the others only: statuses are counted over all entries, domains over live ones.
    let scope = FacetScope { statuses: Status::LIVE.to_vec(), ..FacetScope::default() };
    let asking = async {
        let facets = entries.facets(scope).await.ok()?;
        Some((facets, entries.backlog().await.ok()?))
    };
    timeout(state.limits().probe_timeout, asking).await.ok().flatten()
}

fn gauges(text: &mut String, said: Option<(Facets, EvidenceBacklog)>) {
    describe(text, &STORE_UP);
    let _ = writeln!(text, "{} {}", STORE_UP.name, u8::from(said.is_some()));
    // What is not known is absent: a zero would be a lie that no alarm notices.
    let Some((facets, backlog)) = said else { return };
    describe(text, &STORE_ENTRIES);
    for status in Status::ALL {
        let count = facets.by_status.get(&status).copied().unwrap_or(0);
        sample(text, &STORE_ENTRIES, "status", status.as_str(), count);
    }
    describe(text, &STORE_LIVE_ENTRIES);
    for (domain, count) in largest(&facets.by_domain) {
        sample(text, &STORE_LIVE_ENTRIES, "domain", domain, count);
    }
    describe(text, &STORE_UNSEALED_RECORDS);
    let _ = writeln!(text, "{} {}", STORE_UNSEALED_RECORDS.name, backlog.unsealed);
}

/// What the spool holds.
fn of_spool(text: &mut String, status: &SpoolStatus, now: Timestamp) {
    let SpoolStatus { records, bytes, max_bytes, oldest, set_aside, .. } = *status;
    for (metric, value) in [
        (SPOOL_BYTES, bytes),
        (SPOOL_MAX_BYTES, max_bytes),
        (SPOOL_RECORDS, records),
        (SPOOL_SET_ASIDE, set_aside),
    ] {
        describe(text, &metric);
        let _ = writeln!(text, "{} {value}", metric.name);
    }
    describe(text, &SPOOL_OLDEST);
    let age = oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
    let _ = writeln!(text, "{} {}", SPOOL_OLDEST.name, age.as_secs_f64());
}

/// The domains with the most entries, and the others as one.
fn largest(domains: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut pairs: Vec<(&str, u64)> =
        domains.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    pairs.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    let mut others: u64 = pairs.iter().skip(MOST_DOMAINS).map(|(_, count)| count).sum();
    pairs.truncate(MOST_DOMAINS);
    // The store has a name for those that it does not count apart, which is the same.
    pairs.retain(|(name, count)| {
        let counted_together = *name == OTHERS;
        others += if counted_together { *count } else { 0 };
        !counted_together
    });
    if others > 0 {
        pairs.push((OTHERS, others));
    }
    pairs
}

fn sample(text: &mut String, metric: &Metric, label: &str, value: &str, count: u64) {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let _ = writeln!(text, "{}{{{label}=\"{value}\"}} {count}", metric.name);
}

/// The head of a metric.
fn describe(text: &mut String, metric: &Metric) {
    let Metric { name, kind, labels: _, help } = metric;
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// Metrics that nothing was counted for yet are named all the same, so that dashboards find them.
fn describe_the_rest(text: &mut String) {
    for metric in metrics::ALL {
        if !text.contains(&format!("# TYPE {} ", metric.name)) {
            describe(text, metric);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_domains_share_a_series_and_none_is_lost() {
        let mut domains: BTreeMap<String, u64> =
            (0..150).map(|n| (format!("d{n:03}"), 1 + n)).collect();
        domains.insert(OTHERS.to_owned(), 1_000);
        let shown = largest(&domains);
        assert!(shown.len() <= MOST_DOMAINS + 1);
        assert_eq!(shown[0], ("d149", 150));
        assert_eq!(shown.last().map(|(name, _)| *name), Some(OTHERS));
        let total: u64 = shown.iter().map(|(_, count)| count).sum();
        assert_eq!(total, domains.values().sum::<u64>());
    }

    #[test]
    fn a_store_that_says_nothing_has_no_counts() {
        let mut text = String::new();
        gauges(&mut text, None);
        assert!(text.contains("\nbaldur_store_up 0\n"), "{text}");
        assert!(!text.contains("entries"), "{text}");
        describe_the_rest(&mut text);
        for metric in metrics::ALL {
            assert_eq!(text.matches(&format!("# TYPE {} ", metric.name)).count(), 1, "{text}");
        }
    }
}
