//! Automatic recovery: when a sweep stops, what it leaves behind, and where it never starts.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use baldur_app::{
    EntryService, HandlerRegistry, Housekeeping, HousekeepingPolicy, Recovery, RecoveryPolicy,
    StartError,
    recovery::{Arming, DependencyPolicy, Missing, Phase, Signal, StopCause, WaitCause},
};
use baldur_core::{
    Status,
    command::{ClaimBatch, ClaimSelect, ClaimTerms},
    name::WorkerName,
    policy::RedactionRules,
    port::{ClaimStore as _, Gate},
};
use tokio::sync::Semaphore;

use crate::{
    faults::Faulty,
    recovery_world::{
        Paces, Process, because_of, count_in, service, status, terms, until, until_rest,
    },
    world::{SECOND, TestHandler, World, domain, failed, op, succeeded, virtual_time},
};

/// Works for so many calls, and never again. Answers how many calls there were after that, and the recovery.
async fn dies_after(good: usize, policy: RecoveryPolicy) -> (usize, Recovery, World) {
    let world = World::new();
    world.captured_at_once(because_of("gateway", 400)).await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let (_, registry) = TestHandler::new(move |_, _| {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            virtual_time(Duration::from_millis(200)).await;
            if number < good { succeeded() } else { failed() }
        }
    })
    .handles("payment");
    let recovery = Process { policy, ..Process::new(&world, registry) }.started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    until_rest(&recovery, "gateway").await;
    (calls.load(Ordering::SeqCst) - good, recovery, world)
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_fails_again_ends_the_sweep_within_the_stated_bound() {
    for good in [0, 3, 60, 137] {
        for (min_sample, stop_below) in [(10, 0.5), (4, 0.9), (20, 0.1)] {
            let policy = RecoveryPolicy { min_sample, stop_below, ..terms() };
            let concurrency = policy.concurrency;
            let (further, recovery, world) = dies_after(good, policy).await;
            assert!(further < min_sample + concurrency, "{further} after {good}");
            let status = status(&recovery, "gateway");
            assert_eq!(status.phase, Phase::Stopped(StopCause::Failing));
            assert!(status.is_down);
            assert_eq!(status.replayed, u64::try_from(good + further).expect("small"));
            assert_eq!(count_in(&world, Status::Replaying).await, 0);
            let charged = world.all().await.iter().filter(|op| op.state.retry_count > 0).count();
            assert_eq!(charged, further);
        }
    }
}

/// The twin: it doesn't watch, and the bound of the test above catches it.
#[tokio::test(start_paused = true)]
async fn a_sweep_that_does_not_watch_goes_beyond_the_bound() {
    let policy = RecoveryPolicy { stop_below: 0.0, ..terms() };
    let bound = policy.min_sample + policy.concurrency;
    let (further, ..) = dies_after(60, policy).await;
    assert!(further >= bound, "{further}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_begun_once_the_dependency_is_reported_down() {
    let world = World::new();
    world.captured_at_once(because_of("gateway", 200)).await;
    let (handler, registry) = TestHandler::new(|_, _| async {
        virtual_time(SECOND).await;
        succeeded()
    })
    .handles("payment");
    let recovery = Process::new(&world, registry).started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    until(|| handler.calls().len() > 20).await;
    recovery.went_down(&service("gateway"));
    let begun = handler.calls().len();
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Stopped(StopCause::WentDown));
    assert!(handler.calls().len() < begun + terms().concurrency);
    assert_eq!(count_in(&world, Status::Replaying).await, 0);
    // Who was at work could finish, and nobody was charged.
    assert_eq!(count_in(&world, Status::Resolved).await, handler.calls().len());
    assert!(world.all().await.iter().all(|op| op.state.retry_count == 0));
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_is_back_while_its_sweep_still_ends_is_swept_again() {
    let world = World::new();
    world.captured_at_once(because_of("gateway", 30)).await;
    let (handler, registry) = TestHandler::new(|_, _| async {
        virtual_time(SECOND * 5).await;
        succeeded()
    })
    .handles("payment");
    let recovery = Process::new(&world, registry).started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    until(|| handler.calls().len() >= 4).await;
    recovery.went_down(&service("gateway"));
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    virtual_time(SECOND * 6).await;
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    assert_eq!(count_in(&world, Status::Resolved).await, 30);
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_flaps_is_spared_for_longer_each_time() {
    let world = World::new();
    world
        .captured_at_once(
            because_of("gateway", 200).into_iter().map(|op| op.max_retries(50)).collect(),
        )
        .await;
    let (handler, registry) = TestHandler::always(failed()).handles("payment");
    let recovery = Process::new(&world, registry).started();
    let mut pauses = Vec::new();
    for _ in 0..4 {
        let before = handler.calls().len();
        let signalled = tokio::time::Instant::now();
        recovery.notice(&service("gateway"), Signal::BreakerClosed);
        until(|| handler.calls().len() > before).await;
        pauses.push((handler.calls()[before].2 - signalled).as_secs());
        assert_eq!(until_rest(&recovery, "gateway").await, Phase::Stopped(StopCause::Failing));
    }
    assert_eq!(pauses, [0, 20, 40, 80]);
    // A person doesn't wait.
    let before = handler.calls().len();
    recovery.notice(&service("gateway"), Signal::Manual);
    virtual_time(SECOND).await;
    assert!(handler.calls().len() > before);
}

#[tokio::test(start_paused = true)]
async fn everything_that_disarms_is_listed_and_nothing_is_touched() {
    let world = World::new();
    world.captured(because_of("gateway", 3)).await;
    world.captured([op("mail").dependency("gateway"), op("mail").dependency("smtp")]).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let policy = |enabled, disabled, excluded: &[&str]| RecoveryPolicy {
        enabled,
        dependencies: BTreeMap::from([(
            service("gateway"),
            DependencyPolicy { disabled, ..DependencyPolicy::default() },
        )]),
        excluded_domains: excluded.iter().map(|name| domain(name)).collect(),
        ..terms()
    };
    let missing = |missing: &[Missing]| Arming::Disarmed { missing: missing.to_vec() };
    let before = world.dump().await;
    for (policy, payment, mail) in [
        (policy(true, false, &[]), Arming::Armed, missing(&[Missing::Handler])),
        (
            policy(true, false, &["payment"]),
            missing(&[Missing::Policy]),
            missing(&[Missing::Handler]),
        ),
        (
            policy(true, true, &[]),
            missing(&[Missing::Policy]),
            missing(&[Missing::Policy, Missing::Handler]),
        ),
        (
            policy(false, true, &[]),
            missing(&[Missing::Permission, Missing::Policy]),
            missing(&[Missing::Permission, Missing::Policy, Missing::Handler]),
        ),
    ] {
        let is_armed = payment.is_armed();
        let process = Process { policy, ..Process::new(&world, registry.clone()) };
        let recovery = if is_armed { process.recovery() } else { process.started() };
        let gateway = service("gateway");
        assert_eq!(recovery.domain_arming(&gateway, &domain("payment")), payment);
        assert_eq!(recovery.domain_arming(&gateway, &domain("mail")), mail);
        let arming = recovery.arming(&gateway).await.expect("read");
        let domains: Vec<_> =
            arming.domains.iter().map(|row| (row.domain.as_str(), row.pending)).collect();
        assert_eq!((arming.pending, domains), (4, vec![("mail", 1), ("payment", 3)]));
        let all: BTreeSet<_> = payment.missing().iter().chain(mail.missing()).copied().collect();
        assert_eq!(arming.arming, missing(&all.into_iter().collect::<Vec<_>>()));
        let overview = recovery.overview().await.expect("read");
        let names: Vec<_> = overview.iter().map(|row| row.dependency.as_str()).collect();
        assert_eq!(names, ["gateway", "smtp"]);
        recovery.notice(&gateway, Signal::Manual);
        virtual_time(SECOND * 30).await;
    }
    assert_eq!((handler.asked(), world.dump().await), (0, before));
}

#[tokio::test(start_paused = true)]
async fn deferrals_charge_nothing_and_stop_the_sweep() {
    let world = World::new();
    world.captured_at_once(because_of("gateway", 100)).await;
    let closed = |_: &_| Gate::Closed { reason: "still down".to_owned(), delay: SECOND };
    let (handler, registry) = TestHandler::always(succeeded()).gate(closed).handles("payment");
    let recovery = Process::new(&world, registry).started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Stopped(StopCause::Failing));
    let asked = handler.asked();
    assert!(asked < terms().min_sample + terms().concurrency && handler.calls().is_empty());
    let status = status(&recovery, "gateway");
    assert_eq!((status.deferred, status.failed), (u64::try_from(asked).expect("small"), 0));
    virtual_time(SECOND * 600).await;
    assert_eq!(handler.asked(), asked, "a stopped sweep goes on by itself");
    for op in world.all().await {
        assert_eq!((op.state.status, op.state.retry_count), (Status::Pending, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn closing_in_the_middle_of_a_sweep_leaves_no_claim() {
    // The engine's grace is ten seconds; half of the handlers need less than the time to close, the others never end.
    let world = World::new();
    let ids = world.captured_at_once(because_of("gateway", 100)).await;
    let (fast, ever) = (ids.clone(), Arc::new(Semaphore::new(0)));
    let (handler, registry) = TestHandler::new(move |op, _| {
        let hangs = fast.iter().position(|id| *id == op.id).is_some_and(|place| place % 2 == 1);
        let ever = Arc::clone(&ever);
        async move {
            if hangs {
                let _never = ever.acquire().await;
            }
            virtual_time(SECOND / 2).await;
            succeeded()
        }
    })
    .handles("payment");
    let recovery = Process::new(&world, registry).started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    until(|| handler.calls().len() >= 4).await;
    recovery.close(SECOND * 4).await.expect("in time");
    assert_eq!(count_in(&world, Status::Replaying).await, 0);
    let calls = handler.calls().len();
    let all = world.all().await;
    let charged = all.iter().filter(|op| op.state.retry_count > 0).count();
    let replayed = count_in(&world, Status::Resolved).await;
    assert_eq!(charged + replayed, calls);
    assert!(charged > 0 && replayed > 0, "{charged} {replayed}");
    recovery.notice(&service("gateway"), Signal::Manual);
    recovery.close(SECOND).await.expect("again");
    virtual_time(SECOND * 60).await;
    assert_eq!(handler.calls().len(), calls);
    assert_eq!(recovery.start(), Err(StartError::Repeated));
}

#[tokio::test(start_paused = true)]
async fn dropping_recovery_ends_its_tasks() {
    let world = World::new();
    let (_, registry) = TestHandler::always(succeeded()).handles("payment");
    let pace = Paces::new(&world);
    let breakers = Some(baldur_app::Breakers::new(&world.env));
    let process =
        Process { pace: Some(Arc::clone(&pace)), breakers, ..Process::new(&world, registry) };
    let recovery = process.started();
    virtual_time(SECOND).await;
    drop(recovery);
    virtual_time(SECOND).await;
    assert_eq!(Arc::strong_count(&pace), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_of_paces_that_is_away_slows_a_sweep_down_and_stops_nothing() {
    let world = World::new();
    world.captured_at_once(because_of("gateway", 100)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let pace = Paces::new(&world);
    pace.is_away.store(true, Ordering::SeqCst);
    let recovery =
        Process { pace: Some(Arc::clone(&pace)), ..Process::new(&world, registry) }.started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    let calls = handler.calls();
    let took = calls[99].2 - calls[0].2;
    // An eighth of 50 a second.
    assert!(took >= SECOND * 13 && took <= SECOND * 17, "{took:?}");
    assert!(pace.asked.load(Ordering::SeqCst) <= 5, "it is asked every five seconds at most");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_waited_for() {
    let world = World::new();
    world.captured_at_once(because_of("gateway", 10)).await;
    let (handler, registry) = TestHandler::always(succeeded()).handles("payment");
    let faulty = Faulty::new(&world.store);
    faulty.faults.claims_fail.store(true, Ordering::SeqCst);
    let process = Process::new(&world, registry.clone());
    let engine = world.engine_on(Arc::new(faulty.clone()), registry, process.replay.clone());
    let recovery = process.recovery_by(engine);
    recovery.start().expect("started");
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    let waits = || {
        let phase = status(&recovery, "gateway").phase;
        matches!(phase, Phase::Waiting { reason: WaitCause::Store, .. })
    };
    virtual_time(SECOND).await;
    until(waits).await;
    assert!(!status(&recovery, "gateway").is_down);
    faulty.faults.claims_fail.store(false, Ordering::SeqCst);
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    assert_eq!(handler.calls().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_harms_only_its_entry() {
    let world = World::new();
    let ids = world.captured(because_of("gateway", 20)).await;
    let (bad, is_bad) = (ids[3], Arc::new(AtomicBool::new(true)));
    let (_, registry) = TestHandler::new(move |op, _| {
        let panics = op.id == bad && is_bad.swap(false, Ordering::SeqCst);
        async move {
            assert!(!panics, "a bug of the host");
            succeeded()
        }
    })
    .handles("payment");
    let recovery = Process::new(&world, registry).started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    assert_eq!(until_rest(&recovery, "gateway").await, Phase::Idle);
    assert_eq!(count_in(&world, Status::Resolved).await, 20);
}

#[tokio::test(start_paused = true)]
async fn housekeeping_ends_claims_of_workers_that_died() {
    let world = World::new();
    let ids = world.captured_at_once(because_of("gateway", 30)).await;
    let terms = ClaimTerms {
        holder: WorkerName::parse("dead").expect("a name"),
        lease: SECOND * 20,
        force: false,
        unchanged_since: None,
        evidence: world.env.evidence(&baldur_app::Who::system()),
    };
    let claim = ClaimBatch { select: ClaimSelect::Ids(ids), terms };
    assert_eq!(world.store.claim_batch(claim).await.expect("claimed").claimed.len(), 30);
    let store = Arc::new(world.store.clone());
    let entries = EntryService::new(
        Arc::clone(&store) as _,
        Arc::clone(&store) as _,
        store,
        world.env.clone(),
        RedactionRules::default(),
    );
    // More than one turn ends, so that a backlog shows as well.
    let policy =
        HousekeepingPolicy { every: SECOND * 4, most: 20, ..HousekeepingPolicy::default() };
    let housekeeping = Housekeeping::new(entries, world.env.clone(), policy).expect("valid");
    housekeeping.start().expect("started");
    virtual_time(SECOND * 19).await;
    assert_eq!(count_in(&world, Status::Replaying).await, 30);
    virtual_time(SECOND * 9).await;
    assert_eq!(count_in(&world, Status::Replaying).await, 0);
    assert!(world.all().await.iter().all(|op| op.state.retry_count == 1));
    housekeeping.close(SECOND).await.expect("in time");
    assert_eq!(housekeeping.start(), Err(StartError::Repeated));
}

#[tokio::test(start_paused = true)]
async fn without_any_handler_the_dependency_is_disarmed_and_says_so() {
    let world = World::new();
    world.captured(because_of("gateway", 1)).await;
    let recovery = Process::new(&world, HandlerRegistry::new()).started();
    recovery.notice(&service("gateway"), Signal::BreakerClosed);
    virtual_time(SECOND).await;
    assert_eq!(status(&recovery, "gateway").phase, Phase::Stopped(StopCause::Disarmed));
}
