//! Breakers: one for each dependency, with events, orders and states that processes share.

mod calm;
mod registry;

use std::{sync::Arc, time::Duration};

use baldur_app::{Breakers, Env, ManagedBreaker, breakers::BreakerEvent};
use baldur_contract::{ManualClock, SeededIdGen};
use baldur_core::{
    Clock,
    name::{Namespace, ServiceName, WorkerName},
    policy::{BreakerPolicy, BreakerSettings, BreakerState, CallOutcome},
};
use tokio::sync::broadcast::Receiver;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn env(clock: &Arc<ManualClock>) -> Env {
    Env {
        namespace: Namespace::default_namespace(),
        clock: Arc::<ManualClock>::clone(clock) as Arc<dyn Clock>,
        ids: Arc::new(SeededIdGen::new(7)),
        origin_service: ServiceName::unknown(),
        worker: WorkerName::parse("worker-1").expect("a name"),
    }
}

pub(crate) fn gateway() -> ServiceName {
    ServiceName::parse("gateway").expect("a name")
}

/// Opens at the second failure in a row, for ten seconds; two probes close it.
pub(crate) fn policy() -> BreakerPolicy {
    let settings = BreakerSettings { consecutive_failures: Some(2), ..BreakerSettings::default() };
    BreakerPolicy::new(settings).expect("valid")
}

/// A registry with the gateway's breaker.
pub(crate) fn breakers(clock: &Arc<ManualClock>) -> (Breakers, ManagedBreaker) {
    let breakers = Breakers::new(&env(clock));
    let breaker = breakers.get(&gateway(), policy());
    (breakers, breaker)
}

pub(crate) fn call(breaker: &ManagedBreaker, outcome: CallOutcome) {
    breaker.admit().expect("admitted").end(outcome);
}

pub(crate) fn fail_until_open(breaker: &ManagedBreaker) {
    while breaker.state() == BreakerState::Closed {
        call(breaker, CallOutcome::Failure);
    }
}

/// All that was told so far, without its times.
pub(crate) fn heard(
    events: &mut Receiver<BreakerEvent>,
) -> Vec<(BreakerState, BreakerState, bool, bool)> {
    std::iter::from_fn(|| events.try_recv().ok())
        .map(|BreakerEvent { from, to, forced, shared, .. }| (from, to, forced, shared))
        .collect()
}
