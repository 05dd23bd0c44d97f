//! Every metric of Baldur: its name, kind, labels and meaning.
//!
//! They go through the `metrics` facade: without a recorder of the host they cost next to nothing, and `baldur serve`
//! installs one. Names are `baldur_<area>_<thing>_<unit>`, counters end with `_total`, times are seconds, sizes are bytes.
//! Labels take few values: words of this catalogue, and domains and dependencies, of which capture admits few.

mod breakers;
mod capture;
mod http;
mod intake;
mod overflow;
mod pipeline;
mod protect;
mod recovery;
mod store;

use baldur_core::name::Domain;

pub use breakers::*;
pub use capture::*;
pub use http::*;
pub use intake::*;
pub use overflow::*;
pub use pipeline::*;
pub use protect::*;
pub use recovery::*;
pub use store::*;

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

/// All of them, in order of name.
pub const ALL: &[Metric] = &[
    BREAKER_CHANGES,
    BREAKER_REJECTIONS,
    BREAKER_STATE,
    BREAKER_STORE_FAILURES,
    CAPTURES,
    CAPTURE_DROPPED,
    CAPTURE_HELD,
    CAPTURE_OFFERED,
    CAPTURE_REJECTED,
    CAPTURE_SETTLED,
    CAPTURE_STORE_UP,
    CLAIMS_LAPSED,
    DRAIN_FAILURES,
    DRAIN_RECORDS,
    HOUSEKEEPING_TURNS,
    HTTP_IN_FLIGHT,
    HTTP_REFUSED_CONNECTIONS,
    HTTP_SECONDS,
    HTTP_REQUESTS,
    INTAKE_OPERATIONS,
    INTAKE_TURNS,
    OUTBOX_ALARMS,
    OUTBOX_BYTES,
    OUTBOX_ENTRIES,
    OUTBOX_OLDEST,
    OVERFLOW_ALARM_PERCENT,
    OVERFLOW_EVICTIONS,
    OVERFLOW_LIVE_ENTRIES,
    OVERFLOW_REFUSALS,
    PROTECT_BULKHEAD_REFUSALS,
    PROTECT_SECONDS,
    PROTECT_CALLS,
    PROTECT_RETRIES_REFUSED,
    PROTECT_RETRIES,
    RECOVERY_ARMED,
    RECOVERY_PACE_FALLBACKS,
    RECOVERY_PROBES,
    RECOVERY_REPLAYS,
    RECOVERY_SIGNALS,
    RECOVERY_SWEEPS,
    SPOOL_BYTES,
    SPOOL_MAX_BYTES,
    SPOOL_OLDEST,
    SPOOL_RECORDS,
    SPOOL_SET_ASIDE,
    STORE_ENTRIES,
    STORE_LIVE_ENTRIES,
    STORE_UNSEALED_RECORDS,
    STORE_UP,
    TASK_PANICS,
    WORKER_RESTARTS,
];

pub(crate) fn counter(of: Metric, n: u64) {
    ::metrics::counter!(of.name).increment(n);
}

/// Sets a gauge. Sizes beyond 2^53 lose their last digits.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
pub(crate) fn gauge(of: Metric, value: u64) {
    ::metrics::gauge!(of.name).set(value as f64);
}

/// Moves a gauge by a difference, since differences may arrive in any order.
#[expect(clippy::cast_precision_loss, reason = "gauges are floating-point numbers")]
pub(crate) fn held(account: &'static str, n: u64, more: bool) {
    let gauge = ::metrics::gauge!(CAPTURE_HELD.name, "account" => account);
    if more { gauge.increment(n as f64) } else { gauge.decrement(n as f64) }
}

pub(crate) fn settled(account: &'static str, n: u64) {
    ::metrics::counter!(CAPTURE_SETTLED.name, "account" => account).increment(n);
}

pub(crate) fn rejected(reason: &'static str, n: u64) {
    ::metrics::counter!(CAPTURE_REJECTED.name, "reason" => reason).increment(n);
}

pub(crate) fn dropped(domain: &Domain, reason: &'static str, n: u64) {
    let domain = domain.as_str().to_owned();
    ::metrics::counter!(CAPTURE_DROPPED.name, "domain" => domain, "reason" => reason).increment(n);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_in_order_and_names_follow_the_rule() {
        assert!(ALL.is_sorted_by(|a, b| a.name < b.name), "sorted, without twins");
        for metric in ALL {
            assert!(metric.name.starts_with("baldur_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter);
        }
    }
}
