//! The circuit breaker, by examples and by arbitrary sequences of calls.

use std::time::Duration;

use baldur_core::policy::breaker::{
    Admission, Admitted, Breaker, BreakerChange, BreakerPolicy, BreakerSettings, BreakerState,
    CallOutcome, SlowCalls, Ticket,
};
use proptest::prelude::*;

use BreakerState::{Closed, HalfOpen, Open};
use CallOutcome::{Dropped, Failure, Ignored, Success};

const FAST: Duration = Duration::from_millis(1);

const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const SETTINGS: BreakerSettings = BreakerSettings {
    window: 10,
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

#[derive(Debug, Clone)]
enum Command {
    Admit,
    /// One of the tickets that are out.
    Record(usize, CallOutcome, u64),
    /// A caller that never comes back.
    Lose(usize),
    Wait(u64),
    StepBack(u64),
}

fn command() -> impl Strategy<Value = Command> {
    let outcome = prop_oneof![Just(Success), Just(Failure), Just(Ignored), Just(Dropped)];
    prop_oneof![
        4 => Just(Command::Admit),
        4 => (any::<usize>(), outcome, 0_u64..2000).prop_map(|(i, o, e)| Command::Record(i, o, e)),
        1 => any::<usize>().prop_map(Command::Lose),
        2 => (0_u64..40_000).prop_map(Command::Wait),
        1 => (0_u64..5_000).prop_map(Command::StepBack),
    ]
}

fn settings() -> impl Strategy<Value = BreakerSettings> {
    (1_u32..8, 1_u32..4, 1_u32..4, 0.1_f64..1.0, prop::option::of(1_u32..4), any::<bool>())
        .prop_map(|(window, max_probes, successes_to_close, rate, consecutive_failures, slow)| {
            BreakerSettings {
                window,
                minimum_calls: window.div_ceil(2),
                failure_rate: rate,
                consecutive_failures,
                slow_calls: slow.then_some(SlowCalls { threshold: at(1), rate }),
                max_probes,
                successes_to_close,
                ..SETTINGS
            }
        })
}

/// What an observer knows: only what the breaker answered.
struct Observer {
    state: BreakerState,
    /// Changes seen, which numbers the generations.
    generation: usize,
    opened_at: Duration,
    now: Duration,
    tickets: Vec<(Ticket, usize)>,
    lost: u32,
}

impl Observer {
    fn see(&mut self, change: Option<BreakerChange>) -> Result<(), TestCaseError> {
        let Some(BreakerChange { from, to }) = change else { return Ok(()) };
        prop_assert_eq!(from, self.state);
        let legal = [(Closed, Open), (Open, HalfOpen), (HalfOpen, Closed), (HalfOpen, Open)];
        prop_assert!(legal.contains(&(from, to)), "{from:?} to {to:?}");
        if to == Open {
            self.opened_at = self.now;
        }
        (self.state, self.generation, self.lost) = (to, self.generation + 1, 0);
        Ok(())
    }

    fn out(&self) -> usize {
        self.tickets.iter().filter(|(_, generation)| *generation == self.generation).count()
            + self.lost as usize
    }

    fn admit(
        &mut self,
        breaker: &mut Breaker,
        clock: Duration,
        settings: &BreakerSettings,
    ) -> Result<(), TestCaseError> {
        self.now = self.now.max(clock);
        let Admitted { admission, change } = breaker.admit(clock);
        let was_open = self.state == Open;
        self.see(change)?;
        let max_probes = settings.max_probes as usize;
        match admission {
            Admission::Allowed { probe, ticket } => {
                prop_assert!(self.state != Open);
                prop_assert_eq!(probe, self.state == HalfOpen);
                let is_over = self.now.saturating_sub(self.opened_at) >= settings.open_base;
                prop_assert!(!was_open || is_over, "an open breaker rejects before its time");
                self.tickets.push((ticket, self.generation));
                prop_assert!(!probe || self.out() <= max_probes, "too many probes");
            }
            Admission::Rejected { retry_in } => {
                prop_assert!(retry_in <= settings.open_max && !retry_in.is_zero());
                // No permit has leaked: all are out.
                prop_assert!(
                    self.state == Open || (self.state == HalfOpen && self.out() == max_probes)
                );
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_sequence_of_calls_keeps_the_guarantees(
        settings in settings(),
        commands in prop::collection::vec(command(), 1..200),
    ) {
        let mut breaker = breaker(settings);
        let mut observer = Observer {
            state: Closed,
            generation: 0,
            opened_at: at(0),
            now: at(0),
            tickets: Vec::new(),
            lost: 0,
        };
        let mut clock = at(0);
        for command in commands {
            match command {
                Command::Admit => observer.admit(&mut breaker, clock, &settings)?,
                Command::Record(index, outcome, elapsed) if !observer.tickets.is_empty() => {
                    observer.now = observer.now.max(clock);
                    let (ticket, generation) =
                        observer.tickets.swap_remove(index % observer.tickets.len());
                    let change =
                        breaker.record(ticket, outcome, Duration::from_millis(elapsed), clock);
                    prop_assert!(change.is_none() || generation == observer.generation);
                    observer.see(change)?;
                }
                Command::Lose(index) if !observer.tickets.is_empty() => {
                    let (_, generation) = observer.tickets.swap_remove(index % observer.tickets.len());
                    observer.lost += u32::from(generation == observer.generation);
                }
                Command::Record(..) | Command::Lose(_) => {}
                Command::Wait(millis) => clock += Duration::from_millis(millis),
                Command::StepBack(millis) => clock = clock.saturating_sub(Duration::from_millis(millis)),
            }
            prop_assert_eq!(breaker.state(), observer.state);
        }

        // Whatever happened, it recovers once calls succeed.
        for _ in 0..20 {
            clock = clock.max(observer.now) + settings.open_max + settings.probe_timeout;
            observer.now = clock;
            let Admitted { admission, change } = breaker.admit(clock);
            observer.see(change)?;
            if let Admission::Allowed { ticket, .. } = admission {
                observer.see(breaker.record(ticket, Success, FAST, clock))?;
            }
        }
        prop_assert_eq!(breaker.state(), Closed);
    }
}
