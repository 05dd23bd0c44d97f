//! `protect` when Baldur itself fails, and when nobody waits for the call any more.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use baldur_app::{
    Protect, ProtectPolicy, Protected,
    protect::{CALL_DROPPED, CallFailure, FailedCall, NotKept, OnDrop},
};
use baldur_core::policy::BreakerState;
use tokio::{sync::Notify, time::timeout};

use crate::{
    faults::{Faults, Faulty},
    protected::{breaker, context, down, guard},
    world::{SECOND, World, virtual_time},
};

fn faulty_guard(world: &World, faults: Faults) -> (Protect, Arc<Faults>) {
    let store = Faulty { store: world.store.clone(), faults: Arc::new(faults) };
    let faults = Arc::clone(&store.faults);
    let service = world.capture_service_on(Arc::new(store));
    let guard = Protect::new("gateway", service, ProtectPolicy::default(), world.env.clone())
        .expect("a good policy");
    (guard, faults)
}

async fn fails(guard: &Protect) -> Protected<CallFailure> {
    let call = |_, _| std::future::ready(Err::<(), _>(down()));
    guard.call(context(), call).await.expect_err("it failed")
}

async fn settled() {
    virtual_time(SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_never_changes_a_success() {
    let world = World::new();
    let (guard, faults) = faulty_guard(&world, Faults::default());
    faults.captures_fail.store(true, Ordering::SeqCst);
    let call = |_, _| std::future::ready(Ok::<_, CallFailure>(7));
    assert_eq!(guard.call(context(), call).await.expect("it worked"), 7);
    assert_eq!(faults.captures_begun.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_capture_shows_both_errors_within_its_time() {
    let world = World::new();
    let (guard, faults) = faulty_guard(&world, Faults::default());
    faults.captures_fail.store(true, Ordering::SeqCst);
    let begun = tokio::time::Instant::now();
    let error = fails(&guard).await;
    assert!(begun.elapsed() <= SECOND * 5 + SECOND / 100, "{:?}", begun.elapsed());
    assert!(error.to_string().contains("unavailable"), "{error}");
    let Protected::NotCaptured { error, cause: FailedCall::Error(cause), .. } = error else {
        panic!("{error}")
    };
    assert!(matches!(error, NotKept::Failed(_)), "{error}");
    assert_eq!(cause, down());
    assert!(faults.captures_begun.load(Ordering::SeqCst) > 1, "not repeated");
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_hangs_is_given_up() {
    let world = World::new();
    let faults = Faults { captures_wait: Some(Arc::default()), ..Faults::default() };
    let (guard, _) = faulty_guard(&world, faults);
    let error = fails(&guard).await;
    let timed_out = matches!(
        error,
        Protected::NotCaptured { error: NotKept::TimedOut { after }, .. } if after == SECOND * 5
    );
    assert!(timed_out, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_nobody_heard_of_is_repeated_and_kept_once() {
    let world = World::new();
    let (guard, faults) = faulty_guard(&world, Faults::default());
    faults.captures_unheard.store(2, Ordering::SeqCst);
    let error = fails(&guard).await;
    assert!(error.captured().is_some(), "{error}");
    assert_eq!(faults.captures_begun.load(Ordering::SeqCst), 3);
    let entries = world.all().await;
    assert_eq!((entries.len(), entries[0].state.occurrences), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_while_it_was_under_way_is_kept_in_the_background() {
    let world = World::new();
    let guard = guard(&world, ProtectPolicy::default());
    let endless = |_, _| std::future::pending::<Result<(), CallFailure>>();
    let dropped = timeout(SECOND, guard.call(context(), endless)).await;
    assert!(dropped.is_err());
    settled().await;
    let entries = world.all().await;
    assert_eq!((entries.len(), entries[0].failure_type.as_str()), (1, CALL_DROPPED));
    assert_eq!(entries[0].idempotency_key.as_str(), entries[0].id.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_panicking_call_is_kept_like_a_dropped_one() {
    let world = World::new();
    let guard = guard(&world, ProtectPolicy::default());
    let task = tokio::spawn(async move {
        let call = |_, _| async { panic!("a bug of the host") };
        guard.call::<(), CallFailure, _, _>(context(), call).await.is_ok()
    });
    assert!(task.await.expect_err("it panicked").is_panic());
    settled().await;
    let entries = world.all().await;
    assert_eq!((entries.len(), entries[0].failure_type.as_str()), (1, CALL_DROPPED));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_is_forgotten_where_the_policy_says_so_or_it_never_began() {
    let world = World::new();
    let policy = ProtectPolicy { on_drop: OnDrop::Ignore, ..ProtectPolicy::default() };
    let endless = |_, _| std::future::pending::<Result<(), CallFailure>>();
    let ignoring = guard(&world, policy);
    assert!(timeout(SECOND, ignoring.call(context(), endless)).await.is_err());
    let capturing = guard(&world, ProtectPolicy::default());
    drop(capturing.call(context(), endless));
    settled().await;
    assert!(world.all().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_probe_returns_its_permit() {
    let world = World::new();
    let policy = ProtectPolicy { breaker: breaker(1, 1), ..ProtectPolicy::default() };
    let guard = guard(&world, policy);
    fails(&guard).await;
    tokio::time::advance(SECOND * 10).await;
    let endless = |_, _| std::future::pending::<Result<(), CallFailure>>();
    assert!(timeout(SECOND, guard.call(context(), endless)).await.is_err());
    assert_eq!(guard.state(), BreakerState::HalfOpen);
    for _ in 0..2 {
        let call = |_, _| std::future::ready(Ok::<_, CallFailure>(()));
        guard.call(context(), call).await.expect("the permit is free");
    }
    assert_eq!(guard.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_capture_goes_on_when_its_caller_goes_away() {
    let world = World::new();
    let gate = Arc::new(Notify::new());
    let faults = Faults { captures_wait: Some(Arc::clone(&gate)), ..Faults::default() };
    let (guard, faults) = faulty_guard(&world, faults);
    assert!(timeout(SECOND, fails(&guard)).await.is_err());
    assert!(world.all().await.is_empty());
    gate.notify_one();
    settled().await;
    // The failed call was kept, and not a second time as a dropped one.
    let entries = world.all().await;
    assert_eq!((entries.len(), entries[0].failure_type.as_str()), (1, "CONNECTION_REFUSED"));
    assert_eq!(faults.captures_begun.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn captures_in_the_background_are_bounded_in_number() {
    let world = World::new();
    let faults = Faults { captures_wait: Some(Arc::default()), ..Faults::default() };
    let store = Faulty { store: world.store.clone(), faults: Arc::new(faults) };
    let service = world.capture_service_on(Arc::new(store.clone()));
    let policy = ProtectPolicy { background_captures: 3, ..ProtectPolicy::default() };
    let guard = Protect::new("gateway", service, policy, world.env.clone()).expect("a good policy");
    let made = AtomicU32::new(0);
    for _ in 0..10 {
        let endless = |_, _| {
            made.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<(), CallFailure>>()
        };
        let call = guard.call(context(), endless);
        assert!(timeout(std::time::Duration::from_millis(1), call).await.is_err());
    }
    virtual_time(SECOND).await;
    assert_eq!(made.load(Ordering::SeqCst), 10);
    assert_eq!(store.faults.captures_begun.load(Ordering::SeqCst), 3);
}
