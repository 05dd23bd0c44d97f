//! One store, the services over it, and a clock and ids that a test decides.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use baldur_app::{CapturePolicy, CaptureService, EntryService, Env, Who};
use baldur_core::{
    Clock, EntryId, EvidenceRecord, FailedOp, IdGen, NewFailedOp, Timestamp,
    name::{Actor, Namespace, ServiceName, WorkerName},
    port::{Captured, EntryReader, EvidenceLog},
};
use baldur_memory::MemoryStore;

/// Shows the same time until it is told otherwise.
#[derive(Debug)]
pub(crate) struct SetClock(AtomicI64);

impl SetClock {
    pub(crate) fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).expect("a short time");
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst)).expect("in range")
    }

    fn mono(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

/// The same ids in each run, in no order.
#[derive(Debug, Default)]
struct CountedIds(AtomicU64);

impl IdGen for CountedIds {
    fn entropy(&self) -> [u8; 8] {
        // A multiplication by an odd number scatters and never repeats.
        let count = self.0.fetch_add(1, Ordering::SeqCst) + 1;
        count.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()
    }
}

/// A store with everything around it.
pub(crate) struct Setup {
    pub(crate) store: MemoryStore,
    pub(crate) clock: Arc<SetClock>,
    pub(crate) env: Env,
    pub(crate) capture: CaptureService,
    pub(crate) entries: EntryService,
}

impl Setup {
    pub(crate) fn new() -> Self {
        Self::with(CapturePolicy::default())
    }

    pub(crate) fn with(policy: CapturePolicy) -> Self {
        let clock = Arc::new(SetClock(AtomicI64::new(1_764_000_000_000_000)));
        let namespace = Namespace::parse("shop").expect("valid");
        let as_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let store = MemoryStore::new(namespace.clone(), Arc::clone(&as_clock));
        let env = Env {
            namespace,
            clock: as_clock,
            ids: Arc::new(CountedIds::default()),
            origin_service: ServiceName::parse("checkout").expect("valid"),
            worker: WorkerName::parse("test").expect("valid"),
        };
        policy.validate().expect("a policy within its ranges");
        let redaction = policy.redaction.clone();
        let capture = CaptureService::new(Arc::new(store.clone()), env.clone(), policy);
        let entries = EntryService::new(
            Arc::new(store.clone()),
            Arc::new(store.clone()),
            Arc::new(store.clone()),
            env.clone(),
            redaction,
        );
        Self { store, clock, env, capture, entries }
    }

    /// Captures what must be acceptable, and reads it back.
    pub(crate) async fn kept(&self, op: NewFailedOp) -> FailedOp {
        let Captured { id, .. } = self.capture.capture(op, &who()).await.expect("acceptable");
        self.entry(id).await
    }

    pub(crate) async fn entry(&self, id: EntryId) -> FailedOp {
        self.entries.get(id).await.expect("readable").expect("there")
    }

    /// Everything in the store: entries and their evidence.
    pub(crate) async fn everything(&self) -> Vec<(FailedOp, Vec<EvidenceRecord>)> {
        let page = self.store.list(baldur_core::ListQuery::default()).await.expect("readable");
        let mut all = Vec::new();
        for summary in page.items {
            let trail = self.store.trail(summary.id, 0, 100).await.expect("readable");
            all.push((self.entry(summary.id).await, trail));
        }
        all
    }
}

pub(crate) fn who() -> Who {
    Who::new(Actor::parse("ann").expect("valid"))
}

/// An operation without any trouble.
pub(crate) fn payment() -> NewFailedOp {
    NewFailedOp::new("payment", "TIMEOUT")
        .dependency("payment-gateway")
        .entity("order", "4711")
        .user_id("u-1")
        .request_data(r#"{"amount":1999}"#)
}

/// A JSON string of exactly this many bytes.
pub(crate) fn json_of(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}
