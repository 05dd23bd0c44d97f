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

/// All of them, in order of name.
pub const ALL: &[Metric] = &[
    BREAKER_CHANGES,
    BREAKER_REJECTIONS,
    BREAKER_STATE,
    BREAKER_STORE_FAILURES,
    CAPTURES,
    CLAIMS_LAPSED,
    HOUSEKEEPING_TURNS,
    RECOVERY_ARMED,
    RECOVERY_PACE_FALLBACKS,
    RECOVERY_PROBES,
    RECOVERY_REPLAYS,
    RECOVERY_SIGNALS,
    RECOVERY_SWEEPS,
    TASK_PANICS,
];
