//! Every metric of Baldur: its name, kind, labels and meaning.
//!
//! They go through the `metrics` facade: without a recorder of the host they cost next to nothing, and `baldur serve`
//! installs one. Names are `baldur_<area>_<thing>_<unit>`, counters end with `_total`, times are seconds, sizes are bytes.
//! Labels take few values: words of this catalogue, and domains and dependencies, of which capture admits few.

use baldur_core::name::Domain;

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

/// Captures that were begun here or found in the spool.
pub const CAPTURE_OFFERED: Metric = Metric {
    name: "baldur_capture_offered_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Captures that were begun, and records of earlier processes that were found in the spool.",
};

/// Captures that are under way.
pub const CAPTURE_HELD: Metric = Metric {
    name: "baldur_capture_held_entries",
    kind: Kind::Gauge,
    labels: &["account"],
    help: "Captures under way, by account: queued, in_flight, spooled, unknown.",
};

/// Captures that the store has.
pub const CAPTURE_SETTLED: Metric = Metric {
    name: "baldur_capture_settled_total",
    kind: Kind::Counter,
    labels: &["account"],
    help: "Captures that the store has, by account: stored, merged.",
};

/// Captures that were certainly not kept.
pub const CAPTURE_REJECTED: Metric = Metric {
    name: "baldur_capture_rejected_total",
    kind: Kind::Counter,
    labels: &["reason"],
    help: "Captures that were certainly not kept, by reason.",
};

/// Captures that were thrown away.
pub const CAPTURE_DROPPED: Metric = Metric {
    name: "baldur_capture_dropped_total",
    kind: Kind::Counter,
    labels: &["domain", "reason"],
    help: "Captures that were thrown away, by domain and reason: newest, oldest, shutdown, spool_damaged.",
};

/// Whether captures ask the store.
pub const CAPTURE_STORE_UP: Metric = Metric {
    name: "baldur_capture_store_up",
    kind: Kind::Gauge,
    labels: &[],
    help: "1 while captures go to the store, 0 while they go to the spool because the store failed.",
};

/// Records that left the spool.
pub const DRAIN_RECORDS: Metric = Metric {
    name: "baldur_drain_records_total",
    kind: Kind::Counter,
    labels: &["answer"],
    help: "Records that left the spool, by answer: stored, merged, set_aside.",
};

/// Batches of the spool that the store did not take.
pub const DRAIN_FAILURES: Metric = Metric {
    name: "baldur_drain_failures_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Batches of spooled records that the store or the spool failed at; they are tried again.",
};

/// What the outbox holds, in entries.
pub const OUTBOX_ENTRIES: Metric = Metric {
    name: "baldur_outbox_entries",
    kind: Kind::Gauge,
    labels: &[],
    help: "Captures in the outbox, those under way included.",
};

/// What the outbox holds, in bytes.
pub const OUTBOX_BYTES: Metric = Metric {
    name: "baldur_outbox_bytes",
    kind: Kind::Gauge,
    labels: &[],
    help: "Bytes of the captures in the outbox.",
};

/// How long the oldest capture has waited in the outbox.
pub const OUTBOX_OLDEST: Metric = Metric {
    name: "baldur_outbox_oldest_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "How long the oldest capture has waited in the outbox.",
};

/// Alarms of the outbox.
pub const OUTBOX_ALARMS: Metric = Metric {
    name: "baldur_outbox_alarms_total",
    kind: Kind::Counter,
    labels: &["alarm"],
    help: "Alarms that the outbox raised: full, old, dropping. Each can be raised again after it was cleared.",
};

/// Restarts of the tasks that move captures.
pub const WORKER_RESTARTS: Metric = Metric {
    name: "baldur_worker_restarts_total",
    kind: Kind::Counter,
    labels: &["worker"],
    help: "Background tasks that ended by a fault and were started again: outbox, drainer.",
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

/// Claims that ran out and were ended by housekeeping.
pub const CLAIMS_LAPSED: Metric = Metric {
    name: "baldur_claims_lapsed_total",
    kind: Kind::Counter,
    labels: &["status"],
    help: "Claims that ran out and were ended in the background, by where their entries stand now.",
};

/// Turns of housekeeping.
pub const HOUSEKEEPING_TURNS: Metric = Metric {
    name: "baldur_housekeeping_turns_total",
    kind: Kind::Counter,
    labels: &["answer"],
    help: "Turns of the background housekeeping, by answer of the store: ok, failed, timeout.",
};

/// Whether recovery would replay what waits.
pub const RECOVERY_ARMED: Metric = Metric {
    name: "baldur_recovery_armed",
    kind: Kind::Gauge,
    labels: &["dependency", "domain"],
    help: "1 where automatic recovery would replay the entries that wait, 0 where something is missing.",
};

/// Paces that could not be shared.
pub const RECOVERY_PACE_FALLBACKS: Metric = Metric {
    name: "baldur_recovery_pace_fallbacks_total",
    kind: Kind::Counter,
    labels: &["dependency"],
    help: "Times that the store of shared paces failed, so that a sweep went on at a slower pace of its own.",
};

/// Probes.
pub const RECOVERY_PROBES: Metric = Metric {
    name: "baldur_recovery_probes_total",
    kind: Kind::Counter,
    labels: &["dependency", "answer"],
    help: "Probes of dependencies by answer: ok, failed, timeout.",
};

/// Replays of sweeps.
pub const RECOVERY_REPLAYS: Metric = Metric {
    name: "baldur_recovery_replays_total",
    kind: Kind::Counter,
    labels: &["dependency", "outcome"],
    help: "Replays by automatic recovery as they ended: succeeded, failed, deferred.",
};

/// Signals that a dependency is back.
pub const RECOVERY_SIGNALS: Metric = Metric {
    name: "baldur_recovery_signals_total",
    kind: Kind::Counter,
    labels: &["dependency", "signal", "answer"],
    help: "Signals that a dependency is back, and whether they were taken or why not: disarmed, under_way, no_room, not_running.",
};

/// Sweeps.
pub const RECOVERY_SWEEPS: Metric = Metric {
    name: "baldur_recovery_sweeps_total",
    kind: Kind::Counter,
    labels: &["dependency", "ended"],
    help: "Passes over the entries of a dependency by how they ended: drained, failing, went_down, closed, store_failed, broken.",
};

/// Background tasks that panicked.
pub const TASK_PANICS: Metric = Metric {
    name: "baldur_task_panics_total",
    kind: Kind::Counter,
    labels: &["task"],
    help: "Background tasks that panicked and were begun again: recovery, breakers, probe, housekeeping.",
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
