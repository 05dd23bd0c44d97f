//! Metrics of what hosts captured in their own transactions.

use super::{Kind, Metric};

/// Operations that were taken from the intake.
pub const INTAKE_OPERATIONS: Metric = Metric {
    name: "baldur_intake_operations_total",
    kind: Kind::Counter,
    labels: &["outcome"],
    help: "Operations of hosts' own transactions that were taken up: kept, refused for good, or waits, which comes again.",
};

/// Turns of the intake.
pub const INTAKE_TURNS: Metric = Metric {
    name: "baldur_intake_turns_total",
    kind: Kind::Counter,
    labels: &["answer"],
    help: "Looks at the operations of hosts' own transactions, by answer of the store: ok, failed, timeout.",
};
