//! Fallbacks: when they are asked, how long they have, and what becomes of the failed call.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use baldur_app::{
    Protect, Protected,
    protect::{
        CALL_TIMEOUT, CallFailure, FailedCall, Guarded, NotKept, OnFallback, OnPermanent, ValueFrom,
    },
};
use tokio::time::{Instant, timeout};

use crate::{
    faults::{Faults, Faulty},
    protected::{breaker, down},
    protected_order::patient,
    world::{SECOND, World, op, virtual_time},
};

type Answer = Result<Guarded<u32>, Protected<CallFailure>>;

/// A call that ends as told, with a fallback that gives this.
async fn called(
    guard: &Protect,
    end: Result<u32, CallFailure>,
    fallback: Option<u32>,
    asked: &AtomicU32,
) -> Answer {
    guard
        .operation(|| op("payment"))
        .fallback(|_: &FailedCall<CallFailure>| {
            asked.fetch_add(1, Ordering::SeqCst);
            std::future::ready(fallback)
        })
        .run(|_| std::future::ready(end.clone()))
        .await
}

#[tokio::test(start_paused = true)]
async fn a_call_that_works_asks_for_no_fallback() {
    let world = World::new();
    let guard = patient(&world).build().expect("a good policy");
    let asked = AtomicU32::new(0);
    let guarded = called(&guard, Ok(1), Some(2), &asked).await.expect("it worked");
    assert_eq!((guarded.value, guarded.from), (1, ValueFrom::Call));
    assert!(guarded.captured.is_none() && guarded.not_kept.is_none());
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_failed_call_with_a_fallback_is_captured_or_not_by_policy() {
    for (on_fallback, kept) in [(OnFallback::Capture, 1), (OnFallback::Skip, 0)] {
        let world = World::new();
        let guard = patient(&world).on_fallback(on_fallback).build().expect("a good policy");
        let asked = AtomicU32::new(0);
        let guarded = called(&guard, Err(down()), Some(2), &asked).await.expect("a value");
        assert_eq!((guarded.value, guarded.from), (2, ValueFrom::Fallback));
        let entries = world.all().await;
        assert_eq!(entries.len(), kept);
        assert_eq!(
            guarded.captured.map(|captured| captured.id),
            entries.first().map(|entry| entry.id)
        );
        // After the last try, once.
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_without_a_value_leaves_the_call_failed() {
    let world = World::new();
    let guard = patient(&world).on_fallback(OnFallback::Skip).build().expect("a good policy");
    let error = called(&guard, Err(down()), None, &AtomicU32::new(0)).await.expect_err("failed");
    assert!(error.captured().is_some());
    assert_eq!(world.all().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_on_business_grounds_needs_no_fallback() {
    let world = World::new();
    let guard = patient(&world).build().expect("a good policy");
    let declined = CallFailure::rejected("DECLINED", "no money");
    let asked = AtomicU32::new(0);
    let error = called(&guard, Err(declined.clone()), Some(2), &asked).await.expect_err("refused");
    assert!(matches!(error, Protected::Returned(refusal) if refusal == declined));
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn permanent_failures_and_open_breakers_have_fallbacks_too() {
    let world = World::new();
    let guard = patient(&world)
        .on_permanent(OnPermanent::Return)
        .tries(1)
        .breaker(breaker(1, 1))
        .build()
        .expect("a good policy");
    let asked = AtomicU32::new(0);
    let wrong = CallFailure::permanent("BAD_REQUEST", "no such field");
    let guarded = called(&guard, Err(wrong), Some(2), &asked).await.expect("a value");
    // The policy keeps no permanent failures, with a fallback or without.
    assert!(guarded.captured.is_none() && world.all().await.is_empty());
    called(&guard, Err(down()), Some(2), &asked).await.expect("a value");
    let guarded = called(&guard, Ok(1), Some(2), &asked).await.expect("a value");
    assert_eq!((guarded.from, asked.load(Ordering::SeqCst)), (ValueFrom::Fallback, 3));
}

#[tokio::test(start_paused = true)]
async fn the_tries_leave_time_for_the_fallback_and_the_deadline_ends_it() {
    let world = World::new();
    let guard = patient(&world)
        .deadline(SECOND * 5)
        .timeout(SECOND * 5)
        .fallback_timeout(SECOND * 2)
        .build()
        .expect("a good policy");
    let begun = Instant::now();
    let call = |_| std::future::pending::<Result<u32, CallFailure>>();
    let seen = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&seen);
    let guarded = guard
        .operation(|| op("payment"))
        .fallback(move |failed: &FailedCall<CallFailure>| {
            told.store(matches!(failed, FailedCall::DeadlinePassed { .. }), Ordering::SeqCst);
            async move { (begun.elapsed() < SECOND * 4).then_some(1) }
        })
        .run(call)
        .await
        .expect("a value");
    assert_eq!((guarded.value, begun.elapsed().as_secs()), (1, 3));
    assert!(seen.load(Ordering::SeqCst));

    let begun = Instant::now();
    let error = guard
        .operation(|| op("payment"))
        .fallback(|_: &FailedCall<CallFailure>| std::future::pending::<Option<u32>>())
        .run(call)
        .await
        .expect_err("no value");
    assert!(error.captured().is_some());
    assert_eq!(begun.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_is_returned_though_its_call_could_not_be_captured() {
    let world = World::new();
    let store = Faulty::new(&world.store);
    store.faults.captures_fail.store(true, Ordering::SeqCst);
    let service = world.capture_service_on(Arc::new(store));
    let guard = Protect::builder("gateway", service).build().expect("a good policy");
    let guarded = called(&guard, Err(down()), Some(2), &AtomicU32::new(0)).await.expect("a value");
    assert_eq!(guarded.value, 2);
    assert!(guarded.captured.is_none());
    assert!(matches!(guarded.not_kept, Some(NotKept::Failed(_))));
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_in_its_fallback_is_kept_as_what_it_was() {
    let world = World::new();
    let guard = patient(&world)
        .on_fallback(OnFallback::Skip)
        .tries(1)
        .timeout(SECOND)
        .build()
        .expect("a good policy");
    let call = guard
        .operation(|| op("payment"))
        .fallback(|_: &FailedCall<CallFailure>| std::future::pending::<Option<u32>>())
        .run(|_| std::future::pending());
    assert!(timeout(SECOND * 2, call).await.is_err());
    virtual_time(SECOND).await;
    let entries = world.all().await;
    assert_eq!((entries.len(), entries[0].failure_type.as_str()), (1, CALL_TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn a_fallback_that_panics_leaves_the_failure_kept() {
    let world = World::new();
    let guard = patient(&world).tries(1).build().expect("a good policy");
    let call = tokio::spawn(async move {
        let broken = |_: &FailedCall<CallFailure>| async { panic!("a bug of the host") };
        let operation = guard.operation(|| op("payment")).fallback(broken);
        let _: Answer = operation.run(|_| std::future::ready(Err(down()))).await;
    });
    assert!(call.await.expect_err("it panicked").is_panic());
    virtual_time(SECOND).await;
    let entries = world.all().await;
    assert_eq!((entries.len(), entries[0].failure_type.as_str()), (1, "CONNECTION_REFUSED"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_holds_a_fallback_no_longer_than_its_time() {
    let world = World::new();
    let faults = Faults { captures_wait: Some(Arc::default()), ..Faults::default() };
    let store = Faulty { store: world.store.clone(), faults: Arc::new(faults) };
    let service = world.capture_service_on(Arc::new(store));
    let guard = Protect::builder("gateway", service).capture_timeout(SECOND).build();
    let guard = guard.expect("a good policy");
    let begun = Instant::now();
    let guarded = called(&guard, Err(down()), Some(2), &AtomicU32::new(0)).await.expect("a value");
    assert_eq!((guarded.value, begun.elapsed().as_secs()), (2, 1));
    assert!(matches!(guarded.not_kept, Some(NotKept::TimedOut { .. })));
}
