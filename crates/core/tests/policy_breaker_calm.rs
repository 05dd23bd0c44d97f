//! A breaker whose good calls are counted apart while it is calm, beside one that is told of each.

use std::time::Duration;

use baldur_core::policy::breaker::{
    Admission, Breaker, BreakerPolicy, BreakerSettings, BreakerState, BreakerWindow, CallOutcome,
    ForcedState, SlowCalls, Ticket, Told,
};
use proptest::prelude::*;

use BreakerState::Closed;
use CallOutcome::{Dropped, Failure, Ignored, Success};

const fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const SLOW: Duration = at(1_000);

#[derive(Debug, Clone)]
enum Act {
    /// So many calls, one after the other.
    Calls(usize, CallOutcome, bool),
    /// Asks, and ends later.
    Admit,
    End(usize, CallOutcome, bool),
    Wait(u64),
    Force(ForcedState, u64),
    Lift,
    Adopt(Told),
}

fn act() -> impl Strategy<Value = Act> {
    let outcome = || {
        prop_oneof![
            4 => Just(Success),
            3 => Just(Failure),
            1 => Just(Ignored),
            1 => Just(Dropped),
        ]
    };
    let slow = || prop::bool::weighted(0.2);
    let told = prop_oneof![
        Just(Told::Closed),
        Just(Told::Open { remaining: at(300), reopenings: 0 }),
        Just(Told::HalfOpen { reopenings: 0 }),
    ];
    prop_oneof![
        12 => (1_usize..12, outcome(), slow()).prop_map(|(n, o, s)| Act::Calls(n, o, s)),
        4 => Just(Act::Admit),
        4 => (any::<usize>(), outcome(), slow()).prop_map(|(i, o, s)| Act::End(i, o, s)),
        6 => (0_u64..700).prop_map(Act::Wait),
        1 => (prop::sample::select(&ForcedState::ALL), 0_u64..500)
            .prop_map(|(state, lasts)| Act::Force(state, lasts)),
        1 => Just(Act::Lift),
        1 => told.prop_map(Act::Adopt),
    ]
}

fn settings() -> impl Strategy<Value = BreakerSettings> {
    let window = (1_u32..12, any::<bool>()).prop_map(|(size, by_time)| {
        let time = BreakerWindow::Time { length: at(u64::from(size) * 200), buckets: size };
        (if by_time { time } else { BreakerWindow::Calls(size) }, size)
    });
    let rates = (0.1_f64..1.0, prop::option::of(0.1_f64..1.0));
    (window, 1_u32..12, rates, prop::option::of(1_u32..6)).prop_map(
        |((window, size), minimum, (failure_rate, slow_rate), consecutive_failures)| {
            BreakerSettings {
                window,
                minimum_calls: minimum.min(size),
                failure_rate,
                consecutive_failures,
                slow_calls: slow_rate.map(|rate| SlowCalls { threshold: SLOW, rate }),
                open_base: at(500),
                open_max: at(2_000),
                ..BreakerSettings::default()
            }
        },
    )
}

/// What a lock would protect, with what is counted beside it.
struct Calmly {
    breaker: Breaker,
    good: u64,
    /// How many calls the breaker was not asked about.
    unasked: usize,
}

impl Calmly {
    /// Whatever else happens to the breaker, it hears of the good calls first.
    fn step<T>(&mut self, step: impl FnOnce(&mut Breaker) -> T) -> T {
        let change = self.breaker.absorb(std::mem::take(&mut self.good));
        assert_eq!(change, None, "a calm breaker was opened by good calls");
        step(&mut self.breaker)
    }

    fn admit(&mut self, now: Duration) -> Admission {
        match self.breaker.calm() {
            Some(calm) => {
                Admission::Allowed { probe: false, ticket: Ticket::of_calm(calm.generation) }
            }
            None => self.step(|breaker| breaker.admit(now)).admission,
        }
    }

    fn record(&mut self, ticket: Ticket, outcome: CallOutcome, elapsed: Duration, now: Duration) {
        let is_good = outcome == Success && !self.breaker.policy().is_slow(elapsed);
        let is_calm = self.breaker.calm().is_some_and(|calm| {
            ticket.generation() == Some(calm.generation)
                && calm.until.is_none_or(|until| now < until)
        });
        if is_good && is_calm {
            self.good += 1;
            self.unasked += 1;
        } else {
            self.step(|breaker| breaker.record(ticket, outcome, elapsed, now));
        }
    }
}

/// Both breakers, and the calls under way.
struct Pair {
    plain: Breaker,
    calmly: Calmly,
    now: Duration,
    tickets: Vec<(Ticket, Ticket)>,
}

impl Pair {
    fn admit(&mut self) -> Result<Option<(Ticket, Ticket)>, TestCaseError> {
        let plain = self.plain.admit(self.now).admission;
        let calmly = self.calmly.admit(self.now);
        prop_assert_eq!(&plain, &calmly);
        Ok(match (plain, calmly) {
            (Admission::Allowed { ticket, .. }, Admission::Allowed { ticket: other, .. }) => {
                Some((ticket, other))
            }
            _ => None,
        })
    }

    fn end(&mut self, (plain, calmly): (Ticket, Ticket), outcome: CallOutcome, slow: bool) {
        let elapsed = if slow { SLOW } else { at(1) };
        self.plain.record(plain, outcome, elapsed, self.now);
        self.calmly.record(calmly, outcome, elapsed, self.now);
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        let now = self.now;
        match *act {
            Act::Calls(count, outcome, slow) => {
                for _ in 0..count {
                    if let Some(tickets) = self.admit()? {
                        self.end(tickets, outcome, slow);
                    }
                    prop_assert_eq!(self.plain.state(), self.calmly.breaker.state());
                }
            }
            Act::Admit => {
                let tickets = self.admit()?;
                self.tickets.extend(tickets);
            }
            Act::End(index, outcome, slow) if !self.tickets.is_empty() => {
                let tickets = self.tickets.swap_remove(index % self.tickets.len());
                self.end(tickets, outcome, slow);
            }
            Act::End(..) => {}
            Act::Wait(millis) => self.now += at(millis),
            Act::Force(state, lasts) => {
                let until = Some(now + at(lasts));
                self.plain.force(state, until, now);
                self.calmly.step(|breaker| breaker.force(state, until, now));
            }
            Act::Lift => {
                self.plain.lift();
                self.calmly.step(Breaker::lift);
            }
            Act::Adopt(told) => {
                let change = self.calmly.step(|breaker| breaker.adopt(told, now));
                prop_assert_eq!(self.plain.adopt(told, now), change);
            }
        }
        prop_assert_eq!(self.plain.state(), self.calmly.breaker.state());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn good_calls_counted_apart_decide_as_if_each_were_told(
        settings in settings(),
        acts in prop::collection::vec(act(), 1..150),
    ) {
        let breaker = Breaker::new(BreakerPolicy::new(settings).expect("in range"));
        let calmly = Calmly { breaker: breaker.clone(), good: 0, unasked: 0 };
        let mut pair = Pair { plain: breaker, calmly, now: at(0), tickets: Vec::new() };
        for act in &acts {
            pair.act(act)?;
        }
        // Told of the same time, they are the same to the last bucket.
        let now = pair.now;
        let _ = pair.plain.admit(now);
        let _ = pair.calmly.step(|breaker| breaker.admit(now));
        prop_assert_eq!(pair.plain, pair.calmly.breaker);
    }

    #[test]
    fn where_good_calls_can_open_it_they_open_it_as_if_told_one_by_one(
        settings in settings(),
        before in prop::collection::vec((any::<bool>(), any::<bool>()), 0..12),
        good in 0_u64..20,
    ) {
        let mut one_by_one = Breaker::new(BreakerPolicy::new(settings).expect("in range"));
        let record = |breaker: &mut Breaker, outcome, elapsed| {
            match breaker.admit(at(0)).admission {
                Admission::Allowed { ticket, .. } => breaker.record(ticket, outcome, elapsed, at(0)),
                Admission::Rejected { .. } => None,
            }
        };
        for (failed, slow) in before {
            let outcome = if failed { Failure } else { Success };
            let mut next = one_by_one.clone();
            record(&mut next, outcome, if slow { SLOW } else { at(1) });
            // Calls that would open it are left out.
            if next.state() == Closed {
                one_by_one = next;
            }
        }
        let mut at_once = one_by_one.clone();
        let was_calm = at_once.calm().is_some();
        let changes: Vec<_> =
            (0..good).filter_map(|_| record(&mut one_by_one, Success, at(1))).collect();
        let change = at_once.absorb(good);
        prop_assert!(!was_calm || change.is_none());
        prop_assert_eq!(change, changes.first().copied());
        prop_assert_eq!(one_by_one, at_once);
    }
}

#[test]
fn a_breaker_in_good_health_is_calm_and_hears_of_no_good_call() {
    let windows =
        [BreakerWindow::Calls(20), BreakerWindow::Time { length: at(10_000), buckets: 10 }];
    for window in windows {
        let settings = BreakerSettings { window, ..BreakerSettings::default() };
        let breaker = Breaker::new(BreakerPolicy::new(settings).expect("in range"));
        let calmly = Calmly { breaker: breaker.clone(), good: 0, unasked: 0 };
        let mut pair = Pair { plain: breaker, calmly, now: at(0), tickets: Vec::new() };
        for (count, outcome) in [(100, Success), (1, Failure), (100, Success)] {
            pair.act(&Act::Calls(count, outcome, false)).expect("the same");
        }
        assert_eq!(pair.calmly.unasked, 200);
        assert_eq!(pair.calmly.good, 100);
    }
}
