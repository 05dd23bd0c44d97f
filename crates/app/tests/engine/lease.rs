//! Claims: heartbeats, lost leases, refused and unheard settles, crashes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use baldur_app::{ReplayPolicy, ReplayRequest, replay::StopReason};
use baldur_core::{
    AttemptOutcome, Evidence, EvidenceEvent, Status, Timestamp,
    command::Lapse,
    port::{ClaimStore, EvidenceLog},
};
use tokio_util::sync::CancellationToken;

use crate::{
    faults::Faulty,
    world::{SECOND, TestHandler, World, op, ops, policy, run, succeeded, sum, virtual_time},
};

fn lapse() -> Lapse {
    let evidence = Evidence::system(Timestamp::UNIX_EPOCH);
    Lapse { limit: 100, retry_in: std::time::Duration::ZERO, evidence }
}

/// Tells when it is dropped.
struct Witness(Arc<AtomicBool>);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn hanging_handler(dropped: &Arc<AtomicBool>) -> TestHandler {
    let dropped = Arc::clone(dropped);
    TestHandler::new(move |_, _| {
        let witness = Witness(Arc::clone(&dropped));
        async move {
            std::future::pending::<()>().await;
            drop(witness);
            succeeded()
        }
    })
}

fn patient() -> ReplayPolicy {
    ReplayPolicy { handler_timeout: SECOND * 600, ..policy() }
}

#[tokio::test(start_paused = true)]
async fn heartbeats_keep_a_slow_handlers_claim_alive() {
    let world = World::new();
    let id = world.captured(vec![op("payment")]).await[0];
    let store = world.store.clone();
    let handler = TestHandler::new(move |_, _| {
        let store = store.clone();
        async move {
            // Twenty leases long, somebody tries to take the claim away.
            for _ in 0..60 {
                virtual_time(SECOND).await;
                let lapsed = store.lapse(lapse()).await.expect("the store answers");
                assert!(lapsed.lapsed.is_empty(), "the claim ran out");
            }
            succeeded()
        }
    });
    let (handler, registry) = handler.handles("payment");
    let report = run(&world.engine(registry, patient()), ReplayRequest::due()).await;
    assert_eq!((report.succeeded, report.claimed), (1, 1));
    assert_eq!(handler.calls().len(), 1);
    assert_eq!(world.entry(id).await.state.status, Status::Resolved);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_could_not_be_extended_drops_its_handler() {
    let world = World::new();
    let id = world.captured(vec![op("payment")]).await[0];
    let dropped = Arc::new(AtomicBool::new(false));
    let (_, registry) = hanging_handler(&dropped).handles("payment");
    let faulty = Faulty::new(&world.store);
    faulty.faults.extends_fail.store(true, Ordering::SeqCst);
    let engine = world.engine_on(Arc::new(faulty), registry, patient());
    let report = run(&engine, ReplayRequest::due()).await;
    assert_eq!((report.stale, sum(&report), report.claimed), (1, 1, 1));
    // The lease of three seconds was not outlived.
    assert!(report.elapsed >= SECOND * 3 && report.elapsed < SECOND * 4, "{:?}", report.elapsed);
    tokio::task::yield_now().await;
    assert!(dropped.load(Ordering::SeqCst));
    assert_eq!(world.entry(id).await.state.status, Status::Replaying);
    let lapsed = world.store.lapse(lapse()).await.expect("the store answers");
    assert_eq!(lapsed.lapsed, [(id, Status::Pending)]);
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_that_is_refused_drops_the_handler_at_once() {
    let world = World::new();
    world.captured(vec![op("payment")]).await;
    let dropped = Arc::new(AtomicBool::new(false));
    let (_, registry) = hanging_handler(&dropped).handles("payment");
    let faulty = Faulty::new(&world.store);
    faulty.faults.extends_are_stale.store(true, Ordering::SeqCst);
    let engine = world.engine_on(Arc::new(faulty), registry, patient());
    let report = run(&engine, ReplayRequest::due()).await;
    assert_eq!((report.stale, report.claimed), (1, 1));
    // At the first heartbeat, a third into the lease.
    assert!(report.elapsed >= SECOND && report.elapsed < SECOND * 2, "{:?}", report.elapsed);
    tokio::task::yield_now().await;
    assert!(dropped.load(Ordering::SeqCst));
}

#[tokio::test(start_paused = true)]
async fn a_settle_after_the_claim_was_lost_is_refused_and_reported() {
    // The store's clock runs ahead: only the store knows that the lease is over.
    let world = World::new();
    let id = world.captured(vec![op("payment")]).await[0];
    let (store, clock) = (world.store.clone(), Arc::clone(&world.clock));
    let handler = TestHandler::new(move |_, _| {
        let (store, clock) = (store.clone(), Arc::clone(&clock));
        async move {
            clock.run_ahead(SECOND * 4);
            let lapse = Lapse { retry_in: SECOND * 60, ..lapse() };
            let lapsed = store.lapse(lapse).await.expect("the store answers");
            assert_eq!(lapsed.lapsed.len(), 1);
            succeeded()
        }
    });
    let (_, registry) = handler.handles("payment");
    let report = run(&world.engine(registry, patient()), ReplayRequest::due()).await;
    assert_eq!((report.stale, report.succeeded, report.claimed), (1, 0, 1));
    let entry = world.entry(id).await;
    assert_eq!(entry.state.status, Status::Pending);
    let trail = world.store.trail(id, 0, 100).await.expect("the store answers");
    assert_eq!(trail.last().map(|record| record.event), Some(EvidenceEvent::SettleRefused));
}

#[tokio::test(start_paused = true)]
async fn a_settle_that_nobody_heard_of_is_repeated_and_counts_once() {
    let world = World::new();
    let ids = world.captured(ops("payment", 3)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let faulty = Faulty::new(&world.store);
    faulty.faults.settles_unheard.store(3, Ordering::SeqCst);
    let engine = world.engine_on(Arc::new(faulty), registry, policy());
    let report = run(&engine, ReplayRequest::due()).await;
    assert_eq!((report.succeeded, report.claimed), (3, 3));
    assert_eq!(handler.calls().len(), 3);
    for id in ids {
        let entry = world.entry(id).await;
        assert_eq!((entry.state.status, entry.state.attempts.total()), (Status::Resolved, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn settles_are_given_up_when_the_claim_is_over() {
    let world = World::new();
    world.captured(vec![op("payment")]).await;
    let (_, registry) = TestHandler::always(succeeded()).handles("payment");
    let faulty = Faulty::new(&world.store);
    faulty.faults.settles_unheard.store(u32::MAX, Ordering::SeqCst);
    faulty.faults.extends_fail.store(true, Ordering::SeqCst);
    let engine = world.engine_on(Arc::new(faulty), registry, policy());
    let report = run(&engine, ReplayRequest::due()).await;
    assert_eq!((report.stale, sum(&report), report.claimed), (1, 1, 1));
    assert!(matches!(report.stop, StopReason::StoreUnavailable(_)), "{:?}", report.stop);
    assert!(report.elapsed < SECOND * 6, "{:?}", report.elapsed);
}

#[tokio::test(start_paused = true)]
async fn an_entry_whose_result_found_no_room_is_replayed_again() {
    let world = World::new();
    let id = world.captured(vec![op("payment")]).await[0];
    let faulty = Faulty::new(&world.store);
    let trouble = Arc::clone(&faulty.faults);
    let handler = TestHandler::new(move |_, _| {
        trouble.full.store(true, Ordering::SeqCst);
        async { succeeded() }
    });
    let (first, registry) = handler.handles("payment");
    let engine = world.engine_on(Arc::new(faulty), registry, policy());
    let report = run(&engine, ReplayRequest::due()).await;
    assert_eq!((report.stale, report.succeeded, report.claimed), (1, 0, 1));
    assert_eq!(world.entry(id).await.state.status, Status::Replaying);

    let (second, registry) = TestHandler::always(succeeded()).handles("payment");
    virtual_time(SECOND * 4).await;
    let report = run(&world.engine(registry, policy()), ReplayRequest::due()).await;
    assert_eq!((report.succeeded, report.claimed), (1, 1));
    assert_eq!(world.entry(id).await.state.status, Status::Resolved);
    // As the idempotency key is the entry's, both calls of the target carry the same one.
    let called = [first.calls(), second.calls()].concat();
    let called: Vec<_> = called.iter().map(|(id, context, _)| (*id, context.attempt)).collect();
    assert_eq!(called, [(id, 1), (id, 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_gives_no_claims_ends_the_run_after_its_patience() {
    let world = World::new();
    world.captured(ops("payment", 3)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let faulty = Faulty::new(&world.store);
    faulty.faults.claims_fail.store(true, Ordering::SeqCst);
    let engine = world.engine_on(Arc::new(faulty), registry, policy());
    let report = run(&engine, ReplayRequest::due()).await;
    assert!(matches!(report.stop, StopReason::StoreUnavailable(_)), "{:?}", report.stop);
    assert!(report.elapsed > SECOND * 20 && report.elapsed <= SECOND * 30, "{:?}", report.elapsed);
    assert_eq!((report.claimed, handler.calls().len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_takes_up_what_a_dead_worker_left_once_its_lease_is_over() {
    let world = World::new();
    let id = world.captured(vec![op("payment")]).await[0];
    let (_, registry) = hanging_handler(&Arc::new(AtomicBool::new(false))).handles("payment");
    let engine = world.engine(registry, patient());
    let dead = engine.run(ReplayRequest::due(), None, CancellationToken::new());
    assert!(tokio::time::timeout(SECOND, dead).await.is_err());

    let (handler, registry) = TestHandler::new(|_, _| async { succeeded() }).handles("payment");
    let engine = world.engine(registry, policy());
    let report = run(&engine, ReplayRequest::due()).await;
    assert_eq!(report.claimed, 0, "the claim still runs");
    tokio::time::advance(SECOND * 4).await;
    let report = run(&engine, ReplayRequest::due()).await;
    assert_eq!((report.succeeded, handler.calls().len()), (1, 1));
    let state = world.entry(id).await.state;
    assert_eq!((state.status, state.retry_count), (Status::Resolved, 1), "the lapse was charged");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_drops_its_handlers_and_its_claims_lapse() {
    let world = World::new();
    let id = world.captured(vec![op("payment")]).await[0];
    let dropped = Arc::new(AtomicBool::new(false));
    let (handler, registry) = hanging_handler(&dropped).handles("payment");
    let engine = world.engine(registry, patient());
    let never = CancellationToken::new();
    let running = engine.run(ReplayRequest::due(), None, never);
    let outcome = tokio::time::timeout(SECOND * 10, running).await;
    assert!(outcome.is_err());
    assert_eq!(handler.calls().len(), 1);
    tokio::task::yield_now().await;
    assert!(dropped.load(Ordering::SeqCst));
    tokio::time::advance(SECOND * 4).await;
    let lapsed = world.store.lapse(lapse()).await.expect("the store answers");
    assert_eq!(lapsed.lapsed, [(id, Status::Pending)]);
    let newest = world.entry(id).await.state.attempts.newest().map(|attempt| attempt.outcome);
    assert_eq!(newest, Some(AttemptOutcome::Lapsed));
}
