//! The same with the spool on a real disk.

use std::{path::Path, sync::Arc, time::Duration};

use baldur_app::{
    CaptureMode, CapturePolicy, CaptureRoutes, CaptureService, Counted, Drainer, Ledger,
    SpoolingStore, Who,
    drain::{DrainHooks, DrainPolicy},
    spooling::SpoolingPolicy,
};
use baldur_core::{
    EntryId,
    port::{Durability, Spool},
};
use baldur_spool::{DiskSpool, SpoolConfig};

use super::{
    plant::keyed,
    wire::{Fault, Wire},
};
use crate::world::World;

const PATIENCE: Duration = Duration::from_mins(2);

/// One process: its spool, what drains it, and its sums.
struct Process {
    spool: DiskSpool,
    drainer: Drainer,
    ledger: Ledger,
    service: CaptureService,
}

impl Process {
    async fn over(world: &World, wire: &Wire, dir: &Path) -> Self {
        let clock = Arc::clone(&world.env.clock);
        let spool = DiskSpool::open(SpoolConfig::new(dir), clock).await.expect("a spool");
        let port: Arc<dyn Spool> = Arc::new(spool.clone());
        let store = SpoolingStore::new(Arc::new(wire.clone()), port, SpoolingPolicy::default());
        let ledger = Ledger::new();
        let (policy, hooks) = (DrainPolicy::default(), DrainHooks::default());
        let drainer = Drainer::start(&store, ledger.clone(), &world.env, policy, hooks);
        let durable = Counted::new(Arc::new(store.durable()), ledger.clone());
        let routes = CaptureRoutes {
            durable: Some(Arc::new(durable)),
            ..CaptureRoutes::to(Arc::new(Counted::new(Arc::new(store), ledger.clone())))
        };
        let service = CaptureService::routed(routes, world.env.clone(), CapturePolicy::default());
        Self { spool, drainer: drainer.expect("a good policy"), ledger, service }
    }

    /// Captures so many of one key, all of which are spooled.
    async fn spools(&self, count: usize, mode: CaptureMode) -> Vec<EntryId> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let kept = self.service.capture_as(keyed("a"), &Who::system(), mode).await;
            let kept = kept.expect("the disk takes it");
            assert_eq!(kept.durability, Durability::Spooled);
            ids.push(kept.id);
        }
        ids
    }

    async fn ends(self) {
        self.drainer.stop(PATIENCE).await;
        self.spool.close().await;
    }
}

fn arrived(wire: &Wire) -> Vec<EntryId> {
    wire.arrived().into_iter().map(|(id, _)| id).collect()
}

#[tokio::test]
async fn an_outage_is_written_to_disk_and_read_back_in_order() {
    let (world, dir) = (World::new(), tempfile::tempdir().expect("a directory"));
    let wire = Wire::new(&world.store);
    let process = Process::over(&world, &wire, dir.path()).await;
    wire.is_in(Fault::Down);
    let ids = process.spools(100, CaptureMode::Sync).await;
    wire.is_in(Fault::None);
    assert!(process.drainer.drained(PATIENCE).await, "{:?}", process.drainer.status());
    assert_eq!(arrived(&wire), ids);
    let ledger = process.ledger.clone();
    // Stopping waits for the batch under way, so that its last record is counted.
    process.ends().await;
    let sums = ledger.sums();
    assert!(sums.balances(), "{sums:?}");
    assert_eq!((sums.stored, sums.spooled, sums.overdrawn), (100, 0, 0));
}

#[tokio::test]
async fn the_next_process_drains_what_this_one_left_on_disk() {
    let (world, dir) = (World::new(), tempfile::tempdir().expect("a directory"));
    let wire = Wire::new(&world.store);
    wire.is_in(Fault::Down);
    let first = Process::over(&world, &wire, dir.path()).await;
    let ids = first.spools(50, CaptureMode::Durable).await;
    first.ends().await;
    assert_eq!(arrived(&wire), []);

    wire.is_in(Fault::None);
    let second = Process::over(&world, &wire, dir.path()).await;
    assert_eq!(second.ledger.sums().recovered, 50);
    assert!(second.drainer.drained(PATIENCE).await, "{:?}", second.drainer.status());
    assert_eq!(arrived(&wire), ids);
    let ledger = second.ledger.clone();
    second.ends().await;
    let sums = ledger.sums();
    assert!(sums.balances(), "{sums:?}");
    assert_eq!((sums.offered, sums.stored, sums.spooled), (50, 50, 0));
}
