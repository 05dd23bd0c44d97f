//! The concurrency limit: slots, a queue in order, refusals that are kept, and nothing lost by those who go away.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use baldur_app::{
    Protect, Protected,
    protect::{BULKHEAD_FULL, CallFailure, ConcurrencyPolicy, FailedCall, OnDrop},
};
use baldur_core::policy::BreakerState;
use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};

use crate::{
    protected::{breaker, context, down},
    protected_order::patient,
    world::{SECOND, World, virtual_time},
};

fn limited(world: &World, calls: usize, waiting: usize, max_wait: Duration) -> Protect {
    patient(world)
        .concurrency(ConcurrencyPolicy { calls, waiting, max_wait })
        .on_drop(OnDrop::Ignore)
        .build()
        .expect("a good policy")
}

type Answer = Result<(), Protected<CallFailure>>;

/// A call that ends when there is a permit for it.
fn held(guard: &Protect, done: &Arc<Semaphore>) -> JoinHandle<Answer> {
    let (guard, done) = (guard.clone(), Arc::clone(done));
    tokio::spawn(async move {
        let call = |_, _| {
            let done = Arc::clone(&done);
            async move {
                done.acquire().await.expect("open").forget();
                Ok::<_, CallFailure>(())
            }
        };
        guard.call(context(), call).await
    })
}

async fn works(guard: &Protect) -> Answer {
    guard.call(context(), |_, _| std::future::ready(Ok(()))).await
}

async fn settled() {
    virtual_time(Duration::from_millis(5)).await;
}

#[tokio::test(start_paused = true)]
async fn so_many_calls_run_so_many_wait_and_the_rest_is_refused_and_kept() {
    let world = World::new();
    let guard = limited(&world, 2, 1, SECOND * 2);
    let done = Arc::new(Semaphore::new(0));
    let running = [held(&guard, &done), held(&guard, &done)];
    settled().await;
    let waiting = held(&guard, &done);
    settled().await;
    let error = works(&guard).await.expect_err("no room");
    let refused = matches!(
        error,
        Protected::Captured { cause: FailedCall::BulkheadFull { waited }, .. } if waited.is_zero()
    );
    assert!(refused, "{error}");
    done.add_permits(3);
    for call in running.into_iter().chain([waiting]) {
        call.await.expect("no panic").expect("it worked");
    }
    let entries = world.all().await;
    assert_eq!((entries.len(), entries[0].failure_type.as_str()), (1, BULKHEAD_FULL));
    // Nobody saw the dependency fail.
    assert_eq!(guard.state(), BreakerState::Closed);
    works(&guard).await.expect("there is room again");
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_no_longer_than_allowed() {
    let world = World::new();
    let guard = limited(&world, 1, 8, SECOND * 2);
    let done = Arc::new(Semaphore::new(0));
    let running = held(&guard, &done);
    settled().await;
    let error = works(&guard).await.expect_err("its turn did not come");
    let refused = matches!(
        error,
        Protected::Captured { cause: FailedCall::BulkheadFull { waited }, .. } if waited == SECOND * 2
    );
    assert!(refused, "{error}");
    done.add_permits(1);
    running.await.expect("no panic").expect("it worked");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_counts_the_wait() {
    let world = World::new();
    let concurrency = ConcurrencyPolicy { calls: 1, waiting: 1, max_wait: SECOND * 60 };
    let guard = patient(&world)
        .deadline(SECOND * 4)
        .timeout(SECOND * 4)
        .breaker(breaker(1, 1))
        .concurrency(concurrency)
        .build()
        .expect("a good policy");
    let done = Arc::new(Semaphore::new(0));
    let running = held(&guard, &done);
    virtual_time(SECOND).await;
    let waiting = held(&guard, &Arc::new(Semaphore::new(0)));
    virtual_time(SECOND * 2).await;
    done.add_permits(1);
    running.await.expect("no panic").expect("it worked");
    // It waited for two of its four seconds, so its try was cut: that is not the dependency's fault.
    let error = waiting.await.expect("no panic").expect_err("too late");
    assert!(
        matches!(error, Protected::Captured { cause: FailedCall::DeadlinePassed { .. }, .. }),
        "{error}"
    );
    assert_eq!(guard.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn slots_are_given_in_order_of_coming() {
    let world = World::new();
    let guard = limited(&world, 1, 10, SECOND * 30);
    let done = Arc::new(Semaphore::new(0));
    let first = held(&guard, &done);
    settled().await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for n in 0..10_u32 {
        let (guard, order) = (guard.clone(), Arc::clone(&order));
        waiting.push(tokio::spawn(async move {
            let call = |_, _| {
                order.lock().expect("not poisoned").push(n);
                std::future::ready(Ok::<_, CallFailure>(()))
            };
            guard.call(context(), call).await.expect("it worked");
        }));
        settled().await;
    }
    done.add_permits(1);
    first.await.expect("no panic").expect("it worked");
    for call in waiting {
        call.await.expect("no panic");
    }
    assert_eq!(*order.lock().expect("not poisoned"), (0..10).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_pauses_between_tries_holds_its_slot() {
    let world = World::new();
    let guard = limited(&world, 1, 0, SECOND);
    let pausing = guard.clone();
    let pausing = tokio::spawn(async move {
        let call = |_, _| std::future::ready(Err::<(), _>(down()));
        pausing.call(context(), call).await
    });
    virtual_time(SECOND / 2).await;
    let error = works(&guard).await.expect_err("no room");
    assert!(matches!(error, Protected::Captured { cause: FailedCall::BulkheadFull { .. }, .. }));
    assert!(pausing.await.expect("no panic").is_err());
    works(&guard).await.expect("there is room again");
}

/// Calls are dropped wherever they may be: in the queue, in a try, in a pause, in the capture. All that they held comes back.
#[tokio::test(start_paused = true)]
async fn who_goes_away_leaves_slot_queue_and_probe_behind() {
    let world = World::new();
    let guard = limited(&world, 1, 1, SECOND * 10);
    let done = Arc::new(Semaphore::new(0));
    for _ in 0..20 {
        // In a try.
        let endless = |_, _| std::future::pending::<Answer>();
        let call = guard.call_with(context(), |_| down(), endless);
        assert!(timeout(SECOND / 10, call).await.is_err());
        // In the queue, whose only place is free again each time.
        let running = held(&guard, &done);
        settled().await;
        assert!(timeout(SECOND / 10, works(&guard)).await.is_err());
        running.abort();
        assert!(running.await.expect_err("aborted").is_cancelled());
        // In a pause.
        let failing = |_, _| std::future::ready(Err::<(), _>(down()));
        assert!(timeout(SECOND / 10, guard.call(context(), failing)).await.is_err());
        works(&guard).await.expect("the slot is free");
    }
    assert!(world.all().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_refused_by_the_bulkhead_returns_its_permit() {
    let world = World::new();
    let concurrency = ConcurrencyPolicy { calls: 1, waiting: 0, max_wait: SECOND };
    let builder = patient(&world).tries(1).timeout(SECOND * 25).breaker(breaker(1, 1));
    let guard = builder.concurrency(concurrency).build().expect("a good policy");
    let done = Arc::new(Semaphore::new(0));
    let made = AtomicU32::new(0);
    let slow = |_, _| {
        made.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Err::<(), _>(down()))
    };
    // A call from before the breaker opens holds the slot.
    let running = held(&guard, &done);
    settled().await;
    let refused = guard.call(context(), slow).await.expect_err("no room");
    assert!(matches!(refused, Protected::Captured { cause: FailedCall::BulkheadFull { .. }, .. }));
    guard.breaker().admit().expect("closed").end(baldur_core::policy::CallOutcome::Failure);
    virtual_time(SECOND * 10).await;
    for _ in 0..3 {
        // Each is admitted as the one probe and meets the full bulkhead, so none may keep the permit.
        let refused = guard.call(context(), slow).await.expect_err("no room");
        assert!(matches!(
            refused,
            Protected::Captured { cause: FailedCall::BulkheadFull { .. }, .. }
        ));
    }
    done.add_permits(1);
    running.abort();
    let _ = running.await;
    for _ in 0..2 {
        works(&guard).await.expect("a probe");
    }
    assert_eq!((guard.state(), made.load(Ordering::SeqCst)), (BreakerState::Closed, 0));
}
