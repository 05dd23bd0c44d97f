//! Breakers that several processes share through one store.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use baldur_app::{
    BreakerEvent, Breakers, ManagedBreaker, Who,
    breakers::{ShareError, SyncPolicy},
};
use baldur_core::{
    Clock,
    name::{Actor, ServiceName},
    policy::{BreakerState, CallOutcome},
    port::{
        BreakerStoreError, CircuitBreakerStore, ForcedBreaker, ForcedState, SaveBreaker,
        SharedBreaker,
    },
};
use baldur_memory::MemoryStore;
use proptest::prelude::*;
use tokio::{sync::broadcast::Receiver, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    protected::breaker as policy,
    world::{SECOND, World},
};
use BreakerState::{Closed, HalfOpen, Open};

pub(crate) const STEP: Duration = Duration::from_millis(10);

/// How long it takes at most until others know: the interval, and the store's time to save and to load.
pub(crate) const STALE: Duration = Duration::from_secs(2);

pub(crate) fn gateway() -> ServiceName {
    ServiceName::parse("gateway").expect("a name")
}

/// One process: its breaker opens at the second failure for ten seconds, and two probes close it.
pub(crate) struct Process {
    pub(crate) breakers: Breakers,
    pub(crate) breaker: ManagedBreaker,
    events: Receiver<BreakerEvent>,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

pub(crate) fn process(world: &World, store: Arc<dyn CircuitBreakerStore>) -> Process {
    let breakers = Breakers::new(&world.env);
    let breaker = breakers.get(&gateway(), policy(2, 1));
    let events = breakers.subscribe();
    let cancel = CancellationToken::new();
    let task = breakers.share(store, SyncPolicy::default(), cancel.clone()).expect("shared once");
    Process { breakers, breaker, events, cancel, task }
}

fn two(world: &World) -> (Process, Process) {
    let store = || Arc::new(world.store.clone());
    (process(world, store()), process(world, store()))
}

impl Process {
    pub(crate) fn call(&self, outcome: CallOutcome) {
        self.breaker.admit().expect("admitted").end(outcome);
    }

    pub(crate) fn open(&self) {
        self.call(CallOutcome::Failure);
        self.call(CallOutcome::Failure);
        assert_eq!(self.breaker.state(), Open);
    }

    pub(crate) fn is(&self, state: BreakerState) -> bool {
        self.breaker.state() == state
    }

    fn heard(&mut self) -> Vec<(BreakerState, bool, bool)> {
        std::iter::from_fn(|| self.events.try_recv().ok())
            .map(|event| (event.to, event.forced, event.shared))
            .collect()
    }
}

/// Lets time pass, in steps in which everybody who waits has a turn.
pub(crate) async fn pass(time: Duration) {
    let step = if time > SECOND { STEP * 20 } else { STEP };
    let mut passed = Duration::ZERO;
    while passed < time {
        tokio::time::advance(step).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        passed += step;
    }
}

/// Lets time pass until it holds; fails when that takes longer than processes may need to hear of each other.
pub(crate) async fn soon(what: &str, holds: impl Fn() -> bool) {
    let mut passed = Duration::ZERO;
    while !holds() {
        assert!(passed <= STALE, "{what}: not after {passed:?}");
        pass(STEP).await;
        passed += STEP;
    }
}

pub(crate) async fn stored(world: &World) -> SharedBreaker {
    let loaded = world.store.load(vec![gateway()]).await.expect("memory");
    loaded.into_iter().next().flatten().expect("saved")
}

pub(crate) fn ann() -> Who {
    Who::new(Actor::parse("ann").expect("a name"))
}

pub(crate) const fn order(state: ForcedState, seconds: u64) -> ForcedBreaker {
    ForcedBreaker { state, lasts: Some(Duration::from_secs(seconds)) }
}

#[tokio::test(start_paused = true)]
async fn one_that_opens_opens_all_for_a_little_longer() {
    let world = World::new();
    let (a, mut b) = two(&world);
    pass(SECOND).await;
    a.open();
    soon("b opens", || b.is(Open)).await;
    assert_eq!(b.heard(), [(Open, false, true)]);
    let (a, b) = (a.breaker.status(), b.breaker.status());
    let (own, told) = (a.open_for.expect("open"), b.open_for.expect("open"));
    assert!(told + STEP >= own && told <= own.mul_f64(1.21), "{own:?} {told:?}");
    let stored = stored(&world).await;
    assert_eq!((stored.state, stored.trips), (Open, 1));
}

#[tokio::test(start_paused = true)]
async fn one_that_closes_after_its_probes_closes_all() {
    let world = World::new();
    let (a, mut b) = two(&world);
    a.open();
    soon("b opens", || b.is(Open)).await;
    pass(SECOND * 10).await;
    a.call(CallOutcome::Success);
    assert!(a.is(HalfOpen));
    a.call(CallOutcome::Success);
    soon("b closes", || b.is(Closed)).await;
    assert_eq!(b.heard(), [(Open, false, true), (Closed, false, true)]);
    assert_eq!(stored(&world).await.state, Closed);
}

#[tokio::test(start_paused = true)]
async fn a_failed_probe_keeps_the_others_waiting_longer() {
    let world = World::new();
    let (a, b) = two(&world);
    a.open();
    soon("b opens", || b.is(Open)).await;
    pass(SECOND * 10).await;
    a.call(CallOutcome::Failure);
    assert!(a.breaker.admit().is_err());
    soon("b waits", || b.breaker.status().reopenings == 1).await;
    let rest = b.breaker.status().open_for.expect("open");
    assert!(rest > SECOND * 17, "{rest:?}");
}

#[tokio::test(start_paused = true)]
async fn many_that_open_at_once_wait_no_longer_than_one() {
    let world = World::new();
    let store = || Arc::new(world.store.clone());
    let processes: Vec<_> = (0..40).map(|_| process(&world, store())).collect();
    pass(SECOND).await;
    for process in &processes {
        process.open();
    }
    pass(STALE).await;
    for process in &processes {
        let rest = process.breaker.status().open_for.expect("open");
        assert!(rest <= SECOND * 12 && rest >= SECOND * 7, "{rest:?}");
    }
    assert_eq!(stored(&world).await.trips, 1);
}

#[tokio::test(start_paused = true)]
async fn a_fresh_process_learns_what_holds() {
    let world = World::new();
    let a = process(&world, Arc::new(world.store.clone()));
    a.open();
    pass(SECOND).await;
    let late = process(&world, Arc::new(world.store.clone()));
    assert!(late.is(Closed));
    soon("it opens", || late.is(Open)).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_state_that_everybody_left_is_history() {
    let world = World::new();
    let a = process(&world, Arc::new(world.store.clone()));
    a.open();
    pass(SECOND).await;
    a.cancel.cancel();
    world.clock.run_ahead(Duration::from_hours(24));
    let fresh = process(&world, Arc::new(world.store.clone()));
    pass(STALE).await;
    assert!(fresh.is(Closed));
    assert_eq!(stored(&world).await.state, Closed);
}

#[tokio::test(start_paused = true)]
async fn an_order_reaches_all_beats_their_states_and_ends_everywhere() {
    let world = World::new();
    let (a, mut b) = two(&world);
    a.breakers.force(&gateway(), order(ForcedState::Closed, 60), &ann()).expect("known");
    soon("b obeys", || b.breaker.status().forced.is_some()).await;
    assert_eq!(stored(&world).await.changed_by, ann().actor);
    // A state that others save doesn't lose it.
    let news = SaveBreaker {
        name: gateway(),
        expected: stored(&world).await.version,
        state: Open,
        open_for: Some(SECOND * 30),
        reopenings: 0,
        forced: stored(&world).await.forced,
        evidence: world.env.evidence(&Who::system()),
    };
    world.store.save(news).await.expect("nobody else saves now");
    soon("both heard it", || [&a, &b].iter().all(|p| p.breaker.status().own == Open)).await;
    for process in [&a, &b] {
        assert!(process.is(Closed), "the order beats the state");
        process.call(CallOutcome::Failure);
    }
    pass(SECOND * 62).await;
    for process in [&a, &b] {
        assert_eq!(process.breaker.status().forced, None);
    }
    assert_eq!(b.heard(), [(Closed, true, true), (Open, false, false)]);
}

#[tokio::test(start_paused = true)]
async fn an_order_that_a_person_saves_is_obeyed_and_lifted_by_another() {
    let world = World::new();
    let (a, b) = two(&world);
    pass(SECOND).await;
    let seen = stored(&world).await;
    assert_eq!((seen.version, seen.state), (1, Closed), "a process shows its breakers");
    let save = SaveBreaker {
        name: gateway(),
        expected: seen.version,
        state: seen.state,
        open_for: None,
        reopenings: 0,
        forced: Some(ForcedBreaker { state: ForcedState::Open, lasts: None }),
        evidence: world.env.evidence(&ann()),
    };
    world.store.save(save).await.expect("nobody else saves now");
    soon("both obey", || a.is(Open) && b.is(Open)).await;
    assert!(a.breaker.admit().expect_err("ordered").forced);
    b.breakers.lift(&gateway(), &ann()).expect("known");
    soon("a goes on by itself", || a.is(Closed)).await;
    assert_eq!(stored(&world).await.forced, None);
}

/// What a store does: works, hangs, fails, panics, or lost all it had.
#[derive(Debug)]
pub(crate) struct Faulty {
    inner: MemoryStore,
    spare: MemoryStore,
    mode: AtomicU8,
}

pub(crate) const WORKS: u8 = 0;
pub(crate) const HANGS: u8 = 1;
pub(crate) const FAILS: u8 = 2;
pub(crate) const PANICS: u8 = 3;
pub(crate) const EMPTIED: u8 = 4;
const READS: u8 = 5;

impl Faulty {
    pub(crate) fn on(world: &World) -> Arc<Self> {
        let spare = World::new().store;
        Arc::new(Self { inner: world.store.clone(), spare, mode: AtomicU8::new(WORKS) })
    }

    pub(crate) fn turn(&self, mode: u8) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    async fn works(&self) -> Result<&MemoryStore, BreakerStoreError> {
        use baldur_core::{BackendError, BackendKind};
        match self.mode.load(Ordering::SeqCst) {
            HANGS => std::future::pending().await,
            FAILS => Err(BackendError::new("faulty", "any", BackendKind::Unavailable).into()),
            PANICS => panic!("meant by the test"),
            EMPTIED => Ok(&self.spare),
            _ => Ok(&self.inner),
        }
    }
}

#[async_trait]
impl CircuitBreakerStore for Faulty {
    async fn load(
        &self,
        names: Vec<ServiceName>,
    ) -> Result<Vec<Option<SharedBreaker>>, BreakerStoreError> {
        self.works().await?.load(names).await
    }

    async fn save(&self, save: SaveBreaker) -> Result<SharedBreaker, BreakerStoreError> {
        if self.mode.load(Ordering::SeqCst) == READS {
            self.turn(FAILS);
            let refused = self.works().await.map(|_| ());
            self.turn(READS);
            refused?;
        }
        self.works().await?.save(save).await
    }

    async fn list(
        &self,
        after: Option<ServiceName>,
        limit: usize,
    ) -> Result<Vec<SharedBreaker>, BreakerStoreError> {
        CircuitBreakerStore::list(self.works().await?, after, limit).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_changes_no_decision_and_hears_all_when_it_is_back() {
    for fault in [HANGS, FAILS, PANICS] {
        let world = World::new();
        let store = Faulty::on(&world);
        let shared: Arc<dyn CircuitBreakerStore> = Arc::<Faulty>::clone(&store);
        let (a, b) = (process(&world, shared), process(&world, Arc::new(world.store.clone())));
        pass(SECOND).await;
        store.turn(fault);
        pass(SECOND).await;
        // No await between: the decisions don't wait for anything.
        let asked = world.clock.mono();
        a.open();
        let rejection = a.breaker.admit().expect_err("open");
        assert_eq!((rejection.retry_in, world.clock.mono()), (SECOND * 10, asked));
        pass(STALE).await;
        assert!(b.is(Closed), "it can't have heard");
        pass(SECOND * 8).await;
        a.call(CallOutcome::Success);
        a.call(CallOutcome::Failure);
        assert!(a.is(Open));
        store.turn(WORKS);
        pass(SyncPolicy::default().interval).await;
        soon("b opens", || b.is(Open)).await;
        assert_eq!(b.breaker.status().reopenings, 1);
        assert!(!a.task.is_finished());
    }
}

#[tokio::test(start_paused = true)]
async fn an_order_that_ended_before_it_was_told_lifts_nobody_elses() {
    for fault in [FAILS, READS] {
        let world = World::new();
        let store = Faulty::on(&world);
        let shared: Arc<dyn CircuitBreakerStore> = Arc::<Faulty>::clone(&store);
        let (a, b) = (process(&world, shared), process(&world, Arc::new(world.store.clone())));
        pass(SECOND).await;
        store.turn(fault);
        a.breakers.force(&gateway(), order(ForcedState::Closed, 5), &ann()).expect("known");
        let maintenance = order(ForcedState::Open, 3_600);
        b.breakers.force(&gateway(), maintenance, &ann()).expect("known");
        pass(SECOND * 8).await;
        store.turn(WORKS);
        pass(SyncPolicy::default().interval * 4).await;
        let state = stored(&world).await.forced.map(|order| order.state);
        assert_eq!(state, Some(ForcedState::Open), "after {fault}");
        assert!(a.is(Open) && b.is(Open), "after {fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_the_store_lost_is_shown_again() {
    let world = World::new();
    let store = Faulty::on(&world);
    let shared: Arc<dyn CircuitBreakerStore> = Arc::<Faulty>::clone(&store);
    let a = process(&world, shared);
    a.open();
    pass(SECOND).await;
    assert_eq!(stored(&world).await.state, Open);
    store.turn(EMPTIED);
    pass(STALE).await;
    let shown = store.spare.load(vec![gateway()]).await.expect("memory");
    let shown = shown.into_iter().next().flatten().expect("saved anew");
    assert_eq!((shown.version, shown.state), (1, Open));
}

#[tokio::test(start_paused = true)]
async fn breakers_are_shared_once_until_they_are_told_to_stop() {
    let world = World::new();
    let store: Arc<dyn CircuitBreakerStore> = Arc::new(world.store.clone());
    let breakers = Breakers::new(&world.env);
    let cancel = CancellationToken::new();
    let share = |policy| breakers.share(Arc::clone(&store), policy, cancel.clone());
    let (interval, store_timeout) = (Duration::from_hours(1), SECOND);
    let refused = share(SyncPolicy { interval, store_timeout, follow: false });
    assert!(matches!(refused, Err(ShareError::Invalid(text)) if text.contains("interval")));
    let refused =
        share(SyncPolicy { interval: SECOND, store_timeout: Duration::ZERO, follow: false });
    assert!(matches!(refused, Err(ShareError::Invalid(text)) if text.contains("store timeout")));
    let task = share(SyncPolicy::default()).expect("shared once");
    assert!(matches!(share(SyncPolicy::default()), Err(ShareError::Already)));
    pass(STALE).await;
    assert!(!task.is_finished());
    cancel.cancel();
    task.await.expect("it ends");
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Call(usize, CallOutcome),
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let outcome = prop_oneof![
        3 => Just(CallOutcome::Success),
        4 => Just(CallOutcome::Failure),
        1 => Just(CallOutcome::Dropped),
    ];
    prop_oneof![
        5 => (0_usize..4, outcome).prop_map(|(process, outcome)| Act::Call(process, outcome)),
        2 => (0_u64..1_500).prop_map(Act::Pass),
        1 => Just(Act::Pass(11_000)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever four processes see, soon all of them are closed or none is, and the store says the same.
    #[test]
    fn processes_agree_whether_a_dependency_may_be_called(
        acts in prop::collection::vec(act(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let world = World::new();
            let store = || Arc::new(world.store.clone());
            let processes: Vec<_> = (0..4).map(|_| process(&world, store())).collect();
            for act in &acts {
                match act {
                    Act::Call(process, outcome) => {
                        if let Ok(permit) = processes[*process].breaker.admit() {
                            permit.end(*outcome);
                        }
                    }
                    Act::Pass(millis) => pass(Duration::from_millis(*millis)).await,
                }
            }
            pass(STALE * 2).await;
            let closed = stored(&world).await.state == Closed;
            for process in &processes {
                prop_assert_eq!(process.is(Closed), closed);
            }
            Ok(())
        })?;
    }
}
