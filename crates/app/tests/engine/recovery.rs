//! Automatic recovery: whom a sweep takes up, when, and how fast.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use baldur_app::{
    Breakers, RecoveryPolicy, ReplayPolicy, ReplayRequest, Who,
    recovery::{Phase, Signal},
};
use baldur_core::{
    ResolutionType, Status,
    command::{Act, Action},
    name::WorkerName,
    policy::{BackoffPolicy, BreakerPolicy, BreakerSettings, CallOutcome, Jitter},
    port::{ClaimStore as _, ReplayOutcome},
};
use tokio::time::Instant;

use crate::{
    recovery_world::{
        Paces, Process, Switch, because_of, count_in, service, status, terms, until, until_rest,
    },
    world::{SECOND, TestHandler, World, failed, op, ops, policy, run, succeeded, virtual_time},
};

#[tokio::test(start_paused = true)]
async fn only_what_waits_for_the_dependency_that_is_back_is_replayed() {
    let world = World::new();
    let mine = world.captured(because_of("gateway", 25)).await;
    // Of the same domain and failure type, but because of another dependency; and of one nobody knows.
    let others = world.captured(because_of("ledger", 25)).await;
    let unknown = world.captured(ops("payment", 5)).await;
    let escalate =
        |id| Act { id, action: Action::Escalate, evidence: world.env.evidence(&Who::system()) };
    for answer in world.store.apply(mine[..5].iter().map(|id| escalate(*id)).collect()).await {
        answer.expect("escalated");
    }
    let before = world.dump().await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let recovery = Process::new(&world, registry).started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    let after = world.dump().await;
    for id in mine[..5].iter().chain(&others).chain(&unknown) {
        assert_eq!(before[id], after[id]);
    }
    for id in &mine[5..] {
        let state = &after[id].0.state;
        assert_eq!(state.status, Status::Resolved);
        assert_eq!(state.resolution_type, Some(ResolutionType::AutoReplayCircuitClose));
    }
    assert_eq!(handler.calls().len(), 20);
    let status = status(&recovery, "gateway");
    assert_eq!((status.replayed, status.succeeded, status.pending), (20, 20, Some(0)));
    assert_eq!(status.last_signal.map(|(signal, _)| signal), Some(Signal::BreakerClosed));
    assert!(recovery.status(&service("ledger")).is_none());
}

#[tokio::test(start_paused = true)]
async fn two_processes_that_notice_at_once_share_the_work_and_the_pace() {
    let world = World::new();
    world.captured_at_once(because_of("gateway", 400)).await;
    let (handler, registry) = TestHandler::new(|_, _| async {
        virtual_time(Duration::from_millis(30)).await;
        succeeded()
    })
    .handles("payment");
    let pace = Paces::new(&world);
    let mut other_world = world.clone();
    other_world.env.worker = WorkerName::parse("worker-2").expect("a name");
    let process = |world| {
        let process = Process::new(world, registry.clone());
        let policy = RecoveryPolicy { jitter: SECOND * 2, ..terms() };
        Process { pace: Some(Arc::clone(&pace)), policy, ..process }.started()
    };
    let (one, other) = (process(&world), process(&other_world));
    let began = Instant::now();
    for recovery in [&one, &other] {
        recovery.notice(&service("gateway"), Signal::BreakerClosed);
    }
    assert_eq!(until_rest(&one, "gateway").await, Phase::Idle);
    assert_eq!(until_rest(&other, "gateway").await, Phase::Idle);
    let calls = handler.calls();
    let entries: BTreeSet<_> = calls.iter().map(|(id, _, _)| *id).collect();
    assert_eq!((calls.len(), entries.len()), (400, 400));
    assert_eq!(count_in(&world, Status::Resolved).await, 400);
    for recovery in [&one, &other] {
        assert!(status(recovery, "gateway").replayed > 50, "one did nearly everything");
    }
    // Permits last for a second, so a window sees what was granted in it and in the second before.
    let starts: Vec<_> = calls.iter().map(|(_, _, at)| *at).collect();
    for (first, from) in starts.iter().enumerate() {
        for (last, to) in starts.iter().enumerate().skip(first) {
            let most = 10.0 + 50.0 * ((*to - *from).as_secs_f64() + 1.0);
            let count = u32::try_from(last - first + 1).expect("small");
            assert!(f64::from(count) <= most, "{count} within {:?}", *to - *from);
        }
    }
    // 400 at 50 a second; without sharing it would be half of that, and at a crawl much more.
    let took = starts[399] - began;
    assert!(took > Duration::from_millis(7_500) && took < SECOND * 14, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_sweep_starts_slowly_and_reaches_its_pace() {
    let world = World::new();
    world.captured_at_once(because_of("gateway", 600)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let policy =
        RecoveryPolicy { per_second: 20.0, ramp_from: 1.0, ramp_over: SECOND * 20, ..terms() };
    let recovery = Process { policy, ..Process::new(&world, registry) }.started();
    recovery.notice(&service("gateway"), Signal::ProbeOk);
    until_rest(&recovery, "gateway").await;
    let calls = handler.calls();
    let first = calls[0].2;
    let within = |from: u32, to: u32| {
        let during = SECOND * from..SECOND * to;
        calls.iter().filter(|call| during.contains(&(call.2 - first))).count()
    };
    assert_eq!(calls.len(), 600);
    assert!(within(0, 2) <= 6, "{}", within(0, 2));
    let fifths: Vec<usize> = (0..5).map(|part| within(part * 4, part * 4 + 4)).collect();
    assert!(fifths.is_sorted_by(|one, next| one < next), "{fifths:?}");
    assert!((76..=84).contains(&within(24, 28)), "{}", within(24, 28));
}

#[tokio::test(start_paused = true)]
async fn waits_are_cut_short_unless_somebody_asked_for_them() {
    let world = World::new();
    let ids = world.captured(because_of("gateway", 3)).await;
    let is_up = Arc::new(AtomicBool::new(false));
    let (asked, up) = (ids[1], Arc::clone(&is_up));
    let (handler, registry) = TestHandler::new(move |op, _| {
        let retry_after = (op.id == asked).then_some(SECOND * 1_800);
        let failed = ReplayOutcome::Failed { error: "503".to_owned(), retry_after };
        std::future::ready(if up.load(Ordering::SeqCst) { succeeded() } else { failed })
    })
    .handles("payment");
    let backoff = BackoffPolicy::new(SECOND * 120, 2.0, SECOND * 300, Jitter::None).expect("valid");
    let replay = ReplayPolicy { backoff, ..policy() };
    let process = Process::new(&world, registry.clone());
    let recovery = Process { replay: replay.clone(), ..process }.started();
    let report = run(&world.engine(registry, replay), ReplayRequest::due()).await;
    assert_eq!(report.failed, 3);
    is_up.store(true, Ordering::SeqCst);
    // Too soon: the entries were tried a moment ago.
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    virtual_time(SECOND).await;
    assert_eq!(handler.calls().len(), 3);
    // It waits for the leftovers now, and another signal is heard.
    virtual_time(SECOND * 10).await;
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    virtual_time(SECOND).await;
    let called: Vec<_> = handler.calls().iter().skip(3).map(|call| call.0).collect();
    assert_eq!(called, [ids[0], ids[2]]);
    assert_eq!(world.entry(ids[1]).await.state.status, Status::Pending);
    // What the target asked for is kept, and then looked after without any further signal.
    until(|| handler.calls().len() == 6).await;
    let (_, _, at) = handler.calls()[5];
    let first = handler.calls()[1].2;
    assert!(at - first >= SECOND * 1_800 && at - first < SECOND * 2_200, "{:?}", at - first);
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
}

#[tokio::test(start_paused = true)]
async fn what_a_good_sweep_left_is_replayed_when_it_is_due() {
    let world = World::new();
    let ids = world.captured(because_of("gateway", 20)).await;
    let (shaky, tried) = (ids[7], AtomicU32::new(0));
    let (handler, registry) = TestHandler::new(move |op, _| {
        let fails = op.id == shaky && tried.fetch_add(1, Ordering::SeqCst) == 0;
        std::future::ready(if fails { failed() } else { succeeded() })
    })
    .handles("payment");
    let recovery = Process::new(&world, registry).started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    until(|| handler.calls().len() == 20).await;
    virtual_time(SECOND).await;
    assert_eq!(status(&recovery, "gateway").pending, Some(1));
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    assert_eq!((handler.calls().len(), count_in(&world, Status::Resolved).await), (21, 20));
}

#[tokio::test(start_paused = true)]
async fn an_order_key_is_replayed_in_the_order_of_capture() {
    let world = World::new();
    let keyed = (0..40).map(|number: usize| {
        op("payment").dependency("gateway").order_key(format!("cart-{}", number % 3))
    });
    let ids = world.captured(keyed).await;
    let (handler, registry) = TestHandler::new(|op, _| async move {
        // Later ones are faster, so that only the order of claims keeps them behind.
        virtual_time(SECOND / (1 + u32::try_from(op.created_at.as_micros() % 7).expect("small")))
            .await;
        succeeded()
    })
    .handles("payment");
    let recovery = Process::new(&world, registry).started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    let calls: Vec<_> = handler.calls().iter().map(|call| call.0).collect();
    assert_eq!(calls.len(), 40);
    for key in 0..3 {
        let expected: Vec<_> = ids.iter().skip(key).step_by(3).collect();
        let got: Vec<_> = calls.iter().filter(|id| expected.contains(id)).collect();
        assert_eq!(got, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_used_up_ends_the_replays() {
    let world = World::new();
    let mut ops = because_of("gateway", 10);
    ops.push(op("payment").dependency("gateway").max_retries(2));
    let ids = world.captured(ops).await;
    let poison = ids[10];
    let (handler, registry) = TestHandler::new(move |op, _| {
        std::future::ready(if op.id == poison { failed() } else { succeeded() })
    })
    .handles("payment");
    let recovery = Process::new(&world, registry).started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    let state = world.entry(poison).await.state;
    assert_eq!((state.status, state.retry_count), (Status::RequiresReview, 2));
    virtual_time(SECOND * 60).await;
    recovery.notice(&service("gateway"), Signal::Manual);
    until_rest(&recovery, "gateway").await;
    assert_eq!(handler.calls().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_probe_tells_once_that_its_dependency_is_back() {
    let world = World::new();
    world.captured(because_of("gateway", 20)).await;
    let stubborn = world.captured(because_of("gateway", 1)).await[0];
    let (handler, registry) = TestHandler::new(move |op, _| {
        std::future::ready(if op.id == stubborn { failed() } else { succeeded() })
    })
    .handles("payment");
    let switch = Arc::new(Switch::default());
    let probes = vec![(service("gateway"), Arc::clone(&switch) as _)];
    let backoff = BackoffPolicy::new(SECOND * 250, 1.0, SECOND * 300, Jitter::None).expect("valid");
    let process = Process { probes, ..Process::new(&world, registry) };
    let recovery = Process { replay: ReplayPolicy { backoff, ..policy() }, ..process }.started();
    until(|| switch.asked.load(Ordering::SeqCst) == 5).await;
    assert_eq!(handler.calls().len(), 0);
    switch.is_up.store(true, Ordering::SeqCst);
    until(|| handler.calls().len() == 21).await;
    assert!(switch.asked.load(Ordering::SeqCst) >= 7, "two successes in a row are asked for");
    // It goes on to answer well, and the entry that fails keeps its wait all the same.
    virtual_time(SECOND * 200).await;
    assert_eq!(handler.calls().len(), 21);
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    assert_eq!(world.entry(stubborn).await.state.status, Status::RequiresReview);
    // Nothing waits any more, so nobody asks.
    virtual_time(SECOND * 30).await;
    let asked = switch.asked.load(Ordering::SeqCst);
    virtual_time(SECOND * 300).await;
    assert_eq!(switch.asked.load(Ordering::SeqCst), asked);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_closes_begins_a_sweep_and_one_that_opens_ends_it() {
    let world = World::new();
    world.captured_at_once(because_of("gateway", 300)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let breakers = Breakers::new(&world.env);
    let settings = BreakerSettings { consecutive_failures: Some(1), ..BreakerSettings::default() };
    let breaker = breakers.get(&service("gateway"), BreakerPolicy::new(settings).expect("valid"));
    let process = Process { breakers: Some(breakers), ..Process::new(&world, registry) };
    let recovery = process.started();
    let outcome = |outcome| breaker.admit().expect("let through").end(outcome);
    outcome(CallOutcome::Failure);
    until(|| recovery.status(&service("gateway")).is_some_and(|status| status.is_down)).await;
    while breaker.admit().is_err() {
        virtual_time(SECOND).await;
    }
    for _ in 0..20 {
        outcome(CallOutcome::Success);
    }
    until(|| handler.calls().len() > 50).await;
    outcome(CallOutcome::Failure);
    let phase = until_rest(&recovery, "gateway").await;
    assert_eq!(phase.as_str(), "stopped");
    let calls = handler.calls().len();
    assert!(calls < 300);
    virtual_time(SECOND * 5).await;
    assert_eq!(handler.calls().len(), calls);
}
