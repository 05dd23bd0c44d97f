//! Everything of lossless capture, over a store and a spool that can be made to fail.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use baldur_app::{
    CaptureFailure, CaptureMode, CapturePolicy, CaptureRoutes, CaptureService, Counted, Drainer,
    Ledger, Outbox, SpoolingStore, Sums, Who,
    drain::{DrainHooks, DrainPolicy},
    ledger::ResolvePolicy,
    outbox::{CloseReport, OutboxPolicy},
    spooling::SpoolingPolicy,
};
use baldur_core::{
    EntryId, NewFailedOp, Outcome,
    port::{CaptureError, CaptureStore, Captured, Durability, EntryReader, Spool},
};

use super::{
    shelf::{Shelf, Trouble},
    wire::{Fault, Wire},
};
use crate::world::{World, op, virtual_time};

/// What a caller was told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) id: EntryId,
    pub(crate) key: Option<String>,
    pub(crate) answer: Result<Durability, (Outcome, String)>,
}

pub(crate) struct Plant {
    pub(crate) world: World,
    pub(crate) wire: Wire,
    pub(crate) shelf: Option<Shelf>,
    pub(crate) ledger: Ledger,
    pub(crate) service: CaptureService,
    pub(crate) spooling: Option<SpoolingStore>,
    pub(crate) drainer: Option<Drainer>,
    pub(crate) outbox: Outbox,
    policy: OutboxPolicy,
    pub(crate) told: Mutex<Vec<Told>>,
    pub(crate) closed: Vec<CloseReport>,
}

impl Plant {
    pub(crate) fn new(policy: OutboxPolicy) -> Self {
        let world = World::new();
        let shelf = Shelf::new(Arc::clone(&world.env.clock), 1_000_000);
        Self::over(world, Some(shelf), policy)
    }

    pub(crate) fn without_spool(policy: OutboxPolicy) -> Self {
        Self::over(World::new(), None, policy)
    }

    pub(crate) fn over(world: World, shelf: Option<Shelf>, policy: OutboxPolicy) -> Self {
        let wire = Wire::new(&world.store);
        Self::through(wire.clone(), Arc::new(wire), world, shelf, policy)
    }

    /// With `store` between everything and the wire.
    pub(crate) fn through(
        wire: Wire,
        store: Arc<dyn CaptureStore>,
        world: World,
        shelf: Option<Shelf>,
        policy: OutboxPolicy,
    ) -> Self {
        let ledger = Ledger::new();
        let spooling = shelf.clone().map(|shelf| {
            SpoolingStore::new(Arc::clone(&store), Arc::new(shelf), SpoolingPolicy::default())
        });
        let drainer = spooling.as_ref().map(|store| {
            let (policy, hooks) = (DrainPolicy::default(), DrainHooks::default());
            Drainer::start(store, ledger.clone(), &world.env, policy, hooks).expect("a policy")
        });
        let (inner, overflow): (Arc<dyn CaptureStore>, Arc<dyn CaptureStore>) = match &spooling {
            Some(spooling) => (Arc::new(spooling.clone()), Arc::new(spooling.durable())),
            None => (Arc::clone(&store), store),
        };
        let outbox = start(&inner, &overflow, &ledger, &world, policy);
        let routes = CaptureRoutes {
            mode: CaptureMode::Sync,
            store: Arc::new(Counted::new(inner, ledger.clone())),
            durable: Some(Arc::new(Counted::new(overflow, ledger.clone()))),
            outbox: Some(outbox.clone()),
            spool: None,
        };
        let service = CaptureService::routed(routes, world.env.clone(), CapturePolicy::default());
        let (told, closed) = (Mutex::default(), Vec::new());
        Self {
            world,
            wire,
            shelf,
            ledger,
            service,
            spooling,
            drainer,
            outbox,
            policy,
            told,
            closed,
        }
    }

    /// Captures one operation, and remembers what was said.
    pub(crate) async fn put(&self, op: NewFailedOp, mode: CaptureMode) -> Told {
        let told = self.put_all(vec![op], mode).await;
        told.into_iter().next().expect("an answer")
    }

    /// Captures operations in one call.
    pub(crate) async fn put_all(&self, ops: Vec<NewFailedOp>, mode: CaptureMode) -> Vec<Told> {
        let prepare = |op: NewFailedOp| {
            let capture = self.service.prepare(op, &Who::system(), baldur_app::Oversize::Refuse);
            capture.expect("acceptable")
        };
        let captures: Vec<_> = ops.into_iter().map(prepare).collect();
        let names: Vec<_> = captures
            .iter()
            .map(|capture| {
                let key = capture.op.order_key.as_ref().map(|key| key.as_str().to_owned());
                (capture.op.id, key)
            })
            .collect();
        let answers = self.service.keep_as(captures, mode).await;
        assert_eq!(answers.len(), names.len());
        let told: Vec<Told> = names
            .into_iter()
            .zip(answers)
            .map(|((id, key), answer)| Told { id, key, answer: answer_of(id, answer) })
            .collect();
        self.told.lock().expect("not poisoned").extend(told.clone());
        told
    }

    /// Everything works again, and has the time to.
    pub(crate) async fn recovers(&mut self) -> CloseReport {
        self.wire.is_in(Fault::None);
        if let Some(shelf) = &self.shelf {
            shelf.is_in(Trouble::None);
        }
        let report = self.outbox.close(Duration::from_mins(1)).await;
        self.closed.push(report.clone());
        if let Some(drainer) = &self.drainer {
            assert!(drainer.drained(Duration::from_mins(10)).await, "the spool is drained");
        }
        virtual_time(Duration::from_mins(2)).await;
        let policy = ResolvePolicy { batch: 10_000, ..ResolvePolicy::default() };
        self.ledger.resolve_once(&self.world.store, &policy).await;
        report
    }

    /// Closes the outbox, and opens another.
    pub(crate) async fn reopen_outbox(&mut self, within: Duration) {
        let report = self.outbox.close(within).await;
        self.closed.push(report);
        let (inner, overflow): (Arc<dyn CaptureStore>, Arc<dyn CaptureStore>) = match &self.spooling
        {
            Some(spooling) => (Arc::new(spooling.clone()), Arc::new(spooling.durable())),
            None => (Arc::new(self.wire.clone()), Arc::new(self.wire.clone())),
        };
        self.outbox = start(&inner, &overflow, &self.ledger, &self.world, self.policy);
        let mut routes = self.service.routes().clone();
        routes.outbox = Some(self.outbox.clone());
        let policy = CapturePolicy::default();
        self.service = CaptureService::routed(routes, self.world.env.clone(), policy);
    }

    pub(crate) fn sums(&self) -> Sums {
        self.ledger.sums()
    }

    /// Holds what was promised against what is there.
    pub(crate) async fn verdict(&self) -> Result<(), String> {
        let told = self.told.lock().expect("not poisoned").clone();
        let named: Vec<EntryId> = self
            .closed
            .iter()
            .flat_map(|report| [&report.lost, &report.unknown])
            .flatten()
            .copied()
            .collect();
        let aside: Vec<EntryId> =
            self.shelf.iter().flat_map(Shelf::aside).map(|(id, _)| id).collect();
        let ids: Vec<EntryId> = told.iter().map(|told| told.id).collect();
        let found = self.world.store.find(ids).await.map_err(|error| error.to_string())?;
        let refused = self.refused();
        for (told, found) in told.iter().zip(&found) {
            let excused =
                named.contains(&told.id) || aside.contains(&told.id) || refused.contains(&told.id);
            match (&told.answer, found) {
                (Ok(Durability::Stored { .. }), None) => {
                    return Err(format!("{} was stored, and is not there", told.id));
                }
                (Ok(level), None) if !excused => {
                    return Err(format!("{} was {}, and is lost", told.id, level.as_str()));
                }
                (Err((Outcome::NotApplied, why)), Some(_)) => {
                    return Err(format!("{} is there, though certainly not: {why}", told.id));
                }
                (_, Some(op)) if op.state.occurrences != 1 => {
                    return Err(format!("{} occurred {} times", told.id, op.state.occurrences));
                }
                _ => {}
            }
        }
        self.in_order(&told)?;
        self.sums_up(self.wire.arrived().len())
    }

    fn refused(&self) -> Vec<EntryId> {
        self.wire.refused()
    }

    /// Acknowledged captures of each key reached the store in the order in which they were acknowledged.
    fn in_order(&self, told: &[Told]) -> Result<(), String> {
        let places: BTreeMap<EntryId, usize> =
            self.wire.arrived().into_iter().enumerate().map(|(at, (id, _))| (id, at)).collect();
        let mut last: BTreeMap<&str, (usize, EntryId)> = BTreeMap::new();
        for told in told.iter().filter(|told| told.answer.is_ok()) {
            let (Some(key), Some(&place)) = (told.key.as_deref(), places.get(&told.id)) else {
                continue;
            };
            if let Some((before, other)) = last.insert(key, (place, told.id))
                && before > place
            {
                return Err(format!("{} of key {key} came before {other}", told.id));
            }
        }
        Ok(())
    }

    fn sums_up(&self, stored: usize) -> Result<(), String> {
        let sums = self.sums();
        let under_way = sums.queued + sums.in_flight + sums.spooled + sums.unknown;
        let stored = u64::try_from(stored).expect("few");
        let fits = sums.balances() && sums.overdrawn == 0 && sums.stored == stored;
        if fits && under_way == 0 { Ok(()) } else { Err(format!("{stored} are there: {sums:?}")) }
    }
}

fn start(
    inner: &Arc<dyn CaptureStore>,
    overflow: &Arc<dyn CaptureStore>,
    ledger: &Ledger,
    world: &World,
    policy: OutboxPolicy,
) -> Outbox {
    Outbox::start(Arc::clone(inner), Arc::clone(overflow), ledger.clone(), &world.env, policy)
        .expect("a good policy")
}

fn answer_of(
    id: EntryId,
    answer: Result<Captured, CaptureFailure>,
) -> Result<Durability, (Outcome, String)> {
    match answer {
        Ok(captured) => {
            assert_eq!(captured.id, id, "nothing merges here");
            Ok(captured.durability)
        }
        Err(CaptureFailure::Store(error)) => Err((error.outcome(), chain(&error))),
        Err(other) => panic!("{other}"),
    }
}

pub(crate) fn chain(error: &CaptureError) -> String {
    baldur_core::Chain(error).to_string()
}

pub(crate) fn keyed(key: &str) -> NewFailedOp {
    op("payment").order_key(key)
}

/// Records of a spool wait.
pub(crate) fn waiting(plant: &Plant) -> u64 {
    plant.shelf.as_ref().expect("a spool").status().records
}
