//! What the tests of recovery share: a shared pace over the policy itself, and recovery over the reference store.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use baldur_app::{
    Breakers, HandlerRegistry, Recovery, RecoveryPolicy, ReplayEngine, ReplayPolicy,
    recovery::{Phase, RecoverySources, RecoveryStatus},
};
use baldur_core::{
    Clock, NewFailedOp, Status,
    name::ServiceName,
    policy::{BackoffPolicy, Jitter, PaceLevel, Paced, pace},
    port::{EntryReader, PaceError, PaceStore, Probe, ProbeFailure, TakePermits},
};

use crate::{
    faults::unreachable,
    world::{SECOND, World, op, virtual_time},
};

/// A store of paces in this process.
#[derive(Debug)]
pub(crate) struct Paces {
    clock: Arc<dyn Clock>,
    levels: Mutex<BTreeMap<ServiceName, PaceLevel>>,
    pub(crate) is_away: AtomicBool,
    pub(crate) asked: AtomicU32,
}

impl Paces {
    pub(crate) fn new(world: &World) -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::clone(&world.env.clock),
            levels: Mutex::default(),
            is_away: AtomicBool::new(false),
            asked: AtomicU32::new(0),
        })
    }
}

#[async_trait]
impl PaceStore for Paces {
    async fn take(&self, take: TakePermits) -> Result<Paced, PaceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_away.load(Ordering::SeqCst) {
            return Err(unreachable("take").into());
        }
        let mut levels = self.levels.lock().expect("not poisoned");
        let level = levels.get(&take.name).copied();
        let (level, paced) = pace(level, &take.terms, take.permits, self.clock.now())
            .map_err(|error| PaceError::Invalid(error.to_string()))?;
        levels.insert(take.name, level);
        Ok(paced)
    }
}

/// A probe that answers as a test says.
#[derive(Debug, Default)]
pub(crate) struct Switch {
    pub(crate) is_up: AtomicBool,
    pub(crate) asked: AtomicU32,
}

#[async_trait]
impl Probe for Switch {
    async fn probe(&self) -> Result<(), ProbeFailure> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_up.load(Ordering::SeqCst) { Ok(()) } else { Err(ProbeFailure::new("503")) }
    }
}

pub(crate) fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).expect("a name")
}

pub(crate) fn because_of(dependency: &str, count: usize) -> Vec<NewFailedOp> {
    (0..count).map(|_| op("payment").dependency(dependency)).collect()
}

/// Without jitter, and fast: what a test is not about doesn't hold it up.
pub(crate) fn terms() -> RecoveryPolicy {
    RecoveryPolicy {
        per_second: 50.0,
        burst: 10,
        ramp_from: 50.0,
        ramp_over: SECOND,
        jitter: Duration::ZERO,
        again: BackoffPolicy::new(SECOND * 20, 2.0, SECOND * 300, Jitter::None).expect("valid"),
        ..RecoveryPolicy::default()
    }
}

pub(crate) struct Process<'w> {
    pub(crate) world: &'w World,
    pub(crate) registry: HandlerRegistry,
    pub(crate) replay: ReplayPolicy,
    pub(crate) policy: RecoveryPolicy,
    pub(crate) pace: Option<Arc<Paces>>,
    pub(crate) breakers: Option<Breakers>,
    pub(crate) probes: Vec<(ServiceName, Arc<dyn Probe>)>,
}

impl<'w> Process<'w> {
    pub(crate) fn new(world: &'w World, registry: HandlerRegistry) -> Self {
        let replay = crate::world::policy();
        let pace = Some(Paces::new(world));
        Self { world, registry, replay, policy: terms(), pace, breakers: None, probes: Vec::new() }
    }

    pub(crate) fn recovery(self) -> Recovery {
        let engine = self.world.engine(self.registry.clone(), self.replay.clone());
        self.recovery_by(engine)
    }

    pub(crate) fn recovery_by(self, engine: ReplayEngine) -> Recovery {
        let reader: Arc<dyn EntryReader> = Arc::new(self.world.store.clone());
        let pace = self.pace.map(|pace| pace as Arc<dyn PaceStore>);
        let env = self.world.env.clone();
        let (breakers, probes) = (self.breakers, self.probes);
        let sources = RecoverySources { engine, reader, pace, breakers, probes, env };
        let recovery = Recovery::new(sources, self.policy);
        recovery.expect("a good policy")
    }

    pub(crate) fn started(self) -> Recovery {
        let recovery = self.recovery();
        recovery.start().expect("started");
        recovery
    }
}

pub(crate) fn status(recovery: &Recovery, dependency: &str) -> RecoveryStatus {
    recovery.status(&service(dependency)).expect("kept in mind")
}

/// Lets virtual time pass until it is so, an hour at most.
pub(crate) async fn until(mut it_is_so: impl FnMut() -> bool) {
    for _ in 0..36_000 {
        if it_is_so() {
            return;
        }
        virtual_time(Duration::from_millis(100)).await;
    }
    panic!("it never became so");
}

/// Until recovery has nothing more to do about the dependency, or stopped.
pub(crate) async fn until_rest(recovery: &Recovery, dependency: &str) -> Phase {
    let phase = || recovery.status(&service(dependency)).map(|status| status.phase);
    until(|| matches!(phase(), Some(Phase::Idle | Phase::Stopped(_)))).await;
    phase().expect("kept in mind")
}

pub(crate) async fn count_in(world: &World, status: Status) -> usize {
    world.all().await.iter().filter(|op| op.state.status == status).count()
}
