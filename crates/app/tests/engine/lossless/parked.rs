//! A record that the store fails at for ever makes way for the others, and an outage puts nothing aside.

use std::{sync::Arc, time::Duration};

use baldur_app::{
    CapturePolicy, CaptureService, Drainer, Ledger, Oversize, SpoolingStore, Who,
    drain::{DrainHooks, DrainPolicy},
    spooling::SpoolingPolicy,
};
use baldur_core::{
    EntryId, NewFailedOp,
    command::Capture,
    name::OrderKey,
    port::{CaptureStore as _, Durability, Spool as _},
};

use super::{
    plant::keyed,
    shelf::{Shelf, Trouble},
    wire::{FAILS, Fault, REFUSED, SPOILS, Wire},
};
use crate::world::{SECOND, World, op, virtual_time};

const PARK_AFTER: Duration = Duration::from_mins(10);
const SHORTLY_BEFORE: Duration = Duration::from_secs(570);

/// A spool that an earlier process left, what drains it, and callers beside.
struct Yard {
    world: World,
    wire: Wire,
    shelf: Shelf,
    ledger: Ledger,
    store: SpoolingStore,
    drainer: Drainer,
}

impl Yard {
    async fn with(ops: Vec<NewFailedOp>, policy: DrainPolicy) -> (Self, Vec<EntryId>) {
        let world = World::new();
        let captures: Vec<_> = ops.into_iter().map(|op| prepared(&world, op)).collect();
        let ids = captures.iter().map(|capture| capture.op.id).collect();
        let before = Shelf::new(Arc::clone(&world.env.clock), 1_000_000);
        for appended in before.append(captures).await {
            appended.expect("room");
        }
        let (shelf, wire) = (before.reopened(), Wire::new(&world.store));
        let store = SpoolingStore::new(
            Arc::new(wire.clone()),
            Arc::new(shelf.clone()),
            SpoolingPolicy::default(),
        );
        let ledger = Ledger::new();
        let drainer =
            Drainer::start(&store, ledger.clone(), &world.env, policy, DrainHooks::default())
                .expect("a good policy");
        (Self { world, wire, shelf, ledger, store, drainer }, ids)
    }

    async fn capture(&self, op: NewFailedOp) -> Durability {
        let capture = prepared(&self.world, op);
        let mut answers = self.store.capture_batch(vec![capture]).await;
        answers.pop().expect("an answer").expect("kept").durability
    }

    fn aside(&self) -> Vec<EntryId> {
        self.shelf.aside().into_iter().map(|(id, _)| id).collect()
    }

    fn arrived(&self) -> Vec<EntryId> {
        self.wire.arrived().into_iter().map(|(id, _)| id).collect()
    }

    fn arrived_of(&self, key: &str) -> Vec<EntryId> {
        let of = |own: &OrderKey| own.as_str() == key;
        let arrived = self.wire.arrived().into_iter();
        arrived.filter(|(_, own)| own.as_ref().is_some_and(of)).map(|(id, _)| id).collect()
    }

    async fn is_drained(&self) {
        assert!(self.drainer.drained(SECOND * 3_600).await, "{:?}", self.drainer.status());
        virtual_time(SECOND).await;
    }
}

fn prepared(world: &World, op: NewFailedOp) -> Capture {
    let store = Arc::new(world.store.clone());
    let service = CaptureService::new(store, world.env.clone(), CapturePolicy::default());
    service.prepare(op, &Who::system(), Oversize::Refuse).expect("acceptable")
}

fn good() -> NewFailedOp {
    op("payment")
}

fn bad(code: &str) -> NewFailedOp {
    op("payment").error_code(code)
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_store_fails_at_for_ever_makes_way_after_its_time() {
    for code in [FAILS, SPOILS] {
        let mut ops: Vec<_> = (0..30).map(|_| good()).collect();
        ops[5] = bad(code);
        let (yard, ids) = Yard::with(ops, DrainPolicy::default()).await;
        virtual_time(SHORTLY_BEFORE).await;
        assert_eq!(yard.aside(), [], "{code}: not before its time");
        assert!(yard.drainer.status().trouble.is_some());
        assert_eq!(yard.shelf.records()[0].capture.op.id, ids[5], "it holds up its lane");
        yard.is_drained().await;
        let (aside, reasons): (Vec<_>, Vec<_>) = yard.shelf.aside().into_iter().unzip();
        assert_eq!(aside, [ids[5]], "{code}");
        assert!(reasons[0].contains("while it took others"), "{}", reasons[0]);
        let sums = yard.ledger.sums();
        assert!(sums.balances() && sums.overdrawn == 0, "{sums:?}");
        assert_eq!((sums.stored, sums.rejected["parked"], sums.spooled), (29, 1, 0), "{sums:?}");
        let status = yard.drainer.status();
        assert_eq!((status.drained, status.parked, status.set_aside), (29, 1, 0));
        assert_eq!(yard.arrived().len(), 29, "the one that was asked for in between is there once");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_puts_nothing_aside_however_long_it_lasts() {
    for fault in [Fault::Down, Fault::Hangs, Fault::Panics, Fault::Full] {
        let ops = (0..30).map(|n| keyed(["a", "b", "c"][n % 3])).collect();
        let (yard, ids) = Yard::with(ops, DrainPolicy::default()).await;
        yard.wire.is_in(fault);
        virtual_time(PARK_AFTER * 20).await;
        let asked = yard.wire.batches().len();
        yard.wire.is_in(Fault::None);
        yard.is_drained().await;
        assert_eq!(yard.aside(), [], "{fault:?}");
        for (key, of) in [("a", 0), ("b", 1), ("c", 2)] {
            let order: Vec<_> = ids.iter().skip(of).step_by(3).copied().collect();
            assert_eq!(yard.arrived_of(key), order, "{fault:?}: in the order of {key}");
        }
        assert!(asked < 4_000, "{fault:?}: asked {asked} times");
    }
}

#[tokio::test(start_paused = true)]
async fn outages_that_come_and_go_put_nothing_aside() {
    let ops = (0..2_000).map(|_| good()).collect();
    let (yard, ids) =
        Yard::with(ops, DrainPolicy { largest_batch: 8, ..DrainPolicy::default() }).await;
    for _ in 0..60 {
        yard.wire.is_in(Fault::Down);
        virtual_time(SECOND * 30).await;
        yard.wire.is_in(Fault::Slow(200));
        virtual_time(SECOND).await;
    }
    yard.wire.is_in(Fault::None);
    yard.is_drained().await;
    assert_eq!((yard.aside(), yard.arrived().len()), (vec![], ids.len()));
}

#[tokio::test(start_paused = true)]
async fn what_the_store_knows_already_does_not_tell_that_it_takes_others() {
    let mut ops: Vec<_> = (0..30).map(|_| good()).collect();
    ops[0] = bad(FAILS);
    let (yard, ids) = Yard::with(ops, DrainPolicy::default()).await;
    virtual_time(SECOND * 10).await;
    assert_ne!(yard.arrived(), [], "others overtook it");
    // Now it is the store that is to blame, and for all that is new to it.
    yard.wire.is_mended();
    yard.wire.is_in(Fault::FullForNew);
    yard.capture(good()).await;
    // The failure before was none of writes; the next one is.
    virtual_time(SECOND * 10).await;
    let mut seen_up = 0;
    for _ in 0..240 {
        assert_eq!(yard.capture(good()).await, Durability::Spooled);
        virtual_time(SECOND * 5).await;
        seen_up += u32::from(yard.store.store_is_up());
    }
    assert_eq!(seen_up, 0, "callers are kept from a store that takes nothing");
    yard.wire.is_in(Fault::None);
    yard.is_drained().await;
    assert_eq!((yard.aside(), yard.arrived().len()), (vec![], ids.len() + 241));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_without_asking_the_store_does_not_tell_that_it_takes_others() {
    let mut ops: Vec<_> = (0..30).map(|_| good()).collect();
    ops[3] = bad(REFUSED);
    let (yard, ids) = Yard::with(ops, DrainPolicy::default()).await;
    yard.wire.is_in(Fault::DownBehindChecks);
    let mut seen_up = 0;
    for _ in 0..240 {
        assert_eq!(yard.capture(good()).await, Durability::Spooled);
        virtual_time(SECOND * 5).await;
        seen_up += u32::from(yard.store.store_is_up());
    }
    assert_eq!((seen_up, yard.aside()), (0, vec![]));
    yard.wire.is_in(Fault::None);
    yard.is_drained().await;
    assert_eq!((yard.aside(), yard.arrived().len()), (vec![ids[3]], ids.len() - 1 + 240));
}

#[tokio::test(start_paused = true)]
async fn callers_go_to_the_store_while_a_record_holds_up_its_lane() {
    let (yard, ids) = Yard::with(vec![bad(FAILS), good()], DrainPolicy::default()).await;
    virtual_time(SECOND * 30).await;
    assert!(yard.store.store_is_up());
    for _ in 0..60 {
        assert!(matches!(yard.capture(good()).await, Durability::Stored { .. }));
        virtual_time(SECOND).await;
    }
    assert_eq!(yard.shelf.records().len(), 2, "and its lane waits");
    yard.is_drained().await;
    assert_eq!(yard.aside(), [ids[0]]);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_else_waits_a_caller_shows_that_the_store_is_well() {
    // All that is looked at are such records, or there is but one of them.
    for count in [1, 100] {
        let ops = (0..count).map(|_| bad(SPOILS)).collect();
        let policy = DrainPolicy { park_after: SECOND * 30, ..DrainPolicy::default() };
        let (yard, _) = Yard::with(ops, policy).await;
        let mut stored = 0;
        for _ in 0..count * 120 {
            stored += u32::from(matches!(yard.capture(good()).await, Durability::Stored { .. }));
            virtual_time(SECOND).await;
        }
        assert!(stored > count * 60, "{count}: {stored} were stored at once");
        yard.is_drained().await;
        assert_eq!(yard.aside().len(), usize::try_from(count).expect("few"));
        let sums = yard.ledger.sums();
        assert_eq!(sums.rejected["parked"], u64::from(count), "{sums:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_of_its_keys_overtakes_it_before_it_makes_way() {
    let one = |op: NewFailedOp| op.dedup_key("d");
    let ops = vec![
        one(keyed("a").error_code(FAILS)),
        keyed("a"),
        one(keyed("b")),
        keyed("b"),
        keyed("c"),
        keyed("c"),
    ];
    let (yard, ids) = Yard::with(ops, DrainPolicy::default()).await;
    // Each is asked for by itself from the first failure on.
    yard.wire.is_in(Fault::Down);
    virtual_time(SECOND * 30).await;
    yard.wire.is_in(Fault::None);
    virtual_time(SECOND * 120).await;
    assert_eq!(yard.arrived(), [ids[4]], "the first one that shares no key with those before it");
    yard.is_drained().await;
    assert_eq!(yard.aside(), [ids[0]]);
    assert_eq!(yard.arrived(), [ids[4], ids[1], ids[2], ids[3], ids[5]]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_store_takes_after_all_is_not_put_aside() {
    let (yard, ids) = Yard::with(vec![bad(SPOILS), good()], DrainPolicy::default()).await;
    virtual_time(SHORTLY_BEFORE).await;
    yard.wire.is_mended();
    yard.is_drained().await;
    assert_eq!((yard.aside(), yard.arrived()), (vec![], vec![ids[1], ids[0]]));
    assert_eq!(yard.drainer.status().trouble, None);
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_ever_where_that_is_asked_for() {
    let policy = DrainPolicy { park_attempts: 0, ..DrainPolicy::default() };
    let (yard, ids) = Yard::with(vec![bad(FAILS), good()], policy).await;
    virtual_time(SECOND * 3_600 * 24).await;
    assert_eq!((yard.aside(), yard.shelf.records().len()), (vec![], 2));
    assert!(yard.store.store_is_up(), "callers are not held up");
    assert_eq!(yard.arrived(), [ids[1]]);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_finds_no_room_aside_stays_until_there_is() {
    let (yard, ids) = Yard::with(vec![bad(FAILS), good()], DrainPolicy::default()).await;
    yard.shelf.is_in(Trouble::NoRoomAside);
    virtual_time(PARK_AFTER * 3).await;
    assert_eq!((yard.aside(), yard.shelf.records().len()), (vec![], 2));
    assert!(yard.store.store_is_up(), "callers are not held up");
    yard.shelf.is_in(Trouble::None);
    yard.is_drained().await;
    assert_eq!(yard.aside(), [ids[0]]);
}

#[tokio::test(start_paused = true)]
async fn limits_out_of_range_are_refused() {
    let good = DrainPolicy::default();
    for (attempts, after) in [(1, PARK_AFTER), (10_001, PARK_AFTER), (10, Duration::ZERO)] {
        let policy = DrainPolicy { park_attempts: attempts, park_after: after, ..good };
        assert!(policy.check().is_err(), "{attempts} within {after:?}");
    }
}
