//! Twins with a mistake, which the verdict must find.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use baldur_app::{CaptureMode, SpoolingStore, outbox::OutboxPolicy, spooling::SpoolingPolicy};
use baldur_core::{
    EntryId,
    command::Capture,
    port::{CaptureError, CaptureStore, Captured, Disposition, Durability},
};

use super::{
    plant::{Plant, keyed},
    shelf::Shelf,
    wire::{Fault, Wire},
};
use crate::world::{SECOND, World, virtual_time};

type Answer = Result<Captured, CaptureError>;

fn stored(id: EntryId) -> Captured {
    Captured::new(id, Durability::Stored { level: "so it says".into() }, 1, Disposition::New)
}

/// The same story for the real thing and its twins: a store that fails, dies, and is back.
async fn story(
    twin: impl FnOnce(Wire, Shelf) -> Option<Arc<dyn CaptureStore>>,
) -> Result<(), String> {
    let world = World::new();
    let wire = Wire::new(&world.store);
    let shelf = Shelf::new(Arc::clone(&world.env.clock), 1_000);
    let twin = twin(wire.clone(), shelf.clone());
    let policy = OutboxPolicy { batch: 3, ..OutboxPolicy::default() };
    let mut plant = match twin {
        Some(store) => Plant::through(wire, store, world, None, policy),
        None => Plant::through(wire.clone(), Arc::new(wire), world, Some(shelf), policy),
    };
    for fault in [Fault::None, Fault::Panics, Fault::Down, Fault::None] {
        plant.wire.is_in(fault);
        for mode in [CaptureMode::Sync, CaptureMode::Async] {
            plant.put_all(vec![keyed("a"), keyed("b")], mode).await;
        }
        // What is stored by its answer is looked for at once, not when everything is well again.
        for told in plant.told.lock().expect("not poisoned").iter() {
            let arrived = plant.wire.arrived().iter().any(|(id, _)| *id == told.id);
            if matches!(told.answer, Ok(Durability::Stored { .. })) && !arrived {
                return Err(format!("{} was stored, and is not there", told.id));
            }
        }
        let sums = plant.sums();
        let there = u64::try_from(plant.wire.arrived().len()).expect("few");
        if !sums.balances() || sums.stored > there {
            return Err(format!("{there} are there, counted were {sums:?}"));
        }
        virtual_time(SECOND * 20).await;
    }
    plant.recovers().await;
    plant.verdict().await
}

#[tokio::test(start_paused = true)]
async fn the_real_thing_passes() {
    story(|_, _| None).await.expect("no fault");
}

/// Takes what was spooled for stored.
#[derive(Debug)]
struct Boaster(SpoolingStore);

#[async_trait]
impl CaptureStore for Boaster {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Answer> {
        let boast = |captured: Captured| stored(captured.id);
        self.0.capture_batch(captures).await.into_iter().map(|said| said.map(boast)).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_twin_that_counts_spooled_as_stored_is_caught() {
    let twin = |wire: Wire, shelf: Shelf| -> Option<Arc<dyn CaptureStore>> {
        let policy = SpoolingPolicy::default();
        Some(Arc::new(Boaster(SpoolingStore::new(Arc::new(wire), Arc::new(shelf), policy))))
    };
    let caught = story(twin).await.expect_err("caught");
    assert!(caught.contains("is not there") || caught.contains("are there"), "{caught}");
}

/// After its worker died, it believes that what was under way is done.
#[derive(Debug)]
struct Forgetful {
    wire: Wire,
    under_way: Mutex<BTreeSet<EntryId>>,
}

#[async_trait]
impl CaptureStore for Forgetful {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Answer> {
        let ids: Vec<EntryId> = captures.iter().map(|capture| capture.op.id).collect();
        let forgotten = {
            let mut under_way = self.under_way.lock().expect("not poisoned");
            let forgotten = ids.iter().any(|id| under_way.contains(id));
            under_way.extend(&ids);
            forgotten
        };
        if forgotten {
            return ids.into_iter().map(|id| Ok(stored(id))).collect();
        }
        let answers = self.wire.capture_batch(captures).await;
        self.under_way.lock().expect("not poisoned").retain(|id| !ids.contains(id));
        answers
    }
}

#[tokio::test(start_paused = true)]
async fn a_twin_that_drops_what_was_under_way_when_its_worker_died_is_caught() {
    let twin = |wire, _| -> Option<Arc<dyn CaptureStore>> {
        Some(Arc::new(Forgetful { wire, under_way: Mutex::default() }))
    };
    let caught = story(twin).await.expect_err("caught");
    assert!(caught.contains("are there") || caught.contains("lost"), "{caught}");
}

/// Says that it stored before its store did.
struct Hasty(Wire);

impl fmt::Debug for Hasty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasty")
    }
}

#[async_trait]
impl CaptureStore for Hasty {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Answer> {
        let ids: Vec<EntryId> = captures.iter().map(|capture| capture.op.id).collect();
        let wire = self.0.clone();
        tokio::spawn(async move { wire.capture_batch(captures).await });
        ids.into_iter().map(|id| Ok(stored(id))).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_twin_that_acknowledges_before_its_store_is_caught() {
    let twin = |wire, _| -> Option<Arc<dyn CaptureStore>> { Some(Arc::new(Hasty(wire))) };
    let caught = story(twin).await.expect_err("caught");
    assert!(caught.contains("is not there"), "{caught}");
}
