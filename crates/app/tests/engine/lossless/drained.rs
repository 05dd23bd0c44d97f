//! The spool comes back into the store: in order, once, and in its own time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use baldur_app::{
    CaptureMode, CapturePolicy, CaptureService, Drainer, Ledger, Oversize, SpoolingStore, Who,
    drain::{DrainHooks, DrainPolicy},
    outbox::OutboxPolicy,
    spooling::SpoolingPolicy,
};
use baldur_core::{
    NewFailedOp,
    command::{Capture, LiveLimits, WhenFull},
    port::{CaptureError, CaptureStore, Captured, EntryReader, LimitScope, Spool},
};

use super::{
    plant::{Plant, keyed, waiting},
    shelf::{Shelf, Trouble},
    wire::{Fault, REFUSED, Wire},
};
use crate::world::{SECOND, World, op, virtual_time};

/// A drainer without anything else.
struct Yard {
    world: World,
    wire: Wire,
    shelf: Shelf,
    ledger: Ledger,
    drainer: Drainer,
}

impl Yard {
    fn over(world: World, shelf: Shelf, hooks: DrainHooks) -> Self {
        let wire = Wire::new(&world.store);
        Self::through(Arc::new(wire.clone()), wire, world, shelf, hooks)
    }

    /// With `store` between the drainer and the wire.
    fn through(
        store: Arc<dyn CaptureStore>,
        wire: Wire,
        world: World,
        shelf: Shelf,
        hooks: DrainHooks,
    ) -> Self {
        let store = SpoolingStore::new(store, Arc::new(shelf.clone()), SpoolingPolicy::default());
        let ledger = Ledger::new();
        let policy = DrainPolicy::default();
        let drainer = Drainer::start(&store, ledger.clone(), &world.env, policy, hooks);
        Self { world, wire, shelf, ledger, drainer: drainer.expect("a good policy") }
    }

    async fn is_drained(&self) {
        assert!(self.drainer.drained(SECOND * 600).await, "{:?}", self.drainer.status());
    }
}

fn prepared(world: &World, op: NewFailedOp) -> Capture {
    let service = CaptureService::new(
        Arc::new(world.store.clone()),
        world.env.clone(),
        CapturePolicy::default(),
    );
    service.prepare(op, &Who::system(), Oversize::Refuse).expect("acceptable")
}

/// A spool of an earlier process, with these in it.
async fn left_behind(world: &World, captures: Vec<Capture>) -> Shelf {
    let shelf = Shelf::new(Arc::clone(&world.env.clock), 1_000_000);
    for appended in shelf.append(captures).await {
        appended.expect("room");
    }
    shelf.reopened()
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_process_left_is_recovered_and_counted() {
    let world = World::new();
    let captures: Vec<_> = (0..1_000).map(|_| prepared(&world, keyed("a"))).collect();
    let ids: Vec<_> = captures.iter().map(|capture| capture.op.id).collect();
    // Ten were stored before the process died, and not removed yet.
    world.store.capture_batch(captures[..10].to_vec()).await;
    let shelf = left_behind(&world, captures).await;
    let yard = Yard::over(world, shelf, DrainHooks::default());
    let sums = yard.ledger.sums();
    assert_eq!((sums.offered, sums.recovered, sums.spooled), (1_000, 1_000, 1_000));
    yard.is_drained().await;
    virtual_time(SECOND).await;
    let arrived: Vec<_> = yard.wire.arrived().into_iter().map(|(id, _)| id).collect();
    assert_eq!(arrived, ids[10..], "in order, and none twice");
    let sums = yard.ledger.sums();
    assert!(sums.balances() && sums.stored == 1_000 && sums.spooled == 0, "{sums:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_asked_for_little_and_seldom() {
    let world = World::new();
    let captures: Vec<_> = (0..5_000).map(|_| prepared(&world, op("payment"))).collect();
    let shelf = left_behind(&world, captures).await;
    let yard = Yard::over(world, shelf, DrainHooks::default());
    yard.wire.is_in(Fault::Down);
    virtual_time(SECOND * 60).await;
    let sizes = yard.wire.batches();
    assert!(sizes.len() < 40, "asked {} times within a minute", sizes.len());
    assert_eq!(sizes.last(), Some(&1), "with one record");
    assert!(yard.drainer.status().trouble.expect("there is").contains("unavailable"));
    yard.wire.is_in(Fault::None);
    yard.is_drained().await;
    let sizes = yard.wire.batches();
    assert_eq!(sizes.iter().max(), Some(&256), "and with many once it is well");
    assert_eq!(yard.drainer.status().trouble, None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_store_is_left_alone_half_of_the_time() {
    let world = World::new();
    let captures: Vec<_> = (0..200).map(|_| prepared(&world, op("payment"))).collect();
    let shelf = left_behind(&world, captures).await;
    let yard = Yard::over(world, shelf, DrainHooks::default());
    yard.wire.is_in(Fault::Slow(400));
    virtual_time(SECOND * 60).await;
    let asked = yard.wire.batches().len();
    assert!((50..120).contains(&asked), "asked {asked} times, 0.4 s each, within a minute");
    assert_eq!(yard.wire.batches().last(), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_is_put_aside_and_the_rest_goes_on() {
    let world = World::new();
    let ops =
        (0..30).map(|n| if n % 3 == 1 { op("payment").error_code(REFUSED) } else { op("payment") });
    let captures: Vec<_> = ops.map(|op| prepared(&world, op)).collect();
    let bad: Vec<_> = captures.iter().skip(1).step_by(3).map(|capture| capture.op.id).collect();
    let shelf = left_behind(&world, captures).await;
    let yard = Yard::over(world, shelf, DrainHooks::default());
    yard.is_drained().await;
    virtual_time(SECOND).await;
    let (aside, reasons): (Vec<_>, Vec<_>) = yard.shelf.aside().into_iter().unzip();
    assert_eq!(aside, bad);
    assert!(reasons[0].contains("not for this store"), "{}", reasons[0]);
    let sums = yard.ledger.sums();
    assert!(sums.balances(), "{sums:?}");
    assert_eq!((sums.stored, sums.rejected["set_aside"]), (20, 10));
    assert_eq!(yard.drainer.status().set_aside, 10);
}

#[tokio::test(start_paused = true)]
async fn delays_count_from_when_a_capture_was_spooled() {
    let world = World::new();
    let waits = |hours| Some(SECOND * 3_600 * hours);
    let captures: Vec<_> = [(0, None), (1, waits(1)), (5, waits(5))]
        .into_iter()
        .map(|(hours, expires_in)| {
            let mut capture = prepared(&world, op("payment"));
            capture.next_attempt_in = SECOND * 3_600 * hours;
            capture.expires_in = expires_in;
            capture
        })
        .collect();
    let ids: Vec<_> = captures.iter().map(|capture| capture.op.id).collect();
    let shelf = left_behind(&world, captures).await;
    world.clock.run_ahead(SECOND * 3_600 * 2);
    let yard = Yard::over(world, shelf, DrainHooks::default());
    yard.is_drained().await;
    let now = yard.world.env.clock.now();
    let due = |hours: u32| now.saturating_add(SECOND * 3_600 * hours);
    for (id, due, expires) in [
        (ids[0], now, None),
        // Its time ran out in the spool; the store is to expire it, with evidence.
        (ids[1], now, Some(now.saturating_add(Duration::from_micros(1)))),
        (ids[2], due(3), Some(due(3))),
    ] {
        let state = yard.world.entry(id).await.state;
        assert_eq!((state.next_attempt_at, state.expires_at), (due, expires), "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_spooled_capture_is_not_refused_by_a_limit_that_came_later() {
    let world = World::new();
    let limited = |when_full| {
        let mut capture = prepared(&world, op("payment"));
        let one = std::num::NonZeroU64::new(1);
        capture.limits = Some(LiveLimits { in_domain: one, in_all: None, when_full });
        capture
    };
    let captures = (0..3).map(|_| limited(WhenFull::Reject)).collect();
    let shelf = left_behind(&world, captures).await;
    let yard = Yard::over(world.clone(), shelf, DrainHooks::default());
    yard.is_drained().await;
    assert_eq!(yard.world.all().await.len(), 3, "they were acknowledged");

    // A policy that drops the oldest goes on to hold; what completes captures says which.
    let captures = (0..3).map(|_| prepared(&world, op("payment"))).collect();
    let shelf = left_behind(&world, captures).await;
    let limits = limited(WhenFull::DropOldest).limits;
    let finish = Arc::new(move |capture: &mut Capture| capture.limits = limits);
    let hooks = DrainHooks { finish: Some(finish), adopt: None };
    let yard = Yard::over(world, shelf, hooks);
    yard.is_drained().await;
    assert_eq!(yard.world.all().await.len(), 1, "each new one took the place of the old ones");
}

/// Has no room within limits, and panics the first few times that it is asked to go beyond them.
#[derive(Debug)]
struct Startled {
    wire: Wire,
    panics: AtomicU32,
}

#[async_trait]
impl CaptureStore for Startled {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let full = || CaptureError::LimitReached { scope: LimitScope::Domain, live: 1, limit: 1 };
        if captures.iter().any(|capture| capture.limits.is_some()) {
            return captures.iter().map(|_| Err(full())).collect();
        }
        let left = self
            .panics
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        assert!(left.is_err(), "as told");
        self.wire.capture_batch(captures).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_beyond_its_limits_has_nothing_put_aside() {
    let world = World::new();
    let captures: Vec<_> = (0..5).map(|_| prepared(&world, op("payment"))).collect();
    let shelf = left_behind(&world, captures).await;
    let limits = LiveLimits {
        in_domain: std::num::NonZeroU64::new(1),
        in_all: None,
        when_full: WhenFull::DropOldest,
    };
    let finish = Arc::new(move |capture: &mut Capture| capture.limits = Some(limits));
    let hooks = DrainHooks { finish: Some(finish), adopt: None };
    let wire = Wire::new(&world.store);
    let store = Arc::new(Startled { wire: wire.clone(), panics: AtomicU32::new(3) });
    let yard = Yard::through(store, wire, world, shelf, hooks);
    yard.is_drained().await;
    assert_eq!(yard.shelf.aside(), [], "they were acknowledged, and nobody refused them");
    assert_eq!(yard.wire.arrived().len(), 5);
}

#[tokio::test(start_paused = true)]
async fn an_adoption_that_takes_long_is_counted_all_the_same() {
    let world = World::new();
    let captures: Vec<_> = (0..20).map(|_| prepared(&world, keyed("a"))).collect();
    let other = left_behind(&world, captures).await;
    let shelf = Shelf::new(Arc::clone(&world.env.clock), 100);
    let orphan = Arc::new(std::sync::Mutex::new(Some(other.records())));
    let adopter = shelf.clone();
    let adopt: baldur_app::drain::Adopt = Arc::new(move || {
        let (orphan, adopter) = (Arc::clone(&orphan), adopter.clone());
        // A disk goes on with what nobody waits for.
        let work = tokio::spawn(async move {
            virtual_time(DrainPolicy::default().timeout * 2).await;
            let found = orphan.lock().expect("not poisoned").take();
            Ok(found.map_or(0, |records| adopter.adopt(records)))
        });
        Box::pin(async move { work.await.expect("it ends") })
    });
    let yard = Yard::over(world, shelf, DrainHooks { finish: None, adopt: Some(adopt) });
    virtual_time(SECOND * 40).await;
    yard.is_drained().await;
    virtual_time(SECOND * 10).await;
    let sums = yard.ledger.sums();
    assert!(sums.balances(), "{sums:?}");
    assert_eq!((sums.recovered, sums.stored, sums.spooled), (20, 20, 0));
}

#[tokio::test(start_paused = true)]
async fn lanes_of_processes_that_die_later_are_adopted() {
    let world = World::new();
    let captures: Vec<_> = (0..20).map(|_| prepared(&world, keyed("a"))).collect();
    let other = left_behind(&world, captures).await;
    let shelf = Shelf::new(Arc::clone(&world.env.clock), 100);
    let orphan = std::sync::Mutex::new(Some(other.records()));
    let adopter = shelf.clone();
    let adopt: baldur_app::drain::Adopt = Arc::new(move || {
        let found = orphan.lock().expect("not poisoned").take();
        let count = found.map_or(0, |records| adopter.adopt(records));
        Box::pin(async move { Ok(count) })
    });
    let yard = Yard::over(world, shelf, DrainHooks { finish: None, adopt: Some(adopt) });
    virtual_time(SECOND * 40).await;
    yard.is_drained().await;
    virtual_time(SECOND * 10).await;
    assert_eq!(yard.wire.arrived().len(), 20);
    let sums = yard.ledger.sums();
    assert!(sums.balances(), "{sums:?}");
    assert_eq!((sums.recovered, sums.stored, sums.spooled), (20, 20, 0));
}

#[tokio::test(start_paused = true)]
async fn spooled_records_that_vanish_are_reported_as_dropped() {
    let plant = Plant::new(OutboxPolicy::default());
    plant.wire.is_in(Fault::Down);
    for _ in 0..5 {
        plant.put(op("payment"), CaptureMode::Sync).await;
    }
    assert_eq!(plant.sums().spooled, 5);
    plant.shelf.as_ref().expect("one").wipe();
    virtual_time(SECOND * 60).await;
    let sums = plant.sums();
    assert!(sums.balances(), "{sums:?}");
    assert_eq!((sums.spooled, sums.dropped["spool_damaged"]), (0, 5));
}

#[tokio::test(start_paused = true)]
async fn a_drainer_that_was_stopped_at_any_moment_is_followed_by_one_that_goes_on() {
    let world = World::new();
    let captures: Vec<_> = (0..400).map(|_| prepared(&world, keyed("a"))).collect();
    let ids: Vec<_> = captures.iter().map(|capture| capture.op.id).collect();
    let mut shelf = left_behind(&world, captures).await;
    for (n, fault) in
        [Fault::Slow(50), Fault::HangsAfter, Fault::PanicsAfter, Fault::Unheard, Fault::None]
            .into_iter()
            .cycle()
            .take(15)
            .enumerate()
    {
        let yard = Yard::over(world.clone(), shelf, DrainHooks::default());
        yard.wire.is_in(fault);
        yard.shelf.is_in(if n % 4 == 3 { Trouble::RemovedUnheard } else { Trouble::None });
        virtual_time(Duration::from_millis(130)).await;
        yard.drainer.stop(Duration::from_millis(1)).await;
        shelf = yard.shelf.reopened();
    }
    let yard = Yard::over(world, shelf, DrainHooks::default());
    yard.is_drained().await;
    let found = yard.world.store.find(ids).await.expect("the store answers");
    assert!(found.iter().all(Option::is_some), "all are there");
    let once = |op: &Option<baldur_core::FailedOp>| {
        op.as_ref().is_some_and(|op| op.state.occurrences == 1)
    };
    assert!(found.iter().all(once), "and each was captured once");
    assert_eq!(waiting_in(&yard.shelf), 0);
}

fn waiting_in(shelf: &Shelf) -> u64 {
    shelf.status().records
}

#[tokio::test(start_paused = true)]
async fn a_new_record_wakes_the_drainer() {
    let plant = Plant::new(OutboxPolicy::default());
    virtual_time(SECOND).await;
    plant.put(op("payment"), CaptureMode::Durable).await;
    virtual_time(Duration::from_millis(1)).await;
    assert_eq!((waiting(&plant), plant.wire.arrived().len()), (0, 1));
}
