//! Metrics of the way to the store: outbox, spool and drainer.

use super::{Kind, Metric};

/// Records that left the spool.
pub const DRAIN_RECORDS: Metric = Metric {
    name: "baldur_drain_records_total",
    kind: Kind::Counter,
    labels: &["answer"],
    help: "Records that left the spool, by answer: stored, merged, set_aside, parked.",
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

/// Records that wait in the spool.
pub const SPOOL_RECORDS: Metric = Metric {
    name: "baldur_spool_records",
    kind: Kind::Gauge,
    labels: &[],
    help: "Records that wait in the spool, in all lanes that this process holds.",
};

/// What the spool holds, in bytes.
pub const SPOOL_BYTES: Metric = Metric {
    name: "baldur_spool_bytes",
    kind: Kind::Gauge,
    labels: &[],
    help: "Bytes of the spool's files, in all lanes that this process holds.",
};

/// How many bytes the spool may have.
pub const SPOOL_MAX_BYTES: Metric = Metric {
    name: "baldur_spool_max_bytes",
    kind: Kind::Gauge,
    labels: &[],
    help: "How many bytes the spool may have.",
};

/// How long the oldest record has waited.
pub const SPOOL_OLDEST: Metric = Metric {
    name: "baldur_spool_oldest_seconds",
    kind: Kind::Gauge,
    labels: &[],
    help: "How long the oldest record has waited in the spool; 0 when none waits.",
};

/// What was put aside.
pub const SPOOL_SET_ASIDE: Metric = Metric {
    name: "baldur_spool_set_aside",
    kind: Kind::Gauge,
    labels: &[],
    help: "Files and records that the spool put aside for people to look at: damaged, foreign, refused by the store for good, or failed at by it again and again.",
};
