//! Metrics of automatic recovery and other background work.

use super::{Kind, Metric};

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
