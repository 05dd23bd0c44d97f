//! Calls that pass a closed breaker without its lock: what they are counted as, and when.

use std::sync::Arc;

use baldur_app::{ManagedBreaker, Who, breakers::Permit};
use baldur_contract::ManualClock;
use baldur_core::{
    Clock,
    policy::{
        Admission, Breaker, BreakerPolicy, BreakerSettings, BreakerState, BreakerWindow,
        CallOutcome, SlowCalls, Ticket,
    },
    port::{ForcedBreaker, ForcedState},
};
use proptest::prelude::*;
use tokio::sync::Barrier;

use super::{SECOND, call, env, gateway};
use BreakerState::{Closed, Open};
use CallOutcome::{Dropped, Failure, Ignored, Success};

fn managed(settings: BreakerSettings, clock: &Arc<ManualClock>) -> ManagedBreaker {
    let policy = BreakerPolicy::new(settings).expect("valid");
    baldur_app::Breakers::new(&env(clock)).get(&gateway(), policy)
}

/// Opens when half of the calls of the last hours failed, and never by a row of failures.
const BY_RATE: BreakerSettings = BreakerSettings {
    window: BreakerWindow::Time { length: SECOND.saturating_mul(3600), buckets: 60 },
    minimum_calls: 1_000,
    failure_rate: 0.5,
    consecutive_failures: None,
    slow_calls: None,
    open_base: SECOND,
    open_factor: 1.0,
    open_max: SECOND,
    max_probes: 1,
    successes_to_close: 1,
    probe_timeout: SECOND,
};

/// Each thread counts for itself and fails now and then; in the end exactly the failure that makes it half opens it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_call_of_many_threads_is_lost_or_counted_twice() {
    const TASKS: usize = 16;
    const ROUNDS: usize = 100;
    let clock = Arc::new(ManualClock::default());
    let breaker = managed(BY_RATE, &clock);
    let start = Arc::new(Barrier::new(TASKS));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (breaker, start) = (breaker.clone(), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            for round in 0..ROUNDS {
                for outcome in [Success, Success, Ignored, Success, Failure] {
                    call(&breaker, outcome);
                }
                if round % 10 == 0 {
                    drop(breaker.admit().expect("closed"));
                    tokio::task::yield_now().await;
                }
            }
        });
    }
    while tasks.join_next().await.transpose().expect("no task panics").is_some() {}
    let (good, bad) = (TASKS * ROUNDS * 3, TASKS * ROUNDS);
    for failure in bad..good {
        assert_eq!(breaker.state(), Closed, "after {failure} failures of {good} good calls");
        call(&breaker, Failure);
    }
    assert_eq!(breaker.state(), Open);
}

#[test]
fn a_call_that_was_let_pass_before_the_breaker_opened_counts_for_nothing_after() {
    let clock = Arc::new(ManualClock::default());
    let settings = BreakerSettings { minimum_calls: 2, consecutive_failures: Some(2), ..BY_RATE };
    let breaker = managed(settings, &clock);
    let late: Vec<_> = (0..5).map(|_| breaker.admit().expect("closed")).collect();
    call(&breaker, Failure);
    call(&breaker, Failure);
    assert_eq!(breaker.state(), Open);
    clock.advance(SECOND);
    call(&breaker, Success);
    assert_eq!(breaker.state(), Closed);
    // Were they counted, one failure among six calls would not be half of them.
    for permit in late {
        permit.end(Success);
    }
    call(&breaker, Success);
    call(&breaker, Failure);
    assert_eq!(breaker.state(), Open);
}

#[test]
fn a_permit_may_outlive_the_borrow_it_came_from() {
    let clock = Arc::new(ManualClock::default());
    let settings = BreakerSettings { consecutive_failures: Some(1), ..BY_RATE };
    let breaker = managed(settings, &clock);
    let permit = breaker.clone().admit().expect("closed").into_owned();
    assert!(!permit.is_probe());
    std::thread::spawn(move || permit.end(Failure)).join().expect("no panic");
    assert_eq!(breaker.state(), Open);
}

#[derive(Clone, Debug)]
enum Act {
    Calls(usize, CallOutcome),
    Admit,
    End(usize, CallOutcome),
    Wait(u32),
    Force(ForcedState),
    Lift,
}

fn act() -> impl Strategy<Value = Act> {
    let outcome = || prop_oneof![4 => Just(Success), 3 => Just(Failure), 1 => Just(Ignored), 1 => Just(Dropped)];
    prop_oneof![
        8 => (1_usize..10, outcome()).prop_map(|(count, outcome)| Act::Calls(count, outcome)),
        3 => Just(Act::Admit),
        3 => (any::<usize>(), outcome()).prop_map(|(index, outcome)| Act::End(index, outcome)),
        4 => (0_u32..1_500).prop_map(Act::Wait),
        1 => prop::sample::select(&ForcedState::ALL).prop_map(Act::Force),
        1 => Just(Act::Lift),
    ]
}

/// The breaker with its clock and its lock, and the state machine alone.
struct Pair<'b> {
    managed: &'b ManagedBreaker,
    plain: Breaker,
    clock: Arc<ManualClock>,
    under_way: Vec<(Permit<'b>, Ticket, std::time::Duration)>,
}

impl Pair<'_> {
    fn admit(&mut self) -> Result<bool, TestCaseError> {
        let now = self.clock.mono();
        match (self.managed.admit(), self.plain.admit(now).admission) {
            (Ok(permit), Admission::Allowed { probe, ticket }) => {
                prop_assert_eq!(permit.is_probe(), probe);
                self.under_way.push((permit, ticket, now));
                Ok(true)
            }
            (Err(rejection), Admission::Rejected { retry_in }) => {
                prop_assert_eq!(rejection.retry_in, retry_in);
                Ok(false)
            }
            (managed, plain) => Err(TestCaseError::fail(format!("{managed:?} is not {plain:?}"))),
        }
    }

    fn end(&mut self, index: usize, outcome: CallOutcome) {
        let (permit, ticket, started) = self.under_way.swap_remove(index);
        let now = self.clock.mono();
        permit.end(outcome);
        self.plain.record(ticket, outcome, now.saturating_sub(started), now);
    }
}

fn settings() -> impl Strategy<Value = BreakerSettings> {
    let rates = (0.2_f64..1.0, prop::option::of(0.2_f64..1.0));
    (1_u32..10, any::<bool>(), 1_u32..10, rates, prop::option::of(1_u32..6)).prop_map(
        |(size, by_time, minimum, (failure_rate, slow), consecutive_failures)| {
            let time = BreakerWindow::Time { length: SECOND * size, buckets: size };
            BreakerSettings {
                window: if by_time { time } else { BreakerWindow::Calls(size) },
                minimum_calls: minimum.min(size),
                failure_rate,
                consecutive_failures,
                slow_calls: slow.map(|rate| SlowCalls { threshold: SECOND, rate }),
                ..BY_RATE
            }
        },
    )
}

proptest! {
    #[test]
    fn it_decides_as_the_state_machine_alone(
        settings in settings(),
        acts in prop::collection::vec(act(), 1..120),
    ) {
        let clock = Arc::new(ManualClock::default());
        let policy = BreakerPolicy::new(settings).expect("valid");
        let breakers = baldur_app::Breakers::new(&env(&clock));
        let managed = breakers.get(&gateway(), policy);
        let plain = Breaker::new(policy);
        let mut pair = Pair { managed: &managed, plain, clock, under_way: Vec::new() };
        for act in acts {
            match act {
                Act::Calls(count, outcome) => {
                    for _ in 0..count {
                        if pair.admit()? {
                            pair.end(pair.under_way.len() - 1, outcome);
                        }
                    }
                }
                Act::Admit => {
                    pair.admit()?;
                }
                Act::End(index, outcome) if !pair.under_way.is_empty() => {
                    pair.end(index % pair.under_way.len(), outcome);
                }
                Act::End(..) => {}
                Act::Wait(millis) => pair.clock.advance(SECOND / 1_000 * millis),
                Act::Force(state) => {
                    let order = ForcedBreaker { state, lasts: None };
                    breakers.force(&gateway(), order, &Who::system()).expect("known");
                    pair.plain.force(state, None, pair.clock.mono());
                }
                Act::Lift => {
                    breakers.lift(&gateway(), &Who::system()).expect("known");
                    pair.plain.lift();
                }
            }
            prop_assert_eq!(managed.state(), pair.plain.effective(pair.clock.mono()));
        }
    }
}
