//! What becomes of entries: outcomes, waits, gates, order keys, ids, dry runs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use baldur_app::{
    HandlerRegistry, ReplayPolicy, ReplayRequest, Who,
    replay::{AlreadyRegistered, ItemOutcome, ReplayError, ReplaySelect},
};
use baldur_core::{
    NewFailedOp, ResolutionType, Status,
    name::Actor,
    port::{ClaimError, Gate, ReplayHandler, ReplayOutcome},
};
use tokio_util::sync::CancellationToken;

use crate::world::{
    SECOND, TestHandler, World, domain, failed, op, ops, policy, run, succeeded, sum, virtual_time,
};

#[test]
fn a_second_handler_for_a_domain_is_refused() {
    let (_, mut registry) = TestHandler::always(succeeded()).handles("payment");
    let second: Arc<dyn ReplayHandler> = Arc::new(TestHandler::always(succeeded()));
    let error = registry.register(domain("payment"), second).expect_err("registered before");
    assert_eq!(error, AlreadyRegistered(domain("payment")));
    assert!(registry.get(&domain("payment.card")).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_domain_without_a_handler_waits_untouched() {
    let world = World::new();
    let id = world.captured(vec![op("mail")]).await[0];
    let (_, registry) = TestHandler::always(succeeded()).handles("payment");
    let engine = world.engine(registry, policy());
    let report = run(&engine, ReplayRequest::due()).await;
    assert_eq!(report.claimed, 0);
    assert_eq!(world.entry(id).await.state.claim_token.0, 0);
    let select = ReplaySelect::Due { domains: vec![domain("mail")], dependency: None };
    let named = ReplayRequest { select, ..ReplayRequest::due() };
    let answer = engine.run(named, None, CancellationToken::new()).await;
    assert!(matches!(answer, Err(ReplayError::NoHandler(_))), "{answer:?}");
    // By id it is put off, at no charge.
    let item = engine.retry(id, false, &Who::system()).await.expect("claimed");
    assert_eq!((item.outcome, item.status), (ItemOutcome::Deferred, Some(Status::Pending)));
    assert_eq!(world.entry(id).await.state.retry_count, 0);
}

#[tokio::test(start_paused = true)]
async fn every_attempt_gets_the_same_key_and_the_next_number() {
    let world = World::new();
    let id = world.captured(vec![op("payment").idempotency_key("order-1").max_retries(5)]).await[0];
    let keys = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&keys);
    let handler = TestHandler::new(move |op, context| {
        seen.lock().expect("not poisoned").push(op.idempotency_key.to_string());
        std::future::ready(if context.attempt < 3 { failed() } else { succeeded() })
    });
    let (handler, registry) = handler.handles("payment");
    let engine = world.engine(registry, policy());
    for wait in [0, 1, 2] {
        tokio::time::advance(SECOND * wait).await;
        run(&engine, ReplayRequest::due()).await;
    }
    assert_eq!(*keys.lock().expect("not poisoned"), ["order-1"; 3]);
    let numbers: Vec<u64> = handler.calls().iter().map(|(_, c, _)| c.attempt).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(world.entry(id).await.state.status, Status::Resolved);
}

#[tokio::test(start_paused = true)]
async fn the_target_may_ask_for_a_longer_wait_within_bounds() {
    let world = World::new();
    let handler = |retry_after: Option<Duration>| {
        TestHandler::always(ReplayOutcome::Failed { error: "503".to_owned(), retry_after })
    };
    let policy = ReplayPolicy { max_wait: SECOND * 100, ..policy() };
    for (asked, waits) in [(None, 1), (Some(SECOND * 30), 30), (Some(SECOND * 9_999), 100)] {
        let id = world.captured(vec![op("payment")]).await[0];
        let (_, registry) = handler(asked).handles("payment");
        let engine = world.engine(registry, policy.clone());
        engine.retry(id, false, &Who::system()).await.expect("claimed");
        let state = world.entry(id).await.state;
        assert_eq!(state.next_attempt_at.since(state.updated_at), SECOND * waits);
    }
}

fn closed_at_no_delay(_: &baldur_core::FailedOp) -> Gate {
    Gate::Closed { reason: "throttled".to_owned(), delay: Duration::ZERO }
}

#[tokio::test(start_paused = true)]
async fn deferrals_charge_nothing_and_wait_longer_each_time() {
    let world = World::new();
    let id = world.captured(vec![op("payment")]).await[0];
    let handler = TestHandler::always(succeeded()).gate(closed_at_no_delay);
    let (handler, registry) = handler.handles("payment");
    let engine = world.engine(registry, policy());
    for (round, waits) in [(1, 1), (2, 2), (3, 4), (4, 8)] {
        run(&engine, ReplayRequest::due()).await;
        assert_eq!(handler.asked(), round);
        let state = world.entry(id).await.state;
        assert_eq!((state.status, state.retry_count), (Status::Pending, 0));
        let delay = state.next_attempt_at.since(state.updated_at);
        assert_eq!(delay, SECOND * waits);
        tokio::time::advance(delay).await;
    }
    assert!(handler.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_long_run_does_not_claim_deferred_entries_in_a_loop() {
    let world = World::new();
    world.captured(vec![op("payment")]).await;
    world.captured(ops("slow", 5)).await;
    let handler = TestHandler::always(succeeded()).gate(closed_at_no_delay);
    let (handler, mut registry) = handler.handles("payment");
    // Each of them ends at another time, and so makes the run look for more.
    let slow = TestHandler::new(|op, _| async move {
        let place = op.entity_refs.len() + usize::from(op.id.as_bytes()[15]);
        virtual_time(Duration::from_secs(4) + Duration::from_millis(place as u64)).await;
        succeeded()
    });
    registry.register(domain("slow"), Arc::new(slow)).expect("the first handler");
    let report = run(&world.engine(registry, policy()), ReplayRequest::due()).await;
    assert_eq!(report.succeeded, 5);
    assert!(handler.asked() <= 3, "asked {} times", handler.asked());
}

#[tokio::test(start_paused = true)]
async fn a_panicking_handler_fails_its_entry_only_and_tells_no_secret() {
    let world = World::new();
    let bad = world.captured(vec![op("payment").order_key("bad")]).await[0];
    world.captured(ops("payment", 5)).await;
    let handler = TestHandler::new(move |op, _| async move {
        assert!(op.id != bad, "no charge with password=hunter2");
        succeeded()
    });
    let (_, registry) = handler.handles("payment");
    let report = run(&world.engine(registry, policy()), ReplayRequest::due()).await;
    assert_eq!((report.succeeded, report.failed, report.claimed), (5, 1, 6));
    let state = world.entry(bad).await.state;
    let note = &state.attempts.newest().expect("an attempt").note;
    assert!(
        note.contains("the handler panicked: no charge") && !note.contains("hunter2"),
        "{note}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panicking_gate_is_closed() {
    let world = World::new();
    world.captured(ops("payment", 1)).await;
    let gate = |_: &_| -> Gate { panic!("no idea") };
    let (handler, registry) = TestHandler::always(succeeded()).gate(gate).handles("payment");
    let report = run(&world.engine(registry, policy()), ReplayRequest::due()).await;
    assert_eq!((report.deferred, report.claimed), (1, 1));
    assert!(handler.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_fails() {
    let world = World::new();
    let id = world.captured(ops("payment", 1)).await[0];
    let handler = TestHandler::new(|_, _| std::future::pending());
    let (_, registry) = handler.handles("payment");
    let report = run(&world.engine(registry, policy()), ReplayRequest::due()).await;
    assert_eq!((report.failed, report.claimed), (1, 1));
    assert_eq!(world.entry(id).await.state.retry_count, 1);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_waits_for_a_person_and_can_be_forced() {
    let world = World::new();
    let id = world.captured(ops("payment", 1)).await[0];
    let (_, registry) =
        TestHandler::always(ReplayOutcome::Permanent { error: "no such card".to_owned() })
            .handles("payment");
    run(&world.engine(registry, policy()), ReplayRequest::due()).await;
    assert_eq!(world.entry(id).await.state.status, Status::RequiresReview);

    let (_, registry) = TestHandler::always(succeeded()).handles("payment");
    let engine = world.engine(registry, policy());
    let who = Who::new(Actor::parse("ann").expect("an actor"));
    let refused = engine.retry(id, false, &who).await;
    let not_claimable = matches!(
        refused,
        Err(ReplayError::NotClaimed(ClaimError::NotClaimable {
            status: Status::RequiresReview,
            ..
        }))
    );
    assert!(not_claimable, "{refused:?}");
    let item = engine.retry(id, true, &who).await.expect("claimed");
    assert_eq!((item.outcome, item.status), (ItemOutcome::Succeeded, Some(Status::Resolved)));
    let state = world.entry(id).await.state;
    assert_eq!(state.resolution_type, Some(ResolutionType::ForceRedrive));
    assert_eq!(state.resolved_by_id, Some(who.actor));
}

#[tokio::test(start_paused = true)]
async fn forcing_does_not_pass_a_closed_gate() {
    let world = World::new();
    let id = world.captured(ops("payment", 1)).await[0];
    let closed = |_: &_| Gate::Closed { reason: "circuit open".to_owned(), delay: SECOND };
    let (handler, registry) = TestHandler::always(succeeded()).gate(closed).handles("payment");
    let engine = world.engine(registry, policy());
    let item = engine.retry(id, true, &Who::system()).await.expect("claimed");
    assert_eq!((item.outcome, item.note.as_str()), (ItemOutcome::Deferred, "circuit open"));
    assert!(handler.calls().is_empty());
}

/// The entities that ran, by order key.
type OrderSeen = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// Fails the test when two entries of a key run at once; remembers the order per key.
fn serial_handler() -> (TestHandler, OrderSeen) {
    let order = OrderSeen::default();
    let running: Arc<Mutex<BTreeMap<String, Arc<AtomicUsize>>>> = Arc::default();
    let seen = Arc::clone(&order);
    let handler = TestHandler::new(move |op, _| {
        let key = op.order_key.as_ref().expect("an order key").to_string();
        let entity = op.entity_id.as_ref().expect("an entity").to_string();
        seen.lock().expect("not poisoned").entry(key.clone()).or_default().push(entity);
        let mut running = running.lock().expect("not poisoned");
        let count = Arc::clone(running.entry(key).or_default());
        async move {
            assert_eq!(count.fetch_add(1, Ordering::SeqCst), 0, "two of a key at once");
            virtual_time(Duration::from_millis(20)).await;
            count.fetch_sub(1, Ordering::SeqCst);
            succeeded()
        }
    });
    (handler, order)
}

fn keyed(key: &str, number: usize) -> NewFailedOp {
    op("payment").order_key(key).entity("order", number.to_string())
}

#[tokio::test(start_paused = true)]
async fn entries_of_an_order_key_run_one_after_the_other_in_order() {
    let world = World::new();
    let all: Vec<NewFailedOp> =
        (0..10).flat_map(|n| ["a", "b", "c"].map(|key| keyed(key, n))).collect();
    world.captured(all.clone()).await;
    let (handler, order) = serial_handler();
    let (_, registry) = handler.handles("payment");
    let engine = world.engine(registry, policy());
    let report = run(&engine, ReplayRequest::due()).await;
    assert_eq!((report.succeeded, report.claimed), (30, 30));
    let expected: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    for (key, seen) in order.lock().expect("not poisoned").iter() {
        assert_eq!(*seen, expected, "{key}");
    }
    order.lock().expect("not poisoned").clear();

    // The same by id, asked for in the wrong order, where each waits for the one before.
    let mut ids = world.captured(all).await;
    ids.reverse();
    let report = run(&engine, ReplayRequest::ids(ids)).await;
    assert_eq!((report.succeeded, report.claimed, report.refused), (30, 30, 0));
    for (key, seen) in order.lock().expect("not poisoned").iter() {
        assert_eq!(*seen, expected, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_behind_an_entry_that_is_not_replayed_is_refused() {
    let world = World::new();
    let ids = world.captured([keyed("a", 0), keyed("a", 1), keyed("a", 2)]).await;
    let (handler, registry) = TestHandler::always(failed()).handles("payment");
    let engine = world.engine(registry, policy());
    let report = run(&engine, ReplayRequest::ids(ids[1..].to_vec())).await;
    assert_eq!((report.claimed, report.refused), (0, 2));
    // A head that fails holds the others up.
    let report = run(&engine, ReplayRequest::ids(ids)).await;
    assert_eq!((report.failed, report.claimed, report.refused), (1, 1, 2));
    assert_eq!(handler.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn unknown_ids_are_refused_and_repeated_ones_count_once() {
    let world = World::new();
    let id = world.captured(ops("payment", 1)).await[0];
    let unknown = baldur_core::EntryId::from_bytes([7; 16]);
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let engine = world.engine(registry, policy());
    let report = run(&engine, ReplayRequest::ids(vec![id, unknown, id])).await;
    assert_eq!((report.succeeded, report.claimed, report.refused), (1, 1, 1));
    assert_eq!(handler.calls().len(), 1);
    let answer = engine.retry(unknown, false, &Who::system()).await;
    assert!(matches!(answer, Err(ReplayError::NotClaimed(ClaimError::NotFound(_)))), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_says_what_would_happen_and_changes_nothing() {
    let world = World::new();
    let ids = world.captured((0..6).map(|n| op("payment").entity("order", n.to_string()))).await;
    let keyed = world.captured([keyed("a", 9), keyed("a", 9)]).await;
    let handler = TestHandler::new(|op, context| {
        assert!(context.dry_run);
        let fails = op.entity_id.as_ref().is_some_and(|id| id.as_str() == "3");
        std::future::ready(if fails { failed() } else { succeeded() })
    })
    .gate(|op| match op.entity_id.as_ref().map(baldur_core::name::ShortText::as_str) {
        Some("4") => Gate::Closed { reason: "closed".to_owned(), delay: SECOND },
        Some(_) | None => Gate::Open,
    });
    let (handler, registry) = handler.handles("payment");
    let engine = world.engine(registry, policy());
    let before = world.dump().await;
    let dry = ReplayRequest { dry_run: true, ..ReplayRequest::due() };
    let report = run(&engine, dry).await;
    assert!(report.dry_run);
    assert_eq!((report.succeeded, report.failed, report.deferred), (6, 1, 1));
    assert_eq!(sum(&report), report.claimed);
    let one = ReplayRequest { dry_run: true, ..ReplayRequest::ids(vec![ids[0], keyed[1]]) };
    let report = run(&engine, one).await;
    assert_eq!((report.succeeded, report.refused), (1, 1));
    assert_eq!(world.dump().await, before);
    assert_eq!(handler.calls().len(), 8);
}

#[tokio::test(start_paused = true)]
async fn requests_out_of_range_are_refused_before_anything_is_done() {
    let world = World::new();
    let (_, registry) = TestHandler::always(succeeded()).handles("payment");
    let engine = world.engine(HandlerRegistry::clone(&registry), policy());
    let wrong = [
        ReplayRequest { concurrency: Some(0), ..ReplayRequest::due() },
        ReplayRequest { concurrency: Some(257), ..ReplayRequest::due() },
        ReplayRequest { force: true, ..ReplayRequest::due() },
        ReplayRequest {
            rate: Some(baldur_app::replay::RateLimit::per_second(-1.0)),
            ..ReplayRequest::due()
        },
    ];
    for request in wrong {
        let answer = engine.run(request, None, CancellationToken::new()).await;
        assert!(matches!(answer, Err(ReplayError::Invalid(_))), "{answer:?}");
    }
    assert!(ReplayPolicy { lease: Duration::ZERO, ..policy() }.check().is_err());
}
