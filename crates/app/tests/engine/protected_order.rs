//! The order of a guard's parts: deadline, breaker, retry with its budget, time of one try.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use baldur_app::{
    Breakers, Protect, ProtectPolicy, Protected,
    protect::{
        CIRCUIT_OPEN, CallFailure, DEADLINE_PASSED, FailedCall, ProtectBuilder, ProtectError,
        RetryBudget, RetryBudgetPolicy,
    },
};
use baldur_core::{
    NewFailedOp,
    name::ServiceName,
    policy::{
        BackoffPolicy, BreakerPolicy, BreakerSettings, BreakerState, BreakerWindow, Jitter,
        SlowCalls,
    },
};
use tokio::time::{Instant, timeout};

use crate::{
    protected::{breaker, context, down},
    world::{SECOND, World, op, virtual_time},
};

const MILLISECOND: Duration = Duration::from_millis(1);

fn steps(base: Duration, cap: Duration) -> BackoffPolicy {
    BackoffPolicy::new(base, 2.0, cap, Jitter::None).expect("valid")
}

/// Three tries with a second and two in between, and a breaker that stays out of the way.
pub(crate) fn patient(world: &World) -> ProtectBuilder {
    Protect::builder("gateway", world.capture_service())
        .tries(3)
        .backoff(steps(SECOND, SECOND * 10))
        .breaker(never())
}

/// A breaker that opens only after more failures than any test makes.
fn never() -> BreakerPolicy {
    let settings = BreakerSettings {
        window: BreakerWindow::Calls(10_000),
        minimum_calls: 10_000,
        consecutive_failures: None,
        ..BreakerSettings::default()
    };
    BreakerPolicy::new(settings).expect("valid")
}

/// Makes a call whose n-th try ends as `ends` says, and tells how many there were.
pub(crate) async fn tried(
    guard: &Protect,
    ends: impl Fn(u32) -> Result<u32, CallFailure> + Send + Sync,
) -> (Result<u32, Protected<CallFailure>>, u32) {
    let made = AtomicU32::new(0);
    let answer = guard.call(context(), |_, n| {
        made.store(n, Ordering::SeqCst);
        std::future::ready(ends(n))
    });
    (answer.await, made.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn waits_between_tries_follow_the_backoff() {
    let world = World::new();
    let guard = patient(&world).build().expect("a good policy");
    let begun = Instant::now();
    let (answer, made) = tried(&guard, |n| if n < 3 { Err(down()) } else { Ok(n) }).await;
    assert_eq!((answer.expect("the third worked"), made), (3, 3));
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_the_waits() {
    let world = World::new();
    let backoff = BackoffPolicy::new(SECOND, 1.0, SECOND, Jitter::Equal).expect("valid");
    let guard = patient(&world).tries(2).backoff(backoff).build().expect("a good policy");
    let mut waits = Vec::new();
    for _ in 0..8 {
        let begun = Instant::now();
        let (_, made) = tried(&guard, |_| Err(down())).await;
        assert_eq!(made, 2);
        waits.push(begun.elapsed());
    }
    assert!(waits.iter().all(|wait| *wait >= SECOND / 2 && *wait <= SECOND + MILLISECOND));
    waits.dedup();
    assert!(waits.len() > 1, "no spread: {waits:?}");
}

#[tokio::test(start_paused = true)]
async fn only_transient_failures_and_timeouts_are_tried_again() {
    let world = World::new();
    let guard = patient(&world).timeout(SECOND).build().expect("a good policy");
    for (end, tries) in [
        (down(), 3),
        (CallFailure::permanent("BAD_REQUEST", "no such field"), 1),
        (CallFailure::rejected("DECLINED", "no money"), 1),
    ] {
        let (_, made) = tried(&guard, |_| Err(end.clone())).await;
        assert_eq!(made, tries, "{end}");
    }
    let made = AtomicU32::new(0);
    let endless = |_, _| {
        made.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<Result<(), CallFailure>>()
    };
    let error = guard.call(context(), endless).await.expect_err("too long");
    assert!(matches!(
        error,
        Protected::Captured { cause: FailedCall::TimedOut { after }, .. } if after == SECOND
    ));
    assert_eq!(made.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_waited_for_and_one_beyond_the_cap_ends_the_call() {
    let world = World::new();
    let guard = patient(&world).build().expect("a good policy");
    let begun = Instant::now();
    let asks =
        |seconds| move |n| if n == 1 { Err(down().retry_after(SECOND * seconds)) } else { Ok(n) };
    let (answer, _) = tried(&guard, asks(7)).await;
    assert_eq!((answer.expect("it worked"), begun.elapsed().as_secs()), (2, 7));
    let (answer, made) = tried(&guard, asks(11)).await;
    assert!(matches!(answer, Err(Protected::Captured { .. })));
    assert_eq!(made, 1);
    // The entry waits as the dependency asked.
    let entry = &world.all().await[0];
    assert_eq!(entry.state.next_attempt_at.since(entry.state.updated_at), SECOND * 11);
}

#[tokio::test(start_paused = true)]
async fn no_retry_begins_that_the_deadline_would_not_let_wait() {
    let world = World::new();
    let guard = patient(&world).deadline(SECOND * 3).timeout(SECOND).build().expect("good");
    let begun = Instant::now();
    let (answer, made) = tried(&guard, |_| Err(down())).await;
    // One second passed; two more would reach the deadline.
    assert_eq!((made, begun.elapsed().as_secs()), (2, 1));
    let error = answer.expect_err("it failed");
    assert_eq!(error.into_call_error(), Some(down()));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_cuts_the_last_try() {
    let world = World::new();
    let policy = breaker(1, 1);
    let guard = patient(&world).deadline(SECOND * 8).timeout(SECOND * 5).breaker(policy).build();
    let guard = guard.expect("a good policy");
    let begun = Instant::now();
    let endless = |_, _| std::future::pending::<Result<(), CallFailure>>();
    let error = guard.call(context(), endless).await.expect_err("too long");
    let passed = matches!(
        error,
        Protected::Captured { cause: FailedCall::DeadlinePassed { after }, .. } if after == SECOND * 8
    );
    assert!(passed, "{error}");
    assert_eq!(begun.elapsed().as_secs(), 8);
    assert_eq!(world.all().await[0].failure_type.as_str(), DEADLINE_PASSED);
    assert_eq!(guard.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_have_less_time_and_fewer_tries_than_the_policy_but_not_more() {
    let world = World::new();
    let guard = patient(&world).build().expect("a good policy");
    let made = AtomicU32::new(0);
    for (most, expected) in [(0, 1), (2, 2), (9, 3)] {
        made.store(0, Ordering::SeqCst);
        let operation = guard.operation(|| op("payment")).most_tries(most);
        let failed = operation
            .run(|_| {
                made.fetch_add(1, Ordering::SeqCst);
                std::future::ready(Err::<(), _>(down()))
            })
            .await;
        assert!(failed.is_err());
        assert_eq!(made.load(Ordering::SeqCst), expected);
    }
    for (deadline, seconds) in [(SECOND * 2, 2), (SECOND * 1_000, 5)] {
        let begun = Instant::now();
        let operation = guard.operation(|| op("payment")).deadline(deadline).most_tries(1);
        let endless = |_| std::future::pending::<Result<(), CallFailure>>();
        assert!(operation.run(endless).await.is_err());
        assert_eq!(begun.elapsed().as_secs(), seconds);
    }
}

#[tokio::test(start_paused = true)]
async fn the_breaker_sees_calls_and_not_tries() {
    let world = World::new();
    let guard = patient(&world).breaker(breaker(2, 1)).build().expect("a good policy");
    let (_, made) = tried(&guard, |_| Err(down())).await;
    assert_eq!((made, guard.state()), (3, BreakerState::Closed));
    // A call that works in the end is a success, so the failures in a row begin anew.
    let (answer, _) = tried(&guard, |n| if n < 3 { Err(down()) } else { Ok(n) }).await;
    assert!(answer.is_ok());
    tried(&guard, |_| Err(down())).await.0.expect_err("it failed");
    assert_eq!(guard.state(), BreakerState::Closed);
    tried(&guard, |_| Err(down())).await.0.expect_err("it failed");
    assert_eq!(guard.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_opens_meanwhile_ends_the_retries_of_calls_under_way() {
    let world = World::new();
    let guard = patient(&world).breaker(breaker(1, 1)).build().expect("a good policy");
    let other = guard.clone();
    let waiting = tokio::spawn(async move { tried(&other, |_| Err(down())).await });
    virtual_time(SECOND / 2).await;
    // While it pauses, a call with a single try finds out that the dependency is down.
    let operation = guard.operation(|| op("payment")).most_tries(1);
    let failed = operation.run(|_| std::future::ready(Err::<(), _>(down()))).await;
    assert!(failed.is_err());
    assert_eq!(guard.state(), BreakerState::Open);
    let left = guard.retry_budget().left();
    let (answer, made) = waiting.await.expect("no panic");
    assert_eq!(made, 1);
    // It tells of its own failure, and gives back the retry that it did not make.
    assert_eq!(answer.expect_err("it failed").into_call_error(), Some(down()));
    assert_eq!(guard.retry_budget().left(), left + 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_a_single_try() {
    let world = World::new();
    let guard = patient(&world).breaker(breaker(1, 1)).build().expect("a good policy");
    let (_, made) = tried(&guard, |_| Err(down())).await;
    assert_eq!((made, guard.state()), (3, BreakerState::Open));
    virtual_time(SECOND * 10).await;
    let (answer, made) = tried(&guard, |_| Err(down())).await;
    assert!(answer.is_err());
    assert_eq!((made, guard.state()), (1, BreakerState::Open));
}

#[tokio::test(start_paused = true)]
async fn waits_of_the_caller_are_no_slowness_of_the_dependency() {
    let world = World::new();
    let settings = BreakerSettings {
        slow_calls: Some(SlowCalls { threshold: SECOND, rate: 0.1 }),
        minimum_calls: 1,
        ..BreakerSettings::default()
    };
    let policy = BreakerPolicy::new(settings).expect("valid");
    let guard = patient(&world).breaker(policy).build().expect("a good policy");
    let (answer, made) = tried(&guard, |n| if n < 3 { Err(down()) } else { Ok(n) }).await;
    assert_eq!((answer.expect("it worked"), made), (3, 3));
    assert_eq!(guard.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_budget_bounds_the_retries_of_all_clones_together() {
    let world = World::new();
    let budget = RetryBudgetPolicy { ratio: 0.5, per_second: 0.0, burst: 4 };
    let guard = patient(&world).retry_budget(budget).build().expect("a good policy");
    let made = Arc::new(AtomicU32::new(0));
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let (guard, made) = (guard.clone(), Arc::clone(&made));
            tokio::spawn(async move {
                made.fetch_add(tried(&guard, |_| Err(down())).await.1, Ordering::SeqCst)
            })
        })
        .collect();
    for call in calls {
        call.await.expect("no panic");
    }
    // 20 first tries; 4 retries were saved up and at most 10 were paid for by calls.
    let retries = made.load(Ordering::SeqCst) - 20;
    assert!((4..=14).contains(&retries), "{retries}");
    assert_eq!(world.all().await.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_budget_can_be_shared_by_guards_and_time_refills_it() {
    let world = World::new();
    let policy = RetryBudgetPolicy { ratio: 0.0, per_second: 0.5, burst: 1 };
    let budget = RetryBudget::new(policy).expect("valid");
    let guards = [(); 2].map(|()| {
        patient(&world).tries(2).shared_retry_budget(budget.clone()).build().expect("good")
    });
    let [one, other] = guards;
    assert_eq!(tried(&one, |_| Err(down())).await.1, 2);
    assert_eq!(tried(&other, |_| Err(down())).await.1, 1);
    virtual_time(SECOND * 3).await;
    assert_eq!(tried(&other, |_| Err(down())).await.1, 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_in_its_pause_gives_its_retry_back() {
    let world = World::new();
    let budget = RetryBudgetPolicy { ratio: 0.0, per_second: 0.0, burst: 5 };
    let guard = patient(&world).retry_budget(budget).build().expect("a good policy");
    for _ in 0..10 {
        assert!(timeout(SECOND / 2, tried(&guard, |_| Err(down()))).await.is_err());
    }
    assert_eq!(guard.retry_budget().left(), 5);
    assert!(timeout(SECOND + SECOND / 2, tried(&guard, |_| Err(down()))).await.is_err());
    assert_eq!(guard.retry_budget().left(), 4);
}

#[tokio::test(start_paused = true)]
async fn guards_of_one_registry_share_their_breaker_by_name() {
    let world = World::new();
    let breakers = Breakers::new(&world.env);
    let guard_of = |name: &str| {
        Protect::builder(name, world.capture_service())
            .breaker(breaker(1, 1))
            .breakers(&breakers)
            .build()
            .expect("a good policy")
    };
    let (one, same, other) = (guard_of("gateway"), guard_of("gateway"), guard_of("mail"));
    tried(&one, |_| Err(down())).await.0.expect_err("it failed");
    let (answer, made) = tried(&same, Ok).await;
    let error = answer.expect_err("open");
    assert_eq!(made, 0);
    assert!(matches!(error, Protected::Captured { cause: FailedCall::BreakerOpen { .. }, .. }));
    assert_eq!(tried(&other, Ok).await.1, 1);
    let name = ServiceName::parse("gateway").expect("a name");
    assert_eq!(breakers.get(&name, breaker(1, 1)).state(), BreakerState::Open);
    let entries = world.all().await;
    assert!(entries.iter().any(|entry| entry.failure_type.as_str() == CIRCUIT_OPEN));
}

#[tokio::test(start_paused = true)]
async fn the_context_is_made_for_calls_that_fail_and_carries_the_key_of_the_tries() {
    let world = World::new();
    let guard = patient(&world).build().expect("a good policy");
    let made = AtomicU32::new(0);
    let context = || {
        made.fetch_add(1, Ordering::SeqCst);
        NewFailedOp { order_key: Some("account-7".to_owned()), ..op("payment") }
    };
    let good = guard.operation(context).run(|_| std::future::ready(Ok::<_, CallFailure>(1))).await;
    assert!(good.is_ok());
    assert_eq!(made.load(Ordering::SeqCst), 0);
    let mut keys = Vec::new();
    let failed = guard
        .operation(context)
        .run(|attempt| {
            keys.push(attempt.key());
            std::future::ready(Err::<(), _>(down()))
        })
        .await;
    let captured = failed.expect_err("it failed").captured().cloned().expect("kept");
    assert_eq!((made.load(Ordering::SeqCst), keys.len()), (1, 3));
    let entry = world.entry(captured.id).await;
    assert!(keys.iter().all(|key| *key == entry.idempotency_key));
    // The id was minted before the order key was known; the entry's follows its key.
    let route = baldur_core::id::Route::of("account-7");
    assert_eq!(entry.id.route(), route);
}

#[tokio::test(start_paused = true)]
async fn values_out_of_their_ranges_are_refused() {
    let world = World::new();
    let default = ProtectPolicy::default;
    let budget = |ratio| RetryBudgetPolicy { ratio, ..RetryBudgetPolicy::default() };
    let concurrency =
        |calls| baldur_app::protect::ConcurrencyPolicy { calls, ..Default::default() };
    let wrong = [
        ProtectPolicy { deadline: Duration::ZERO, ..default() },
        // Longer than the breaker waits for a probe.
        ProtectPolicy { deadline: SECOND * 60, ..default() },
        ProtectPolicy { timeout: SECOND * 31, ..default() },
        ProtectPolicy { fallback_timeout: SECOND * 30, ..default() },
        ProtectPolicy { retry_budget: budget(11.0), ..default() },
        ProtectPolicy { concurrency: Some(concurrency(0)), ..default() },
    ];
    for policy in wrong {
        let made = Protect::builder("gateway", world.capture_service()).policy(policy).build();
        assert!(matches!(made, Err(ProtectError::Invalid(_))));
    }
    // A shared breaker that was made by another waits no longer for this guard's probes.
    let breakers = Breakers::new(&world.env);
    let settings = BreakerSettings { probe_timeout: SECOND, ..BreakerSettings::default() };
    let short = BreakerPolicy::new(settings).expect("valid");
    breakers.get(&ServiceName::parse("gateway").expect("a name"), short);
    let made = Protect::builder("gateway", world.capture_service()).breakers(&breakers).build();
    assert!(matches!(made, Err(ProtectError::Invalid(_))));
}
