//! Automatic recovery: what must not be missed, and what must not be taken up twice.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use baldur_app::{
    Breakers, RecoveryPolicy, Who,
    recovery::{Phase, Signal, StopCause},
};
use baldur_core::{
    Status,
    name::WorkerName,
    policy::{BreakerPolicy, BreakerSettings, CallOutcome, ForcedState},
    port::{ForcedBreaker, ReplayOutcome},
};

use crate::{
    recovery_world::{
        Paces, Process, Switch, because_of, count_in, service, terms, until, until_rest,
    },
    world::{SECOND, TestHandler, World, failed, succeeded, virtual_time},
};

fn order(state: ForcedState) -> ForcedBreaker {
    ForcedBreaker { state, lasts: None }
}

/// Opens at the first failure, and closes after the first success.
fn touchy() -> BreakerPolicy {
    let settings = BreakerSettings {
        consecutive_failures: Some(1),
        successes_to_close: 1,
        ..BreakerSettings::default()
    };
    BreakerPolicy::new(settings).expect("valid")
}

#[tokio::test(start_paused = true)]
async fn what_one_process_tried_a_moment_ago_no_other_one_brings_forward() {
    let world = World::new();
    let ids = world.captured_at_once(because_of("gateway", 200)).await;
    let (handler, registry) = TestHandler::new(move |op, _| {
        let asked = ids.iter().position(|id| *id == op.id).is_some_and(|at| at % 3 == 0);
        async move {
            virtual_time(Duration::from_millis(30)).await;
            let retry_after = Some(SECOND * 1_800);
            let failed = ReplayOutcome::Failed { error: "429".to_owned(), retry_after };
            if asked { failed } else { succeeded() }
        }
    })
    .handles("payment");
    let pace = Paces::new(&world);
    let mut other_world = world.clone();
    other_world.env.worker = WorkerName::parse("worker-2").expect("a name");
    let process = |world| {
        let process = Process::new(world, registry.clone());
        let policy = RecoveryPolicy { stop_below: 0.0, ..terms() };
        Process { pace: Some(Arc::clone(&pace)), policy, ..process }.started()
    };
    let (one, other) = (process(&world), process(&other_world));
    for recovery in [&one, &other] {
        recovery.notice(&service("gateway"), Signal::BreakerClosed);
    }
    virtual_time(SECOND * 300).await;
    let mut calls = BTreeMap::new();
    for (id, ..) in handler.calls() {
        *calls.entry(id).or_insert(0) += 1;
    }
    assert_eq!(calls.len(), 200);
    let twice = calls.values().filter(|count| **count > 1).count();
    assert_eq!(twice, 0, "entries were tried again although their target asked for half an hour");
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_closed_behind_an_order_is_back_when_the_order_ends() {
    let world = World::new();
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let breakers = Breakers::new(&world.env);
    let breaker = breakers.get(&service("gateway"), touchy());
    let process = Process { breakers: Some(breakers.clone()), ..Process::new(&world, registry) };
    let recovery = process.started();
    breaker.admit().expect("let through").end(CallOutcome::Failure);
    world.captured(because_of("gateway", 5)).await;
    until(|| recovery.status(&service("gateway")).is_some_and(|status| status.is_down)).await;
    let mut probe = breaker.admit();
    while probe.is_err() {
        virtual_time(SECOND).await;
        probe = breaker.admit();
    }
    let who = Who::system();
    breakers.force(&service("gateway"), order(ForcedState::Closed), &who).expect("known");
    probe.expect("let through").end(CallOutcome::Success);
    virtual_time(SECOND * 30).await;
    breakers.lift(&service("gateway"), &who).expect("known");
    until(|| handler.calls().len() == 5).await;
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
}

#[tokio::test(start_paused = true)]
async fn an_outage_whose_events_were_all_missed_is_caught_up_with() {
    let world = World::new();
    world.captured(because_of("gateway", 5)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let breakers = Breakers::new(&world.env);
    for name in ["gateway", "ledger"] {
        breakers.get(&service(name), touchy());
    }
    let process = Process { breakers: Some(breakers.clone()), ..Process::new(&world, registry) };
    let _recovery = process.started();
    virtual_time(SECOND).await;
    // All of it in one go, so that nobody can listen meanwhile.
    let flap = |name: &str| {
        let who = Who::system();
        breakers.force(&service(name), order(ForcedState::Open), &who).expect("known");
        breakers.lift(&service(name), &who).expect("known");
    };
    flap("gateway");
    (0..600).for_each(|_| flap("ledger"));
    until(|| handler.calls().len() == 5).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_captured_after_a_sweep_is_replayed_when_the_probe_goes_on_to_answer() {
    let world = World::new();
    world.captured(because_of("gateway", 5)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let switch = Arc::new(Switch::default());
    switch.is_up.store(true, Ordering::SeqCst);
    let probes = vec![(service("gateway"), Arc::clone(&switch) as _)];
    let recovery = Process { probes, ..Process::new(&world, registry) }.started();
    until(|| handler.calls().len() == 5).await;
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    // Such as what was spooled during the outage and comes in when all is over.
    world.captured(because_of("gateway", 3)).await;
    until(|| handler.calls().len() == 8).await;
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    assert_eq!(count_in(&world, Status::Resolved).await, 8);
}

#[tokio::test(start_paused = true)]
async fn closing_may_take_for_ever() {
    let world = World::new();
    let (_, registry) = TestHandler::always(succeeded()).handles("payment");
    let recovery = Process::new(&world, registry).started();
    assert_eq!(recovery.close(Duration::MAX).await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_person_waits_for_nothing_although_a_sweep_is_about_to_begin() {
    let world = World::new();
    world.captured_at_once(because_of("gateway", 200)).await;
    let (handler, registry) = TestHandler::always(failed()).handles("payment");
    let recovery = Process::new(&world, registry).started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Stopped(StopCause::Failing));
    let calls = handler.calls().len();
    // It failed a moment ago, so it is spared for twenty seconds, unless a person knows better.
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    virtual_time(SECOND * 2).await;
    assert_eq!(handler.calls().len(), calls);
    recovery.notice(&service("gateway"), Signal::Manual);
    virtual_time(SECOND * 2).await;
    assert!(handler.calls().len() > calls);
}
