//! The metrics of one guard, with their keys made once: the way of a good call allocates nothing for them.

use std::{sync::Arc, time::Duration};

use baldur_core::name::ServiceName;
use metrics::{Key, Label, Level, Metadata, SharedString};

use crate::metrics::{
    Metric, PROTECT_BULKHEAD_REFUSALS, PROTECT_CALLS, PROTECT_RETRIES, PROTECT_RETRIES_REFUSED,
    PROTECT_SECONDS,
};

const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// How a logical call ended, as its metric says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Success,
    Rejected,
    Permanent,
    Failed,
    Timeout,
    Deadline,
    CircuitOpen,
    BulkheadFull,
    Dropped,
}

impl Ended {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Success, "success"),
        (Self::Rejected, "rejected"),
        (Self::Permanent, "permanent"),
        (Self::Failed, "failed"),
        (Self::Timeout, "timeout"),
        (Self::Deadline, "deadline"),
        (Self::CircuitOpen, "circuit_open"),
        (Self::BulkheadFull, "bulkhead_full"),
        (Self::Dropped, "dropped"),
    ];
}

/// Why a transient failure was not tried again, although tries were left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRetry {
    Budget,
    Deadline,
    Breaker,
    RetryAfter,
}

impl NoRetry {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Budget, "budget"),
        (Self::Deadline, "deadline"),
        (Self::Breaker, "breaker"),
        (Self::RetryAfter, "retry_after"),
    ];
}

#[derive(Debug)]
pub(super) struct Meter {
    calls: [Key; Ended::ALL.len()],
    seconds: Key,
    retries: Key,
    refused: [Key; NoRetry::ALL.len()],
    bulkhead: Key,
}

impl Meter {
    pub(super) fn new(dependency: &ServiceName) -> Self {
        let dependency = SharedString::from(Arc::<str>::from(dependency.as_str()));
        let labels = vec![Label::new("dependency", dependency)];
        let key = |metric: Metric| Key::from_parts(metric.name, labels.clone());
        let labelled = |metric: Metric, label, value| {
            let value = Label::from_static_parts(label, value);
            Key::from_parts(metric.name, [labels.clone(), vec![value]].concat())
        };
        Self {
            calls: Ended::ALL.map(|(_, name)| labelled(PROTECT_CALLS, "outcome", name)),
            seconds: key(PROTECT_SECONDS),
            retries: key(PROTECT_RETRIES),
            refused: NoRetry::ALL.map(|(_, name)| labelled(PROTECT_RETRIES_REFUSED, "by", name)),
            bulkhead: key(PROTECT_BULKHEAD_REFUSALS),
        }
    }

    /// A logical call ended.
    pub(super) fn call(&self, ended: Ended, took: Duration) {
        if let Some(at) = Ended::ALL.iter().position(|(this, _)| *this == ended) {
            count(&self.calls[at]);
        }
        if ended == Ended::BulkheadFull {
            count(&self.bulkhead);
        }
        metrics::with_recorder(|recorder| {
            recorder.register_histogram(&self.seconds, &METADATA).record(took.as_secs_f64());
        });
    }

    pub(super) fn retry(&self) {
        count(&self.retries);
    }

    pub(super) fn no_retry(&self, by: NoRetry) {
        if let Some(at) = NoRetry::ALL.iter().position(|(this, _)| *this == by) {
            count(&self.refused[at]);
        }
    }
}

fn count(key: &Key) {
    metrics::with_recorder(|recorder| recorder.register_counter(key, &METADATA).increment(1));
}
