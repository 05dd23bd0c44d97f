//! Breakers that a process hears of and doesn't have.

use std::{sync::Arc, time::Duration};

use baldur_app::{
    BreakerEvent, Breakers, Who,
    breakers::{MAX_FOLLOWED, SyncPolicy},
};
use baldur_core::{
    name::ServiceName,
    policy::{BreakerState, CallOutcome},
    port::{CircuitBreakerStore, ForcedState, SaveBreaker},
};
use tokio::sync::broadcast::Receiver;
use tokio_util::sync::CancellationToken;

use crate::{
    protected::breaker as policy,
    shared_breakers::{
        EMPTIED, FAILS, Faulty, HANGS, PANICS, Process, STALE, WORKS, ann, gateway, order, pass,
        process, soon, stored,
    },
    world::{SECOND, World},
};
use BreakerState::{Closed, HalfOpen, Open};

/// A process that has no breaker of its own.
struct Follower {
    breakers: Breakers,
    events: Receiver<BreakerEvent>,
}

fn follower(world: &World, store: Arc<dyn CircuitBreakerStore>) -> Follower {
    let breakers = Breakers::new(&world.env);
    let events = breakers.subscribe();
    let policy = SyncPolicy { follow: true, ..SyncPolicy::default() };
    breakers.share(store, policy, CancellationToken::new()).expect("shared once");
    Follower { breakers, events }
}

fn one_and_follower(world: &World) -> (Process, Follower) {
    let store = || Arc::new(world.store.clone());
    (process(world, store()), follower(world, store()))
}

impl Follower {
    /// From, to, and whether a person ordered it.
    fn heard(&mut self) -> Vec<(BreakerState, BreakerState, bool)> {
        let mut heard = Vec::new();
        while let Ok(event) = self.events.try_recv() {
            assert!(event.shared, "{event:?}");
            heard.push((event.from, event.to, event.forced));
        }
        heard
    }
}

/// Closes an open breaker by two good probes, which nobody else sees between them.
async fn close(process: &Process) {
    pass(SECOND * 10).await;
    process.call(CallOutcome::Success);
    process.call(CallOutcome::Success);
    assert!(process.is(Closed));
}

async fn save(world: &World, name: &str, expected: u64, state: BreakerState) {
    let save = SaveBreaker {
        name: ServiceName::parse(name).expect("a name"),
        expected,
        state,
        open_for: (state == Open).then_some(SECOND * 10),
        reopenings: 0,
        forced: None,
        evidence: world.env.evidence(&Who::system()),
    };
    world.store.save(save).await.expect("nobody else saves it");
}

#[tokio::test(start_paused = true)]
async fn a_follower_hears_of_a_breaker_that_it_never_made() {
    let world = World::new();
    let (a, mut b) = one_and_follower(&world);
    pass(STALE).await;
    assert_eq!(b.heard(), [], "one first seen closed is no news");
    a.open();
    pass(STALE).await;
    assert_eq!(b.heard(), [(Closed, Open, false)]);
    close(&a).await;
    pass(STALE).await;
    assert_eq!(b.heard(), [(Open, Closed, false)]);
    assert_eq!(b.breakers.states(), [], "it has none of its own");
    let version = stored(&world).await.version;
    pass(STALE).await;
    assert_eq!((b.heard(), stored(&world).await.version), (vec![], version), "and saves none");
}

#[tokio::test(start_paused = true)]
async fn nobody_follows_who_does_not_ask_for_it_and_may_begin_later() {
    let world = World::new();
    let store = || Arc::new(world.store.clone());
    let a = process(&world, store());
    let breakers = Breakers::new(&world.env);
    let events = breakers.subscribe();
    let cancel = CancellationToken::new();
    breakers.share(store(), SyncPolicy::default(), cancel).expect("shared once");
    let mut b = Follower { breakers, events };
    a.open();
    pass(STALE).await;
    assert_eq!(b.heard(), []);
    b.breakers.follow();
    pass(STALE).await;
    assert_eq!(b.heard(), [(Closed, Open, false)], "one first seen open is known to be down");
}

#[tokio::test(start_paused = true)]
async fn one_first_seen_half_open_is_heard_to_close() {
    let world = World::new();
    save(&world, "gateway", 0, HalfOpen).await;
    let mut b = follower(&world, Arc::new(world.store.clone()));
    pass(STALE).await;
    save(&world, "gateway", 1, Closed).await;
    pass(STALE).await;
    assert_eq!(b.heard(), [(Closed, HalfOpen, false), (HalfOpen, Closed, false)]);
}

#[tokio::test(start_paused = true)]
async fn a_follower_hears_of_orders_and_of_their_end() {
    let world = World::new();
    let (a, mut b) = one_and_follower(&world);
    a.breakers.force(&gateway(), order(ForcedState::Open, 60), &ann()).expect("known");
    pass(STALE).await;
    a.breakers.lift(&gateway(), &ann()).expect("known");
    pass(STALE).await;
    assert_eq!(b.heard(), [(Closed, Open, true), (Open, Closed, false)]);
    a.breakers.force(&gateway(), order(ForcedState::Closed, 30), &ann()).expect("known");
    pass(SECOND * 33).await;
    assert_eq!(b.heard(), [(Closed, Closed, true), (Closed, Closed, false)]);
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_a_followed_breaker_gets_one_of_its_own_policy() {
    let world = World::new();
    let (a, mut b) = one_and_follower(&world);
    a.open();
    pass(STALE).await;
    assert_eq!(b.heard(), [(Closed, Open, false)]);
    let own = policy(7, 3);
    assert_ne!(a.breaker.policy(), own);
    let breaker = b.breakers.get(&gateway(), own);
    assert_eq!(breaker.policy(), own);
    soon("it opens as the others did", || breaker.state() == Open).await;
    close(&a).await;
    pass(STALE).await;
    a.open();
    pass(STALE).await;
    let told = [(Closed, Open, false), (Open, Closed, false), (Closed, Open, false)];
    assert_eq!(b.heard(), told, "each change once");
    assert_eq!(b.breakers.get(&gateway(), own).policy(), own);
}

#[tokio::test(start_paused = true)]
async fn a_closing_is_heard_although_the_breaker_was_asked_for_just_before() {
    let world = World::new();
    let (a, mut b) = one_and_follower(&world);
    a.open();
    pass(SECOND * 10).await;
    assert_eq!(b.heard(), [(Closed, Open, false)]);
    let version = stored(&world).await.version;
    // Nobody else has a turn between the two.
    let breaker = b.breakers.get(&gateway(), policy(7, 3));
    save(&world, "gateway", version, Closed).await;
    pass(STALE).await;
    assert_eq!((breaker.state(), b.heard()), (Closed, vec![(Open, Closed, false)]));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_caught_up_with() {
    for fault in [HANGS, FAILS, PANICS] {
        let world = World::new();
        let store = Faulty::on(&world);
        let a = process(&world, Arc::new(world.store.clone()));
        let mut b = follower(&world, Arc::<Faulty>::clone(&store));
        a.open();
        pass(STALE).await;
        assert_eq!(b.heard(), [(Closed, Open, false)]);
        store.turn(fault);
        close(&a).await;
        pass(STALE).await;
        assert_eq!(b.heard(), [], "it can't have heard");
        store.turn(WORKS);
        pass(STALE).await;
        assert_eq!(b.heard(), [(Open, Closed, false)], "after {fault}");
        store.turn(fault);
        a.open();
        pass(STALE).await;
        close(&a).await;
        pass(STALE).await;
        store.turn(WORKS);
        pass(STALE).await;
        let told = [(Closed, Open, false), (Open, Closed, false)];
        assert_eq!(b.heard(), told, "what came and went meanwhile, after {fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lost_all_is_no_news() {
    let world = World::new();
    let store = Faulty::on(&world);
    let a = process(&world, Arc::new(world.store.clone()));
    let mut b = follower(&world, Arc::<Faulty>::clone(&store));
    a.open();
    pass(STALE).await;
    assert_eq!(b.heard(), [(Closed, Open, false)]);
    store.turn(EMPTIED);
    pass(STALE).await;
    assert_eq!(b.heard(), []);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_followed_than_the_bound() {
    let world = World::new();
    for number in 0..=MAX_FOLLOWED {
        save(&world, &format!("dependency-{number:05}"), 0, Open).await;
    }
    let mut b = follower(&world, Arc::new(world.store.clone()));
    pass(Duration::from_millis(100)).await;
    let mut names = Vec::new();
    while let Ok(event) = b.events.try_recv() {
        assert_eq!((event.to, event.shared), (Open, true));
        names.push(event.dependency);
    }
    let expected = (0..MAX_FOLLOWED).map(|number| format!("dependency-{number:05}"));
    assert!(names.iter().map(ServiceName::as_str).eq(expected), "{} names", names.len());
    save(&world, &format!("dependency-{MAX_FOLLOWED:05}"), 1, Closed).await;
    save(&world, "dependency-00999", 1, Closed).await;
    pass(STALE).await;
    assert_eq!(b.heard(), [(Open, Closed, false)]);
}
