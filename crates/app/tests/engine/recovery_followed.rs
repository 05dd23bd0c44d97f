//! Automatic recovery in a process that never calls the dependency, beside one that does.

use std::{sync::Arc, time::Duration};

use baldur_app::{
    Breakers, Recovery, Who, breakers::SyncPolicy, recovery::Phase, replay::HandlerRegistry,
};
use baldur_core::{
    Status,
    policy::BreakerPolicy,
    port::{ForcedBreaker, ForcedState, ReplayOutcome},
};
use tokio_util::sync::CancellationToken;

use crate::{
    recovery_world::{Process, because_of, count_in, service, until, until_rest},
    world::{SECOND, TestHandler, World, succeeded, virtual_time},
};

/// The breakers of one process.
fn shared(world: &World) -> Breakers {
    let breakers = Breakers::new(&world.env);
    let store = Arc::new(world.store.clone());
    let cancel = CancellationToken::new();
    breakers.share(store, SyncPolicy::default(), cancel).expect("shared once");
    breakers
}

/// One whose gateway is down by an order, and recovery elsewhere that knows of it.
async fn down_elsewhere(world: &World, registry: HandlerRegistry) -> (Breakers, Recovery) {
    let host = shared(world);
    host.get(&service("gateway"), BreakerPolicy::default());
    let here = shared(world);
    let process = Process { breakers: Some(here.clone()), ..Process::new(world, registry) };
    let recovery = process.started();
    goes_down(&host);
    until(|| is_down(&recovery)).await;
    assert_eq!(here.states(), [], "it has no breaker of its own");
    (host, recovery)
}

fn is_down(recovery: &Recovery) -> bool {
    recovery.status(&service("gateway")).is_some_and(|status| status.is_down)
}

fn goes_down(host: &Breakers) {
    let order = ForcedBreaker { state: ForcedState::Open, lasts: None };
    host.force(&service("gateway"), order, &Who::system()).expect("known");
}

fn comes_back(host: &Breakers) {
    host.lift(&service("gateway"), &Who::system()).expect("known");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_closes_elsewhere_begins_a_sweep_of_its_dependency_alone() {
    let world = World::new();
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let (host, recovery) = down_elsewhere(&world, registry).await;
    world.captured(because_of("gateway", 5)).await;
    world.captured(because_of("ledger", 3)).await;
    virtual_time(SECOND * 30).await;
    assert_eq!(handler.calls().len(), 0, "it is down");
    comes_back(&host);
    until(|| handler.calls().len() == 5).await;
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    assert_eq!(count_in(&world, Status::Resolved).await, 5);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_elsewhere_stops_the_sweep() {
    let world = World::new();
    let (handler, registry) = TestHandler::new(|_, _| async {
        virtual_time(Duration::from_millis(100)).await;
        ReplayOutcome::Succeeded { note: String::new() }
    })
    .handles("payment");
    let (host, recovery) = down_elsewhere(&world, registry).await;
    world.captured_at_once(because_of("gateway", 1_000)).await;
    comes_back(&host);
    until(|| handler.calls().len() >= 5).await;
    goes_down(&host);
    until(|| is_down(&recovery)).await;
    let calls = handler.calls().len();
    assert!(calls < 1_000, "{calls} calls");
    virtual_time(SECOND * 60).await;
    assert_eq!(handler.calls().len(), calls, "it went on");
    comes_back(&host);
    until(|| handler.calls().len() > calls).await;
}
