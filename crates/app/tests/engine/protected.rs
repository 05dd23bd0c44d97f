//! `protect`: one capture per failed call, one key, one breaker.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use baldur_app::{
    CallContext, Protect, ProtectPolicy, Protected,
    protect::{CALL_TIMEOUT, CIRCUIT_OPEN, CallFailure, FailedCall, OnPermanent, ProtectError},
};
use baldur_core::{
    NotReplayable, Status,
    name::IdempotencyKey,
    policy::{BreakerPolicy, BreakerSettings, BreakerState},
};
use tokio::sync::Semaphore;

use crate::world::{SECOND, World, op};

pub(crate) fn breaker(failures: u32, max_probes: u32) -> BreakerPolicy {
    BreakerPolicy::new(BreakerSettings {
        consecutive_failures: Some(failures),
        max_probes,
        successes_to_close: 2,
        ..BreakerSettings::default()
    })
    .expect("valid")
}

pub(crate) fn guard(world: &World, policy: ProtectPolicy) -> Protect {
    Protect::new("payment-gateway", world.capture_service(), policy, world.env.clone())
        .expect("a good policy")
}

pub(crate) fn context() -> CallContext {
    CallContext::new(op("payment"))
}

pub(crate) fn down() -> CallFailure {
    CallFailure::transient("CONNECTION_REFUSED", "nobody listens").error_code("111")
}

type Keys = Arc<Mutex<Vec<IdempotencyKey>>>;

/// Makes a call that notes its key and ends as told.
async fn call(
    guard: &Protect,
    context: CallContext,
    keys: &Keys,
    end: Result<u32, CallFailure>,
) -> Result<u32, Protected<CallFailure>> {
    guard
        .call(context, |key, _| {
            keys.lock().expect("not poisoned").push(key);
            std::future::ready(end.clone())
        })
        .await
}

#[tokio::test(start_paused = true)]
async fn a_success_is_returned_and_nothing_is_kept() {
    let world = World::new();
    let guard = guard(&world, ProtectPolicy::default());
    let answer = call(&guard, context(), &Keys::default(), Ok(7)).await;
    assert_eq!(answer.expect("it worked"), 7);
    assert!(world.all().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_kept_once_under_the_key_of_its_call() {
    let world = World::new();
    let guard = guard(&world, ProtectPolicy::default());
    let keys = Keys::default();
    let end = Err(down().retry_after(SECOND * 30));
    let error = call(&guard, context(), &keys, end).await.expect_err("it failed");
    let captured = error.captured().expect("kept").clone();
    assert_eq!(error.into_call_error(), Some(down().retry_after(SECOND * 30)));
    let entries = world.all().await;
    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!(entry.id, captured.id);
    assert_eq!(*keys.lock().expect("not poisoned"), std::slice::from_ref(&entry.idempotency_key));
    assert_eq!(entry.idempotency_key.as_str(), entry.id.to_string());
    assert_eq!(entry.failure_type.as_str(), "CONNECTION_REFUSED");
    assert_eq!(
        (entry.error_code.as_str(), entry.error_message.as_str()),
        ("111", "nobody listens")
    );
    assert_eq!(entry.dependency.as_str(), "payment-gateway");
    // The dependency asked to be left alone.
    assert_eq!(entry.state.next_attempt_at.since(entry.state.updated_at), SECOND * 30);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_given_is_kept_and_a_wrong_one_stops_the_call() {
    let world = World::new();
    let guard = guard(&world, ProtectPolicy::default());
    let keys = Keys::default();
    let given = CallContext::new(op("payment").idempotency_key("order-4711"));
    call(&guard, given, &keys, Err(down())).await.expect_err("it failed");
    assert_eq!(world.all().await[0].idempotency_key.as_str(), "order-4711");
    let wrong = CallContext::new(op("payment").idempotency_key("with blanks"));
    let error = call(&guard, wrong, &keys, Ok(1)).await.expect_err("no key");
    assert!(matches!(error, Protected::InvalidKey(_)), "{error}");
    assert_eq!(keys.lock().expect("not poisoned").len(), 1);
    assert_eq!(world.all().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_is_kept_once() {
    let world = World::new();
    let guard = guard(&world, ProtectPolicy::default());
    let endless = |_, _| std::future::pending::<Result<(), CallFailure>>();
    let error = guard.call(context(), endless).await.expect_err("too long");
    let timed_out = matches!(error, Protected::Captured { cause: FailedCall::TimedOut { after }, .. } if after == SECOND * 5);
    assert!(timed_out, "{error}");
    let entries = world.all().await;
    assert_eq!((entries.len(), entries[0].failure_type.as_str()), (1, CALL_TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn what_the_dependency_refuses_is_no_failure() {
    let world = World::new();
    let policy = ProtectPolicy { breaker: breaker(1, 1), ..ProtectPolicy::default() };
    let guard = guard(&world, policy);
    let declined = CallFailure::rejected("DECLINED", "no money");
    for _ in 0..5 {
        let answer = call(&guard, context(), &Keys::default(), Err(declined.clone())).await;
        assert!(matches!(answer, Err(Protected::Returned(error)) if error == declined));
    }
    assert!(world.all().await.is_empty());
    assert_eq!(guard.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn permanent_failures_are_kept_unless_the_policy_says_otherwise() {
    let world = World::new();
    let wrong = CallFailure::permanent("BAD_REQUEST", "no such field");
    for (on_permanent, kept) in [(OnPermanent::Return, 0), (OnPermanent::Capture, 1)] {
        let breaker = breaker(1, 1);
        let policy = ProtectPolicy { on_permanent, breaker, ..ProtectPolicy::default() };
        let guard = guard(&world, policy);
        let error = call(&guard, context(), &Keys::default(), Err(wrong.clone())).await;
        let error = error.expect_err("it failed");
        assert_eq!(error.captured().is_some(), kept == 1);
        assert_eq!(world.all().await.len(), kept);
        assert_eq!(guard.state(), BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn several_tries_are_one_call_with_one_key_and_one_capture() {
    let world = World::new();
    let policy = ProtectPolicy { tries: 3, breaker: breaker(9, 1), ..ProtectPolicy::default() };
    let guard = guard(&world, policy);
    let keys = Keys::default();
    call(&guard, context(), &keys, Err(down())).await.expect_err("it failed");
    let keys = keys.lock().expect("not poisoned").clone();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]));
    let entries = world.all().await;
    assert_eq!((entries.len(), &entries[0].idempotency_key), (1, &keys[0]));

    let answer = guard
        .call(context(), |_, attempt| {
            std::future::ready(if attempt < 3 { Err(down()) } else { Ok(attempt) })
        })
        .await;
    assert_eq!(answer.expect("the third try worked"), 3);
    assert_eq!(world.all().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_keeps_calls_without_making_them() {
    let world = World::new();
    let policy = ProtectPolicy { breaker: breaker(3, 1), ..ProtectPolicy::default() };
    let guard = guard(&world, policy);
    let keys = Keys::default();
    for _ in 0..3 {
        call(&guard, context(), &keys, Err(down())).await.expect_err("it failed");
    }
    assert_eq!(guard.state(), BreakerState::Open);
    let error = call(&guard, context(), &keys, Ok(1)).await.expect_err("open");
    let open = matches!(
        error,
        Protected::Captured { cause: FailedCall::BreakerOpen { retry_in }, .. }
            if retry_in == SECOND * 10
    );
    assert!(open, "{error}");
    assert_eq!(keys.lock().expect("not poisoned").len(), 3);
    let entries = world.all().await;
    let open = entries.iter().filter(|entry| entry.failure_type.as_str() == CIRCUIT_OPEN);
    assert_eq!((entries.len(), open.count()), (4, 1));
}

#[tokio::test(start_paused = true)]
async fn a_half_open_breaker_lets_no_more_probes_pass_than_allowed() {
    let world = World::new();
    let policy = ProtectPolicy { breaker: breaker(1, 2), ..ProtectPolicy::default() };
    let guard = guard(&world, policy);
    call(&guard, context(), &Keys::default(), Err(down())).await.expect_err("it failed");
    tokio::time::advance(SECOND * 10).await;

    let (made, done) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (guard, made, done) = (guard.clone(), Arc::clone(&made), Arc::clone(&done));
        calls.spawn(async move {
            let probe = |_, _| {
                let (made, done) = (Arc::clone(&made), Arc::clone(&done));
                async move {
                    made.fetch_add(1, Ordering::SeqCst);
                    done.acquire().await.expect("open").forget();
                    Ok::<_, CallFailure>(())
                }
            };
            guard.call(context(), probe).await.is_ok()
        });
    }
    for _ in 0..18 {
        assert!(!calls.join_next().await.expect("a call").expect("no panic"));
    }
    assert_eq!(made.load(Ordering::SeqCst), 2);
    assert_eq!(guard.state(), BreakerState::HalfOpen);
    done.add_permits(2);
    assert!(calls.join_all().await.iter().all(|passed| *passed));
    assert_eq!(guard.state(), BreakerState::Closed);
    assert_eq!(world.all().await.len(), 19);
}

#[tokio::test(start_paused = true)]
async fn a_request_too_large_to_replay_is_kept_for_a_person() {
    let world = World::new();
    let guard = guard(&world, ProtectPolicy::default());
    let large = format!("\"{}\"", "x".repeat(2 << 20));
    let context = CallContext::new(op("payment").request_data(large));
    let error = call(&guard, context, &Keys::default(), Err(down())).await.expect_err("it failed");
    assert!(error.captured().is_some());
    let entry = &world.all().await[0];
    assert_eq!(entry.state.status, Status::RequiresReview);
    assert_eq!(entry.state.not_replayable, Some(NotReplayable::RequestTooLarge));
}

#[tokio::test(start_paused = true)]
async fn names_and_values_out_of_range_are_refused() {
    let world = World::new();
    let wrong = [
        ("", ProtectPolicy::default()),
        ("gateway", ProtectPolicy { tries: 0, ..ProtectPolicy::default() }),
        ("gateway", ProtectPolicy { timeout: Duration::ZERO, ..ProtectPolicy::default() }),
        // A probe that may outlive its own timeout would never be counted.
        ("gateway", ProtectPolicy { timeout: SECOND * 60, ..ProtectPolicy::default() }),
    ];
    for (name, policy) in wrong {
        let made = Protect::new(name, world.capture_service(), policy, world.env.clone());
        assert!(matches!(made, Err(ProtectError::Name(_) | ProtectError::Invalid(_))));
    }
}
