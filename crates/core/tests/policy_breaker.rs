//! The circuit breaker, by examples.

use std::time::Duration;

use BreakerState::{Closed, HalfOpen, Open};
use CallOutcome::{Dropped, Failure, Ignored, Success};
use baldur_core::policy::breaker::{
    Admission, Admitted, Breaker, BreakerChange, BreakerPolicy, BreakerSettings, BreakerState,
    BreakerWindow, CallOutcome, ForcedState, SlowCalls, Ticket, Told,
};

const FAST: Duration = Duration::from_millis(1);

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const SETTINGS: BreakerSettings = BreakerSettings {
    window: BreakerWindow::Calls(10),
    minimum_calls: 4,
    failure_rate: 0.5,
    consecutive_failures: None,
    slow_calls: None,
    open_base: at(10),
    open_factor: 2.0,
    open_max: at(30),
    max_probes: 2,
    successes_to_close: 2,
    probe_timeout: at(60),
};

fn breaker(settings: BreakerSettings) -> Breaker {
    Breaker::new(BreakerPolicy::new(settings).expect("the settings are in range"))
}

fn ticket(breaker: &mut Breaker, now: Duration) -> Ticket {
    match breaker.admit(now).admission {
        Admission::Allowed { ticket, .. } => ticket,
        Admission::Rejected { retry_in } => panic!("rejected for {retry_in:?}"),
    }
}

fn retry_in(breaker: &mut Breaker, now: Duration) -> Duration {
    match breaker.admit(now).admission {
        Admission::Allowed { .. } => panic!("allowed"),
        Admission::Rejected { retry_in } => retry_in,
    }
}

fn call(breaker: &mut Breaker, outcome: CallOutcome, now: Duration) -> Option<BreakerChange> {
    let ticket = ticket(breaker, now);
    breaker.record(ticket, outcome, FAST, now)
}

fn opened(settings: BreakerSettings) -> Breaker {
    let mut breaker = breaker(BreakerSettings { consecutive_failures: Some(1), ..settings });
    assert_eq!(call(&mut breaker, Failure, at(0)), Some(BreakerChange { from: Closed, to: Open }));
    breaker
}

#[test]
fn too_many_failures_open_it_once_there_are_enough_calls() {
    let mut breaker = breaker(SETTINGS);
    for outcome in [Failure, Ignored, Failure, Dropped, Failure] {
        assert_eq!(call(&mut breaker, outcome, at(1)), None);
    }
    let change = call(&mut breaker, Success, at(1));
    assert_eq!(change, Some(BreakerChange { from: Closed, to: Open }));
    assert_eq!(retry_in(&mut breaker, at(4)), at(7));
}

#[test]
fn failures_in_a_row_open_it_before_the_minimum() {
    let mut breaker = breaker(BreakerSettings { consecutive_failures: Some(2), ..SETTINGS });
    assert_eq!(call(&mut breaker, Failure, at(0)), None);
    assert!(call(&mut breaker, Failure, at(0)).is_some());
}

#[test]
fn slow_calls_open_it() {
    let slow_calls = Some(SlowCalls { threshold: at(1), rate: 1.0 });
    let mut breaker = breaker(BreakerSettings { slow_calls, ..SETTINGS });
    for count in 1..=4 {
        let ticket = ticket(&mut breaker, at(0));
        assert_eq!(breaker.record(ticket, Success, at(1), at(1)).is_some(), count == 4);
    }
}

#[test]
fn successful_probes_close_it() {
    let mut breaker = opened(SETTINGS);
    let Admitted { admission, change } = breaker.admit(at(10));
    assert_eq!(change, Some(BreakerChange { from: Open, to: HalfOpen }));
    let Admission::Allowed { probe: true, ticket: first } = admission else { panic!("no probe") };
    let second = ticket(&mut breaker, at(10));
    assert_eq!(retry_in(&mut breaker, at(10)), at(10));
    assert_eq!(breaker.record(first, Success, FAST, at(11)), None);
    let change = breaker.record(second, Success, FAST, at(11));
    assert_eq!(change, Some(BreakerChange { from: HalfOpen, to: Closed }));
}

#[test]
fn a_failed_probe_opens_it_for_longer_up_to_the_maximum() {
    let mut breaker = opened(SETTINGS);
    let mut now = at(0);
    for open_for in [10, 20, 30, 30] {
        assert_eq!(retry_in(&mut breaker, now), at(open_for));
        now += at(open_for);
        assert_eq!(
            call(&mut breaker, Failure, now),
            Some(BreakerChange { from: HalfOpen, to: Open })
        );
    }
}

#[test]
fn a_dropped_probe_gives_its_permit_back() {
    let mut breaker = opened(BreakerSettings { max_probes: 1, ..SETTINGS });
    for _ in 0..5 {
        assert_eq!(call(&mut breaker, Dropped, at(10)), None);
    }
    assert_eq!(breaker.state(), HalfOpen);
}

#[test]
fn a_lost_probe_opens_it_again_after_its_timeout() {
    let mut breaker = opened(BreakerSettings { max_probes: 1, ..SETTINGS });
    let lost = ticket(&mut breaker, at(10));
    assert_eq!(retry_in(&mut breaker, at(69)), at(1));
    let Admitted { admission, change } = breaker.admit(at(70));
    assert_eq!(change, Some(BreakerChange { from: HalfOpen, to: Open }));
    assert_eq!(admission, Admission::Rejected { retry_in: at(20) });
    assert_eq!(breaker.record(lost, Success, FAST, at(71)), None);
}

#[test]
fn a_late_result_changes_nothing() {
    let mut breaker = breaker(BreakerSettings { consecutive_failures: Some(1), ..SETTINGS });
    let (first, late, later) =
        (ticket(&mut breaker, at(0)), ticket(&mut breaker, at(0)), ticket(&mut breaker, at(0)));
    assert!(breaker.record(first, Failure, FAST, at(0)).is_some());
    assert_eq!(breaker.record(late, Success, FAST, at(1)), None);
    let probe = ticket(&mut breaker, at(10));
    assert_eq!(breaker.record(later, Failure, FAST, at(10)), None);
    assert_eq!(breaker.record(probe, Success, FAST, at(10)), None);
    assert_eq!(breaker.state(), HalfOpen);
}

#[test]
fn calls_leave_a_window_of_time_when_they_are_old() {
    let window = BreakerWindow::Time { length: at(10), buckets: 10 };
    let mut breaker = breaker(BreakerSettings { window, ..SETTINGS });
    for second in [0, 1, 2] {
        assert_eq!(call(&mut breaker, Failure, at(second)), None);
    }
    // The first three have left, so this one is the first of a new window.
    assert_eq!(call(&mut breaker, Failure, at(13)), None);
    for outcome in [Success, Success] {
        assert_eq!(call(&mut breaker, outcome, at(15)), None);
    }
    let change = call(&mut breaker, Failure, at(19));
    assert_eq!(change, Some(BreakerChange { from: Closed, to: Open }), "two of four failed");
}

#[test]
fn slow_calls_open_it_in_a_window_of_time() {
    let slow_calls = Some(SlowCalls { threshold: at(1), rate: 1.0 });
    let window = BreakerWindow::Time { length: at(10), buckets: 5 };
    let mut breaker = breaker(BreakerSettings { slow_calls, window, ..SETTINGS });
    for count in 1..=4 {
        let ticket = ticket(&mut breaker, at(count));
        assert_eq!(breaker.record(ticket, Success, at(1), at(count)).is_some(), count == 4);
    }
}

#[test]
fn an_order_to_open_rejects_until_it_ends() {
    let mut breaker = breaker(SETTINGS);
    let before = ticket(&mut breaker, at(0));
    breaker.force(ForcedState::Open, Some(at(60)), at(0));
    assert_eq!((breaker.effective(at(59)), breaker.state()), (Open, Closed));
    assert_eq!(retry_in(&mut breaker, at(20)), at(40));
    assert_eq!(breaker.record(before, Success, FAST, at(21)), None);
    assert_eq!(breaker.effective(at(60)), Closed);
    assert_eq!(call(&mut breaker, Success, at(60)), None);
}

#[test]
fn an_order_without_an_end_lasts_until_it_is_lifted() {
    let mut breaker = breaker(SETTINGS);
    breaker.force(ForcedState::Open, None, at(0));
    assert_eq!(retry_in(&mut breaker, at(100_000)), SETTINGS.open_max);
    breaker.lift();
    assert_eq!(call(&mut breaker, Success, at(100_000)), None);
}

#[test]
fn calls_that_pass_by_an_order_are_not_counted() {
    let mut breaker = opened(SETTINGS);
    breaker.force(ForcedState::Closed, Some(at(30)), at(1));
    let during = ticket(&mut breaker, at(2));
    for _ in 0..20 {
        assert_eq!(call(&mut breaker, Failure, at(12)), None);
    }
    assert_eq!((breaker.effective(at(12)), breaker.state()), (Closed, Open));
    // Its own open time ran on, so it probes once the order is over.
    let Admitted { admission, change } = breaker.admit(at(30));
    assert_eq!(change, Some(BreakerChange { from: Open, to: HalfOpen }));
    let Admission::Allowed { probe: true, ticket: probe } = admission else { panic!("no probe") };
    assert_eq!(breaker.record(during, Failure, FAST, at(31)), None);
    assert_eq!(breaker.record(probe, Success, FAST, at(31)), None);
    assert_eq!(breaker.state(), HalfOpen);
}

#[test]
fn an_order_that_is_over_already_is_none() {
    let mut breaker = breaker(SETTINGS);
    breaker.force(ForcedState::Open, Some(at(5)), at(5));
    assert_eq!(breaker.order(at(0)), None);
    assert_eq!(call(&mut breaker, Success, at(5)), None);
}

#[test]
fn what_others_saw_is_taken_over() {
    let open = |remaining| Told::Open { remaining, reopenings: 2 };
    let half_open = Told::HalfOpen { reopenings: 2 };
    let closed = || breaker(SETTINGS);
    let probing = || {
        let mut breaker = opened(SETTINGS);
        let _probe = ticket(&mut breaker, at(10));
        breaker
    };
    let to = |from, to| Some(BreakerChange { from, to });
    for (mut breaker, told, change) in [
        (closed(), Told::Closed, None),
        (closed(), open(at(5)), to(Closed, Open)),
        (closed(), half_open, to(Closed, HalfOpen)),
        (opened(SETTINGS), Told::Closed, to(Open, Closed)),
        (opened(SETTINGS), open(at(5)), None),
        (opened(SETTINGS), half_open, None),
        (probing(), Told::Closed, to(HalfOpen, Closed)),
        (probing(), open(at(5)), to(HalfOpen, Open)),
        (probing(), half_open, None),
    ] {
        let state = breaker.state();
        assert_eq!(breaker.adopt(told, at(10)), change, "{told:?} to one that was {state:?}");
    }
}

#[test]
fn the_longer_open_time_and_the_larger_number_of_reopenings_hold() {
    let mut breaker = opened(SETTINGS);
    breaker.adopt(Told::Open { remaining: at(4), reopenings: 0 }, at(1));
    assert_eq!(retry_in(&mut breaker, at(1)), at(9));
    breaker.adopt(Told::Open { remaining: at(25), reopenings: 1 }, at(1));
    assert_eq!((retry_in(&mut breaker, at(1)), breaker.open_for(at(2))), (at(25), Some(at(24))));
    assert_eq!(call(&mut breaker, Failure, at(26)).map(|change| change.to), Some(Open));
    assert_eq!(retry_in(&mut breaker, at(26)), at(30), "as after the second reopening");
    breaker.adopt(Told::Closed, at(26));
    assert_eq!((breaker.reopenings(), breaker.open_for(at(26))), (0, None));
}

#[test]
fn an_open_time_of_others_is_taken_over_up_to_a_day() {
    let mut breaker = breaker(SETTINGS);
    breaker.adopt(Told::Open { remaining: Duration::MAX, reopenings: 0 }, at(1));
    assert_eq!(retry_in(&mut breaker, at(1)), Duration::from_hours(24));
}
