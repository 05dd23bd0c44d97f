//! Random calls through a guard, against a model of the order that is simple enough to be believed.
//!
//! Calls come one after the other. The model knows the order of the parts and nothing of how they are built: it asks the
//! pure breaker of the core, keeps the budget as a number, and adds up the time.

use std::{sync::Mutex, time::Duration};

use baldur_app::{
    Protect, Protected,
    protect::{CallFailure, FailedCall, OnPermanent, RetryBudgetPolicy},
};
use baldur_core::policy::{
    Admission, BackoffPolicy, Breaker, BreakerPolicy, BreakerSettings, BreakerState, CallOutcome,
    Jitter,
};
use proptest::prelude::*;

use crate::{
    protected::context,
    world::{SECOND, World, virtual_time},
};

const TRIES: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(2);
const DEADLINE: Duration = Duration::from_secs(9);
const CAP: Duration = Duration::from_secs(4);
const BURST: u32 = 5;
/// A quarter of a retry for each call, so that sums of it are exact.
const RATIO: f64 = 0.25;

/// How one try ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Works,
    Transient,
    /// Transient, and the dependency asks for so many seconds.
    Asks(u64),
    Permanent,
    Rejected,
    Hangs,
}

/// One call: a pause before it, and the ends of the tries that it may make.
#[derive(Clone, Debug)]
struct Call {
    pause: u64,
    ends: [End; TRIES],
}

/// What a caller sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Value,
    Returned,
    Error,
    TimedOut,
    DeadlinePassed,
    BreakerOpen,
}

fn breaker_policy() -> BreakerPolicy {
    let settings = BreakerSettings {
        consecutive_failures: Some(3),
        minimum_calls: 6,
        open_base: SECOND * 4,
        ..BreakerSettings::default()
    };
    BreakerPolicy::new(settings).expect("valid")
}

fn backoff() -> BackoffPolicy {
    BackoffPolicy::new(SECOND, 2.0, CAP, Jitter::None).expect("valid")
}

struct Model {
    now: Duration,
    breaker: Breaker,
    budget: f64,
}

impl Model {
    fn call(&mut self, call: &Call) -> (Seen, usize) {
        self.now += SECOND * u32::try_from(call.pause).expect("short");
        let begun = self.now;
        let Admission::Allowed { ticket, .. } = self.breaker.admit(self.now).admission else {
            return (Seen::BreakerOpen, 0);
        };
        self.budget = (self.budget + RATIO).min(f64::from(BURST));
        for (made, end) in call.ends.iter().enumerate() {
            let (seen, outcome, asks) = self.tried(*end, begun + DEADLINE);
            if seen == Seen::Value || !self.again(made, seen, *end, asks, begun) {
                let _ = self.breaker.record(ticket, outcome, Duration::ZERO, self.now);
                return (seen, made + 1);
            }
        }
        unreachable!("the last try is never followed by another")
    }

    fn tried(&mut self, end: End, until: Duration) -> (Seen, CallOutcome, u64) {
        match end {
            End::Works => (Seen::Value, CallOutcome::Success, 0),
            End::Transient => (Seen::Error, CallOutcome::Failure, 0),
            End::Asks(seconds) => (Seen::Error, CallOutcome::Failure, seconds),
            End::Permanent => (Seen::Error, CallOutcome::Ignored, 0),
            End::Rejected => (Seen::Returned, CallOutcome::Success, 0),
            End::Hangs if self.now + TIMEOUT <= until => {
                self.now += TIMEOUT;
                (Seen::TimedOut, CallOutcome::Failure, 0)
            }
            End::Hangs => {
                self.now = until;
                (Seen::DeadlinePassed, CallOutcome::Failure, 0)
            }
        }
    }

    /// Whether there is another try, after its pause.
    fn again(&mut self, made: usize, seen: Seen, end: End, asks: u64, begun: Duration) -> bool {
        let transient = matches!(end, End::Transient | End::Asks(_) | End::Hangs);
        let number = u32::try_from(made).expect("few");
        let wait = backoff().delay(number, 0.0).max(Duration::from_secs(asks));
        if !transient
            || seen == Seen::DeadlinePassed
            || made + 1 == TRIES
            || self.breaker.state() != BreakerState::Closed
            || Duration::from_secs(asks) > CAP
            || self.now + wait >= begun + DEADLINE
            || self.budget < 1.0
        {
            return false;
        }
        self.budget -= 1.0;
        self.now += wait;
        true
    }
}

fn seen(answer: &Result<(), Protected<CallFailure>>) -> Seen {
    match answer {
        Ok(()) => Seen::Value,
        Err(Protected::Returned(_)) => Seen::Returned,
        Err(Protected::Captured { cause, .. }) => match cause {
            FailedCall::Error(_) => Seen::Error,
            FailedCall::TimedOut { .. } => Seen::TimedOut,
            FailedCall::DeadlinePassed { .. } => Seen::DeadlinePassed,
            FailedCall::BreakerOpen { .. } => Seen::BreakerOpen,
            FailedCall::BulkheadFull { .. } => unreachable!("there is no limit"),
        },
        Err(other) => unreachable!("{other}"),
    }
}

async fn called(guard: &Protect, call: &Call) -> (Seen, usize) {
    let made = Mutex::new(0);
    let answer = guard.call(context(), |_, number| {
        let at = usize::try_from(number).expect("few");
        *made.lock().expect("not poisoned") = at;
        let end = call.ends[at - 1];
        async move {
            match end {
                End::Works => Ok(()),
                End::Transient => Err(CallFailure::transient("DOWN", "down")),
                End::Asks(seconds) => {
                    let asks = Duration::from_secs(seconds);
                    Err(CallFailure::transient("BUSY", "busy").retry_after(asks))
                }
                End::Permanent => Err(CallFailure::permanent("WRONG", "wrong")),
                End::Rejected => Err(CallFailure::rejected("NO", "no")),
                End::Hangs => std::future::pending().await,
            }
        }
    });
    let seen = seen(&answer.await);
    (seen, made.into_inner().expect("not poisoned"))
}

async fn follows_the_model(calls: Vec<Call>) {
    let world = World::new();
    let guard = Protect::builder("gateway", world.capture_service())
        .deadline(DEADLINE)
        .timeout(TIMEOUT)
        .tries(u32::try_from(TRIES).expect("few"))
        .backoff(backoff())
        .breaker(breaker_policy())
        .retry_budget(RetryBudgetPolicy { ratio: RATIO, per_second: 0.0, burst: BURST })
        .on_permanent(OnPermanent::Capture)
        .build()
        .expect("a good policy");
    let breaker = Breaker::new(breaker_policy());
    let mut model = Model { now: Duration::ZERO, breaker, budget: f64::from(BURST) };
    let mut captured = 0;
    for (n, call) in calls.iter().enumerate() {
        virtual_time(SECOND * u32::try_from(call.pause).expect("short")).await;
        let expected = model.call(call);
        assert_eq!(called(&guard, call).await, expected, "call {n} of {calls:?}");
        assert_eq!(guard.state(), model.breaker.state(), "after call {n} of {calls:?}");
        captured += usize::from(!matches!(expected.0, Seen::Value | Seen::Returned));
    }
    // One capture for each failed call, none for others.
    assert_eq!(world.all().await.len(), captured);
}

fn any_end() -> impl Strategy<Value = End> {
    prop_oneof![
        4 => Just(End::Works),
        4 => Just(End::Transient),
        1 => (0_u64..6).prop_map(End::Asks),
        1 => Just(End::Permanent),
        1 => Just(End::Rejected),
        2 => Just(End::Hangs),
    ]
}

fn any_call() -> impl Strategy<Value = Call> {
    (0_u64..6, prop::array::uniform4(any_end())).prop_map(|(pause, ends)| Call { pause, ends })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_sequence_of_calls_ends_as_the_documented_order_says(
        calls in prop::collection::vec(any_call(), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(follows_the_model(calls));
    }
}
