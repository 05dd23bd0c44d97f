//! A deployment in memory, whose clocks follow tokio's: paused, they move only when everybody waits.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use baldur_app::{
    CapturePolicy, CaptureService, Env, HandlerRegistry, OsIdGen, ReplayEngine, ReplayPolicy,
    ReplayRequest, Who, replay::ReplayReport,
};
use baldur_core::{
    Clock, EntryId, EvidenceRecord, FailedOp, ListQuery, NewFailedOp, PageSize, Timestamp,
    name::{Domain, Namespace, ServiceName, WorkerName},
    policy::{BackoffPolicy, Jitter, RedactionRules},
    port::{
        CaptureStore, ClaimStore, EntryReader, EvidenceLog, Gate, ReplayContext, ReplayHandler,
        ReplayOutcome,
    },
};
use baldur_memory::MemoryStore;
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// Shows tokio's time, and runs ahead of it as far as a test says.
#[derive(Debug)]
pub(crate) struct TokioClock {
    start: Instant,
    ahead: AtomicU64,
}

impl TokioClock {
    pub(crate) fn run_ahead(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).expect("short");
        self.ahead.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let start = Timestamp::from_micros(1_767_225_600_000_001).expect("in range");
        start.saturating_add(self.mono())
    }

    fn mono(&self) -> Duration {
        self.start.elapsed() + Duration::from_micros(self.ahead.load(Ordering::SeqCst))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) env: Env,
    pub(crate) clock: Arc<TokioClock>,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(TokioClock { start: Instant::now(), ahead: AtomicU64::new(0) });
        let namespace = Namespace::parse("shop").expect("a namespace");
        let port: Arc<dyn Clock> = Arc::<TokioClock>::clone(&clock);
        let store = MemoryStore::new(namespace.clone(), Arc::clone(&port));
        let env = Env {
            namespace,
            clock: port,
            ids: Arc::new(OsIdGen),
            origin_service: ServiceName::unknown(),
            worker: WorkerName::parse("worker-1").expect("a name"),
        };
        Self { store, env, clock }
    }

    pub(crate) fn capture_service(&self) -> CaptureService {
        self.capture_service_on(Arc::new(self.store.clone()))
    }

    pub(crate) fn capture_service_on(&self, store: Arc<dyn CaptureStore>) -> CaptureService {
        CaptureService::new(store, self.env.clone(), CapturePolicy::default())
    }

    /// Captures one operation after the other, each a microsecond or more after the one before.
    pub(crate) async fn captured(
        &self,
        ops: impl IntoIterator<Item = NewFailedOp>,
    ) -> Vec<EntryId> {
        let service = self.capture_service();
        let mut ids = Vec::new();
        for op in ops {
            tokio::time::advance(Duration::from_millis(1)).await;
            ids.push(service.capture(op, &Who::system()).await.expect("captured").id);
        }
        ids
    }

    pub(crate) async fn captured_at_once(&self, ops: Vec<NewFailedOp>) -> Vec<EntryId> {
        let answers = self.capture_service().capture_batch(ops, &Who::system()).await;
        answers.into_iter().map(|answer| answer.expect("captured").id).collect()
    }

    pub(crate) fn engine(&self, handlers: HandlerRegistry, policy: ReplayPolicy) -> ReplayEngine {
        self.engine_on(Arc::new(self.store.clone()), handlers, policy)
    }

    pub(crate) fn engine_on(
        &self,
        claims: Arc<dyn ClaimStore>,
        handlers: HandlerRegistry,
        policy: ReplayPolicy,
    ) -> ReplayEngine {
        let reader = Arc::new(self.store.clone());
        let redaction = RedactionRules::default();
        ReplayEngine::new(claims, reader, handlers, self.env.clone(), policy, redaction)
            .expect("a good policy")
    }

    pub(crate) async fn entry(&self, id: EntryId) -> FailedOp {
        let found = self.store.find(vec![id]).await.expect("the store answers");
        found.into_iter().next().flatten().expect("the entry exists")
    }

    pub(crate) async fn all(&self) -> Vec<FailedOp> {
        let limit = PageSize::new(PageSize::MAX).expect("in range");
        let query = ListQuery { limit, ..ListQuery::default() };
        let page = self.store.list(query).await.expect("the store answers");
        assert!(page.next.is_none(), "more than a page");
        let ids = page.items.iter().map(|item| item.id).collect();
        let found = self.store.find(ids).await.expect("the store answers");
        found.into_iter().flatten().collect()
    }

    /// Everything that the store holds.
    pub(crate) async fn dump(&self) -> BTreeMap<EntryId, (FailedOp, Vec<EvidenceRecord>)> {
        let mut dump = BTreeMap::new();
        for op in self.all().await {
            let trail = self.store.trail(op.id, 0, 1_000).await.expect("the store answers");
            dump.insert(op.id, (op, trail));
        }
        dump
    }
}

pub(crate) fn op(domain: &str) -> NewFailedOp {
    NewFailedOp::new(domain, "TIMEOUT").request_data(r#"{"amount": 1999}"#)
}

pub(crate) fn ops(domain: &str, count: usize) -> Vec<NewFailedOp> {
    (0..count).map(|_| op(domain)).collect()
}

pub(crate) fn domain(name: &str) -> Domain {
    Domain::parse(name).expect("a domain")
}

/// Small numbers, and waits without jitter: 1 s, 2 s, 4 s, …
pub(crate) fn policy() -> ReplayPolicy {
    let backoff = BackoffPolicy::new(SECOND, 2.0, SECOND * 300, Jitter::None).expect("valid");
    ReplayPolicy { lease: SECOND * 3, backoff, ..ReplayPolicy::default() }
}

pub(crate) async fn run(engine: &ReplayEngine, request: ReplayRequest) -> ReplayReport {
    engine.run(request, None, CancellationToken::new()).await.expect("a good request")
}

pub(crate) fn sum(report: &ReplayReport) -> u64 {
    report.succeeded
        + report.already_done
        + report.failed
        + report.permanent
        + report.deferred
        + report.released
        + report.stale
}

pub(crate) fn succeeded() -> ReplayOutcome {
    ReplayOutcome::Succeeded { note: "charged".to_owned() }
}

pub(crate) fn failed() -> ReplayOutcome {
    ReplayOutcome::Failed { error: "503".to_owned(), retry_after: None }
}

type Act = dyn Fn(FailedOp, ReplayContext) -> BoxFuture<'static, ReplayOutcome> + Send + Sync;

/// A handler that does what a test says, and remembers whom it was called for.
pub(crate) struct TestHandler {
    gate: Box<dyn Fn(&FailedOp) -> Gate + Send + Sync>,
    act: Box<Act>,
    pub(crate) asked: Mutex<Vec<EntryId>>,
    pub(crate) called: Mutex<Vec<(EntryId, ReplayContext, Instant)>>,
}

impl fmt::Debug for TestHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHandler").finish_non_exhaustive()
    }
}

impl TestHandler {
    pub(crate) fn new<F>(act: impl Fn(FailedOp, ReplayContext) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ReplayOutcome> + Send + 'static,
    {
        Self {
            gate: Box::new(|_| Gate::Open),
            act: Box::new(move |op, context| act(op, context).boxed()),
            asked: Mutex::default(),
            called: Mutex::default(),
        }
    }

    pub(crate) fn always(outcome: ReplayOutcome) -> Self {
        Self::new(move |_, _| std::future::ready(outcome.clone()))
    }

    pub(crate) fn gate(mut self, gate: impl Fn(&FailedOp) -> Gate + Send + Sync + 'static) -> Self {
        self.gate = Box::new(gate);
        self
    }

    pub(crate) fn handles(self, name: &str) -> (Arc<Self>, HandlerRegistry) {
        let handler = Arc::new(self);
        let mut registry = HandlerRegistry::new();
        let port: Arc<dyn ReplayHandler> = Arc::<Self>::clone(&handler);
        registry.register(domain(name), port).expect("the first handler");
        (handler, registry)
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.lock().expect("not poisoned").len()
    }

    pub(crate) fn calls(&self) -> Vec<(EntryId, ReplayContext, Instant)> {
        self.called.lock().expect("not poisoned").clone()
    }
}

#[async_trait]
impl ReplayHandler for TestHandler {
    async fn can_replay(&self, op: &FailedOp) -> Gate {
        self.asked.lock().expect("not poisoned").push(op.id);
        (self.gate)(op)
    }

    async fn replay(&self, op: &FailedOp, context: ReplayContext) -> ReplayOutcome {
        self.called.lock().expect("not poisoned").push((op.id, context, Instant::now()));
        (self.act)(op.clone(), context).await
    }
}

/// Lets paused time pass: it takes no real time, and ends when nobody has anything else to do.
pub(crate) async fn virtual_time(by: Duration) {
    tokio::time::sleep_until(Instant::now() + by).await;
}
