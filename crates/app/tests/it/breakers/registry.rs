//! The breakers of one process.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

use baldur_app::{Who, breakers::UnknownBreaker};
use baldur_contract::ManualClock;
use baldur_core::{
    name::ServiceName,
    policy::{BreakerPolicy, BreakerSettings, BreakerState, BreakerWindow, CallOutcome},
    port::{ForcedBreaker, ForcedState},
};
use tokio::sync::Barrier;

use super::{SECOND, breakers, call, fail_until_open, gateway, heard, policy};
use BreakerState::{Closed, HalfOpen, Open};

const OPEN: ForcedBreaker =
    ForcedBreaker { state: ForcedState::Open, lasts: Some(SECOND.saturating_mul(60)) };

#[test]
fn one_name_is_one_breaker_with_the_policy_that_came_first() {
    let clock = Arc::new(ManualClock::default());
    let (breakers, first) = breakers(&clock);
    let again = breakers.clone().get(&gateway(), BreakerPolicy::default());
    assert_eq!(again.policy(), policy());
    fail_until_open(&first);
    assert_eq!(again.state(), Open);
    let other = ServiceName::parse("mail").expect("a name");
    assert_eq!(breakers.get(&other, policy()).state(), Closed);
    let states = breakers.states();
    let states: Vec<_> = states.iter().map(|s| (s.name.as_str(), s.state)).collect();
    assert_eq!(states, [("gateway", Open), ("mail", Closed)]);
}

#[test]
fn every_change_is_told_in_order() {
    let clock = Arc::new(ManualClock::default());
    let (breakers, breaker) = breakers(&clock);
    let mut events = breakers.subscribe();
    fail_until_open(&breaker);
    let rejection = breaker.admit().expect_err("it is open");
    assert_eq!((rejection.retry_in, rejection.forced), (SECOND * 10, false));
    clock.advance(SECOND * 10);
    for _ in 0..2 {
        let permit = breaker.admit().expect("a probe");
        assert!(permit.is_probe());
        permit.end(CallOutcome::Success);
    }
    let told = heard(&mut events);
    assert_eq!(
        told,
        [
            (Closed, Open, false, false),
            (Open, HalfOpen, false, false),
            (HalfOpen, Closed, false, false)
        ]
    );
}

#[test]
fn a_dropped_permit_counts_for_nothing() {
    let clock = Arc::new(ManualClock::default());
    let (_, breaker) = breakers(&clock);
    for _ in 0..50 {
        call(&breaker, CallOutcome::Failure);
        drop(breaker.admit().expect("admitted"));
        call(&breaker, CallOutcome::Success);
        call(&breaker, CallOutcome::Success);
    }
    assert_eq!(breaker.state(), Closed);
}

#[test]
fn the_time_between_admission_and_end_decides_about_slowness() {
    let clock = Arc::new(ManualClock::default());
    let (breakers, _) = breakers(&clock);
    let slow_calls = Some(baldur_core::policy::SlowCalls { threshold: SECOND, rate: 0.5 });
    let settings = BreakerSettings {
        slow_calls,
        window: BreakerWindow::Time { length: SECOND * 60, buckets: 60 },
        minimum_calls: 4,
        ..BreakerSettings::default()
    };
    let name = ServiceName::parse("slow").expect("a name");
    let breaker = breakers.get(&name, BreakerPolicy::new(settings).expect("valid"));
    for slow in [false, true, false, true] {
        assert_eq!(breaker.state(), Closed);
        let permit = breaker.admit().expect("admitted");
        clock.advance(if slow { SECOND } else { SECOND / 2 });
        permit.end(CallOutcome::Success);
    }
    assert_eq!(breaker.state(), Open);
}

#[test]
fn an_order_is_obeyed_until_it_ends_and_told() {
    let clock = Arc::new(ManualClock::default());
    let (breakers, breaker) = breakers(&clock);
    let mut events = breakers.subscribe();
    breakers.force(&gateway(), OPEN, &Who::system()).expect("known");
    let rejection = breaker.admit().expect_err("ordered");
    assert_eq!((rejection.retry_in, rejection.forced), (SECOND * 60, true));
    clock.advance(SECOND * 20);
    let status = breaker.status();
    assert_eq!((status.state, status.own), (Open, Closed));
    assert_eq!(status.forced.and_then(|forced| forced.lasts), Some(SECOND * 40));
    clock.advance(SECOND * 40);
    call(&breaker, CallOutcome::Success);
    assert_eq!(heard(&mut events), [(Closed, Open, true, false), (Open, Closed, false, false)]);
}

#[test]
fn a_lifted_order_gives_way_to_the_breakers_own_state() {
    let clock = Arc::new(ManualClock::default());
    let (breakers, breaker) = breakers(&clock);
    fail_until_open(&breaker);
    let mut events = breakers.subscribe();
    let closed = ForcedBreaker { state: ForcedState::Closed, lasts: None };
    breakers.force(&gateway(), closed, &Who::system()).expect("known");
    for _ in 0..10 {
        call(&breaker, CallOutcome::Failure);
    }
    breakers.lift(&gateway(), &Who::system()).expect("known");
    assert_eq!(breaker.admit().expect_err("open again").retry_in, SECOND * 10);
    assert_eq!(heard(&mut events), [(Open, Closed, true, false), (Closed, Open, false, false)]);
}

#[test]
fn an_order_for_an_unknown_breaker_is_refused() {
    let clock = Arc::new(ManualClock::default());
    let (breakers, _) = breakers(&clock);
    let name = ServiceName::parse("mail").expect("a name");
    let refused = breakers.force(&name, OPEN, &Who::system());
    assert_eq!(refused, Err(UnknownBreaker(name.clone())));
    assert_eq!(breakers.lift(&name, &Who::system()), Err(UnknownBreaker(name)));
    assert_eq!(breakers.states().len(), 1);
}

/// 64 tasks on several threads: no more probes at once than the policy allows, and every permit comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_most_max_probes_run_at_once_under_64_tasks() {
    const PROBES: u32 = 3;
    let clock = Arc::new(ManualClock::default());
    let (breakers, _) = breakers(&clock);
    let settings = BreakerSettings {
        max_probes: PROBES,
        successes_to_close: 1_000,
        consecutive_failures: Some(1),
        ..BreakerSettings::default()
    };
    let name = ServiceName::parse("probed").expect("a name");
    let breaker = breakers.get(&name, BreakerPolicy::new(settings).expect("valid"));
    call(&breaker, CallOutcome::Failure);
    clock.advance(SECOND * 10);
    let (running, most, made) =
        (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default(), Arc::<AtomicU64>::default());
    let start = Arc::new(Barrier::new(64));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let breaker = breaker.clone();
        let (running, most, made, start) =
            (Arc::clone(&running), Arc::clone(&most), Arc::clone(&made), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            for _ in 0..200 {
                let Ok(permit) = breaker.admit() else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                made.fetch_add(1, Ordering::SeqCst);
                permit.end(CallOutcome::Ignored);
            }
        });
    }
    while tasks.join_next().await.transpose().expect("no task panics").is_some() {}
    assert!(most.load(Ordering::SeqCst) <= PROBES);
    assert!(made.load(Ordering::SeqCst) > 0);
    assert_eq!(breaker.state(), HalfOpen);
    let permits: Vec<_> = (0..PROBES).map(|_| breaker.admit().expect("all came back")).collect();
    assert_eq!(permits.len(), 3);
    assert!(breaker.admit().is_err());
}
