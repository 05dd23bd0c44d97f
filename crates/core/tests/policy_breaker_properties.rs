//! The circuit breaker, by arbitrary sequences of calls, orders and news of others.

use std::time::Duration;

use baldur_core::policy::breaker::{
    Admission, Admitted, Breaker, BreakerChange, BreakerPolicy, BreakerSettings, BreakerState,
    BreakerWindow, CallOutcome, ForcedState, SlowCalls, Ticket, Told,
};
use proptest::prelude::*;

use BreakerState::{Closed, HalfOpen, Open};
use CallOutcome::{Dropped, Failure, Ignored, Success};

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

#[derive(Debug, Clone)]
enum Command {
    Admit,
    /// One of the tickets that are out.
    Record(usize, CallOutcome, u64),
    /// A caller that never comes back.
    Lose(usize),
    Wait(u64),
    StepBack(u64),
    Force(ForcedState, Option<u64>),
    Lift,
    Adopt(Told),
}

fn command() -> impl Strategy<Value = Command> {
    let outcome = prop_oneof![Just(Success), Just(Failure), Just(Ignored), Just(Dropped)];
    prop_oneof![
        4 => Just(Command::Admit),
        4 => (any::<usize>(), outcome, 0_u64..2000).prop_map(|(i, o, e)| Command::Record(i, o, e)),
        1 => any::<usize>().prop_map(Command::Lose),
        2 => (0_u64..40_000).prop_map(Command::Wait),
        1 => (0_u64..5_000).prop_map(Command::StepBack),
        1 => (prop::sample::select(&ForcedState::ALL), prop::option::of(0_u64..30_000))
            .prop_map(|(state, lasts)| Command::Force(state, lasts)),
        1 => Just(Command::Lift),
        1 => told().prop_map(Command::Adopt),
    ]
}

fn told() -> impl Strategy<Value = Told> {
    prop_oneof![
        Just(Told::Closed),
        (0_u64..20, 0_u32..5).prop_map(|(remaining, reopenings)| Told::Open {
            remaining: at(remaining),
            reopenings,
        }),
        (0_u32..5).prop_map(|reopenings| Told::HalfOpen { reopenings }),
    ]
}

fn settings() -> impl Strategy<Value = BreakerSettings> {
    let window = (1_u32..8, any::<bool>()).prop_map(|(size, by_time)| {
        let time = BreakerWindow::Time { length: at(u64::from(size) * 5), buckets: size };
        (if by_time { time } else { BreakerWindow::Calls(size) }, size.div_ceil(2))
    });
    (window, 1_u32..4, 1_u32..4, 0.1_f64..1.0, prop::option::of(1_u32..4), any::<bool>()).prop_map(
        |(window, max_probes, successes_to_close, rate, consecutive_failures, slow)| {
            let (window, minimum_calls) = window;
            BreakerSettings {
                window,
                minimum_calls,
                failure_rate: rate,
                consecutive_failures,
                slow_calls: slow.then_some(SlowCalls { threshold: at(1), rate }),
                max_probes,
                successes_to_close,
                ..SETTINGS
            }
        },
    )
}

/// What an observer knows: only what the breaker answered.
struct Observer {
    state: BreakerState,
    /// Changes seen, which numbers the generations.
    generation: usize,
    /// Until then it stays open at least.
    open_until: Duration,
    order: Option<(ForcedState, Option<Duration>)>,
    now: Duration,
    /// With the generation of each.
    tickets: Vec<(Ticket, usize)>,
    lost: u32,
}

/// The generation of calls that pass by an order.
const ORDERED: usize = usize::MAX;

impl Observer {
    fn see(&mut self, change: Option<BreakerChange>) -> Result<(), TestCaseError> {
        let Some(BreakerChange { from, to }) = change else { return Ok(()) };
        prop_assert_eq!(from, self.state);
        let legal = [(Closed, Open), (Open, HalfOpen), (HalfOpen, Closed), (HalfOpen, Open)];
        prop_assert!(legal.contains(&(from, to)), "{from:?} to {to:?}");
        if to == Open {
            self.open_until = self.now + SETTINGS.open_base;
        }
        self.entered(to);
        Ok(())
    }

    fn entered(&mut self, state: BreakerState) {
        (self.state, self.generation, self.lost) = (state, self.generation + 1, 0);
    }

    fn adopt(
        &mut self,
        breaker: &mut Breaker,
        told: Told,
        clock: Duration,
    ) -> Result<(), TestCaseError> {
        self.now = self.now.max(clock);
        let change = breaker.adopt(told, clock);
        let wanted = match told {
            Told::Closed => Closed,
            Told::Open { remaining, .. } => {
                let until = self.now + remaining;
                let is_open = self.state == Open;
                self.open_until = if is_open { until.max(self.open_until) } else { until };
                Open
            }
            Told::HalfOpen { .. } if self.state == Closed => HalfOpen,
            Told::HalfOpen { .. } => self.state,
        };
        let expected = BreakerChange { from: self.state, to: wanted };
        prop_assert_eq!(change, (wanted != self.state).then_some(expected));
        if change.is_some() {
            self.entered(wanted);
        }
        Ok(())
    }

    /// The order in force.
    fn ordered(&self) -> Option<ForcedState> {
        self.order.filter(|(_, until)| until.is_none_or(|until| self.now < until)).map(|(s, _)| s)
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
        if let Some(order) = self.ordered() {
            prop_assert_eq!(change, None);
            match admission {
                Admission::Allowed { probe, ticket } => {
                    prop_assert!(order == ForcedState::Closed && !probe);
                    self.tickets.push((ticket, ORDERED));
                }
                Admission::Rejected { retry_in } => {
                    prop_assert!(order == ForcedState::Open && !retry_in.is_zero());
                }
            }
            return Ok(());
        }
        match admission {
            Admission::Allowed { probe, ticket } => {
                prop_assert!(self.state != Open);
                prop_assert_eq!(probe, self.state == HalfOpen);
                let is_over = self.now >= self.open_until;
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
            open_until: at(0),
            order: None,
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
                Command::Force(state, lasts) => {
                    observer.now = observer.now.max(clock);
                    let until = lasts.map(|lasts| clock + Duration::from_millis(lasts));
                    breaker.force(state, until, clock);
                    observer.order = Some((state, until));
                }
                Command::Lift => {
                    breaker.lift();
                    observer.order = None;
                }
                Command::Adopt(told) => observer.adopt(&mut breaker, told, clock)?,
            }
            prop_assert_eq!(breaker.state(), observer.state);
            prop_assert_eq!(breaker.order(observer.now).map(|order| order.state), observer.ordered());
        }
        breaker.lift();

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
