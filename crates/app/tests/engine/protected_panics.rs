//! Panics around a protected call: in the store, in what the host says of its errors and operations.

use std::sync::{Arc, atomic::Ordering};

use baldur_app::{
    Protect, Protected,
    protect::{CallFailure, FailedCall, NotKept, UNCLASSIFIED},
};
use baldur_core::{NewFailedOp, name::Domain, policy::BreakerState};

use crate::{
    faults::Faulty,
    protected::{breaker, context, down},
    world::{SECOND, World, virtual_time},
};

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_is_a_failed_capture_and_changes_no_result() {
    let world = World::new();
    let store = Faulty::new(&world.store);
    store.faults.captures_panic.store(true, Ordering::SeqCst);
    let service = world.capture_service_on(Arc::new(store));
    let guard = Protect::builder("gateway", service).build().expect("a good policy");
    let good = |_, _| std::future::ready(Ok::<_, CallFailure>(7));
    assert_eq!(guard.call(context(), good).await.expect("it worked"), 7);
    let bad = |_, _| std::future::ready(Err::<(), _>(down()));
    let error = guard.call(context(), bad).await.expect_err("it failed");
    let Protected::NotCaptured { error, cause: FailedCall::Error(cause), .. } = error else {
        panic!("{error}")
    };
    assert!(matches!(error, NotKept::Interrupted), "{error}");
    assert_eq!(cause, down());
}

#[tokio::test(start_paused = true)]
async fn an_error_whose_classification_panics_is_kept_and_returned() {
    let world = World::new();
    let guard = Protect::builder("gateway", world.capture_service())
        .tries(3)
        .breaker(breaker(1, 1))
        .build()
        .expect("a good policy");
    let mut made = 0;
    let call = |_, _| {
        made += 1;
        std::future::ready(Err::<(), _>("odd"))
    };
    let confused = |_: &&str| panic!("a bug of the host");
    let error = guard.call_with(context(), confused, call).await.expect_err("it failed");
    assert!(error.captured().is_some(), "{error}");
    assert_eq!(error.into_call_error(), Some("odd"));
    let entries = world.all().await;
    assert_eq!((entries.len(), entries[0].failure_type.as_str()), (1, UNCLASSIFIED));
    // What it means is not known, so it is neither tried again nor held against the dependency.
    assert_eq!((made, guard.state()), (1, BreakerState::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_context_that_panics_still_leaves_an_entry_with_the_key() {
    let world = World::new();
    let guard = Protect::builder("gateway", world.capture_service()).build().expect("good");
    let broken = || -> NewFailedOp { panic!("a bug of the host") };
    let mut key = None;
    let failed = guard
        .operation(broken)
        .run(|attempt| {
            key = Some(attempt.key());
            std::future::ready(Err::<(), _>(down()))
        })
        .await
        .expect_err("it failed");
    assert!(failed.captured().is_some(), "{failed}");
    let entry = &world.all().await[0];
    assert_eq!(Some(&entry.idempotency_key), key.as_ref());
    assert_eq!((&entry.domain, entry.dependency.as_str()), (&Domain::other(), "gateway"));
    assert_eq!(entry.failure_type.as_str(), "CONNECTION_REFUSED");
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_drops_a_call_may_meet_a_second_one_in_its_context() {
    let world = World::new();
    let guard = Protect::builder("gateway", world.capture_service()).build().expect("good");
    let call = tokio::spawn(async move {
        let broken = || -> NewFailedOp { panic!("a bug of the host") };
        let operation = guard.operation(broken);
        operation.run(|_| async { panic!("another one") as Result<(), CallFailure> }).await
    });
    // The process lives, and so does the entry.
    assert!(call.await.expect_err("it panicked").is_panic());
    virtual_time(SECOND).await;
    assert_eq!(world.all().await.len(), 1);
}
