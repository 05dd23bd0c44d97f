//! Pace: rate limits, targets that are down, cancelling, slow listeners.

use std::{
    num::NonZeroU32,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use baldur_app::{
    HandlerRegistry, ReplayPolicy, ReplayRequest,
    replay::{Ramp, RateLimit, ReplayEvent, StopReason},
};
use baldur_core::{
    Status,
    port::{Gate, ReplayHandler},
};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    faults::Faulty,
    world::{SECOND, TestHandler, World, domain, failed, op, ops, policy, run, succeeded, sum},
};

#[tokio::test(start_paused = true)]
async fn no_window_sees_more_than_burst_and_rate() {
    let world = World::new();
    world.captured(ops("payment", 60)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let rate = RateLimit { per_second: 10.0, burst: 5, ramp: None };
    let request = ReplayRequest { rate: Some(rate), ..ReplayRequest::due() };
    let report = run(&world.engine(registry, policy()), request).await;
    assert_eq!(report.succeeded, 60);
    let starts: Vec<_> = handler.calls().into_iter().map(|(_, _, at)| at).collect();
    for (first, from) in starts.iter().enumerate() {
        for (last, to) in starts.iter().enumerate().skip(first) {
            let most = 5.0 + 10.0 * (*to - *from).as_secs_f64();
            let count = u32::try_from(last - first + 1).expect("small");
            assert!(f64::from(count) <= most + 1e-6, "{count} within {:?}", *to - *from);
        }
    }
    // It is not slower than asked for, either: (60 - 5) / 10 seconds, and the timer's millisecond each.
    assert!(report.elapsed < Duration::from_millis(5_700), "{:?}", report.elapsed);
}

#[tokio::test(start_paused = true)]
async fn a_ramp_spares_a_target_that_has_just_recovered() {
    let world = World::new();
    world.captured(ops("payment", 100)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let ramp = Ramp { from_per_second: 1.0, over: SECOND * 10 };
    let rate = RateLimit { per_second: 20.0, burst: 10, ramp: Some(ramp) };
    let policy = ReplayPolicy { rate: Some(rate), ..policy() };
    run(&world.engine(registry, policy), ReplayRequest::due()).await;
    let calls = handler.calls();
    let first = calls[0].2;
    let within = |from: u32, to: u32| {
        let at = |call: &&(_, _, tokio::time::Instant)| {
            call.2 - first >= SECOND * from && call.2 - first < SECOND * to
        };
        calls.iter().filter(at).count()
    };
    assert_eq!(calls.len(), 100);
    assert!(within(0, 2) <= 7, "{}", within(0, 2));
    assert!(within(6, 8) >= 20, "{}", within(6, 8));
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_down_is_left_alone_and_others_are_not() {
    let world = World::new();
    world.captured(ops("payment", 200)).await;
    world.captured(ops("mail", 20)).await;
    let (down, mut registry) = TestHandler::always(failed()).handles("payment");
    let up = Arc::new(TestHandler::always(succeeded()));
    let port: Arc<dyn ReplayHandler> = Arc::<TestHandler>::clone(&up);
    registry.register(domain("mail"), port).expect("the first handler");
    let policy = ReplayPolicy {
        stop_after_consecutive_failures: NonZeroU32::new(5),
        concurrency: 4,
        ..policy()
    };
    let report = run(&world.engine(registry, policy), ReplayRequest::due()).await;
    assert!(
        matches!(&report.stop, StopReason::TargetUnavailable(down) if *down == [domain("payment")])
    );
    let calls = down.calls().len();
    assert!((5..=9).contains(&calls), "{calls} calls of a target that is down");
    assert_eq!((up.calls().len(), report.succeeded), (20, 20));
    assert_eq!(sum(&report), report.claimed);
}

#[tokio::test(start_paused = true)]
async fn a_run_by_id_stops_when_the_target_is_down() {
    let world = World::new();
    let ids = world.captured(ops("payment", 50)).await;
    let closed = |_: &_| Gate::Closed { reason: "circuit open".to_owned(), delay: SECOND };
    let (handler, registry) = TestHandler::always(succeeded()).gate(closed).handles("payment");
    let policy = ReplayPolicy {
        stop_after_consecutive_failures: NonZeroU32::new(3),
        concurrency: 2,
        ..policy()
    };
    let report = run(&world.engine(registry, policy), ReplayRequest::ids(ids)).await;
    assert!(matches!(report.stop, StopReason::TargetUnavailable(_)), "{:?}", report.stop);
    assert!(handler.asked() <= 5 && handler.calls().is_empty());
    assert_eq!(sum(&report), report.claimed);
}

#[tokio::test(start_paused = true)]
async fn a_limit_is_kept() {
    let world = World::new();
    world.captured(ops("payment", 20)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let engine = world.engine(registry, policy());
    for (limit, calls) in [(0, 0), (7, 7)] {
        let request = ReplayRequest { limit: Some(limit), ..ReplayRequest::due() };
        let report = run(&engine, request).await;
        assert!(matches!(report.stop, StopReason::LimitReached));
        assert_eq!((report.claimed, handler.calls().len()), (limit, calls));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_run_lets_handlers_finish_within_their_grace() {
    let world = World::new();
    let ids = world.captured(ops("payment", 10)).await;
    let gate = Arc::new(Semaphore::new(0));
    let cancel = CancellationToken::new();
    let handler = {
        let (gate, cancel) = (Arc::clone(&gate), cancel.clone());
        TestHandler::new(move |_, context| {
            let (gate, cancel) = (Arc::clone(&gate), cancel.clone());
            async move {
                assert_eq!(context.attempt, 1);
                cancel.cancel();
                // One of the two is let through by the test, the other waits for ever.
                gate.acquire().await.expect("open").forget();
                succeeded()
            }
        })
    };
    let (handler, registry) = handler.handles("payment");
    let policy = ReplayPolicy { concurrency: 2, handler_timeout: SECOND * 600, ..policy() };
    let engine = world.engine(registry, policy);
    gate.add_permits(1);
    let report = engine.run(ReplayRequest::due(), None, cancel).await.expect("a good request");
    assert!(matches!(report.stop, StopReason::Cancelled));
    assert_eq!((report.succeeded, report.failed, report.claimed), (1, 1, 2));
    assert_eq!(handler.calls().len(), 2);
    assert!(report.elapsed >= SECOND * 10 && report.elapsed < SECOND * 11, "{:?}", report.elapsed);
    let mut left = 0;
    for id in ids {
        left += usize::from(world.entry(id).await.state.status == Status::Pending);
    }
    assert_eq!(left, 9);
}

#[tokio::test(start_paused = true)]
async fn claims_that_a_cancelled_run_did_not_begin_are_released() {
    let world = World::new();
    let ids = world.captured(ops("payment", 4)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let faulty = Faulty::new(&world.store);
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    *faulty.faults.on_claimed.lock().expect("not poisoned") =
        Some(Box::new(move || token.cancel()));
    let engine = world.engine_on(Arc::new(faulty), registry, policy());
    let report = engine.run(ReplayRequest::due(), None, cancel).await.expect("a good request");
    assert!(matches!(report.stop, StopReason::Cancelled));
    assert_eq!((report.released, report.claimed, handler.asked()), (4, 4, 0));
    for id in ids {
        let state = world.entry(id).await.state;
        assert_eq!((state.status, state.retry_count), (Status::Pending, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_never_listens_holds_nothing_up() {
    let world = World::new();
    world.captured(ops("payment", 30)).await;
    let (_, registry) = TestHandler::always(succeeded()).handles("payment");
    let (events, mut heard) = mpsc::channel(4);
    let report = world
        .engine(registry, policy())
        .run(ReplayRequest::due(), Some(events), CancellationToken::new())
        .await
        .expect("a good request");
    assert_eq!(report.succeeded, 30);
    let mut count = 0;
    while let Ok(event) = heard.try_recv() {
        if count == 0 {
            assert!(matches!(event, ReplayEvent::Started { total: Some(30) }));
        }
        count += 1;
    }
    assert_eq!(count, 4);
    // Started, 30 items and Finished, of which four were heard.
    assert_eq!(report.events_dropped, 28);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_workers_handle_each_of_two_thousand_entries_once() {
    let world = World::new();
    let mut ids = world.captured_at_once(ops("payment", 2_000)).await;
    let handler = TestHandler::new(|_, _| async {
        tokio::task::yield_now().await;
        succeeded()
    });
    let (handler, registry) = handler.handles("payment");
    let policy = ReplayPolicy { concurrency: 8, lease: SECOND * 60, ..ReplayPolicy::default() };
    let mut runs = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let engine = world.engine(HandlerRegistry::clone(&registry), policy.clone());
        runs.spawn(async move { run(&engine, ReplayRequest::due()).await });
    }
    let reports = runs.join_all().await;
    assert_eq!(reports.iter().map(|report| report.succeeded).sum::<u64>(), 2_000);
    assert!(reports.iter().all(|report| report.succeeded == report.claimed));
    let mut called: Vec<_> = handler.calls().into_iter().map(|(id, _, _)| id).collect();
    called.sort_unstable();
    ids.sort_unstable();
    assert_eq!(called, ids);
}

#[tokio::test(start_paused = true)]
async fn an_unheard_claim_answer_is_told_as_waiting_for_the_store() {
    let world = World::new();
    world.captured(vec![op("payment")]).await;
    let (_, registry) = TestHandler::always(succeeded()).handles("payment");
    let faulty = Faulty::new(&world.store);
    faulty.faults.claims_fail.store(true, Ordering::SeqCst);
    let (events, mut heard) = mpsc::channel(100);
    let engine = world.engine_on(Arc::new(faulty), registry, policy());
    engine
        .run(ReplayRequest::due(), Some(events), CancellationToken::new())
        .await
        .expect("a good request");
    let mut waited = false;
    while let Ok(event) = heard.try_recv() {
        waited |= matches!(event, ReplayEvent::Waiting { .. });
    }
    assert!(waited);
}
