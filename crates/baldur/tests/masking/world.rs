//! A deployment on a store, everything that can be done in it, and everything that is left of it.

use std::{fmt::Write as _, fs, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use baldur::{
    CapturePolicy, CaptureService, Chain, EntryId, EntryService, Env, FailedOp, ListQuery,
    NewFailedOp, Oversize, SystemClock, Who,
    command::OnMerge,
    name::{Actor, Domain, Namespace, WorkerName},
    port::{
        CaptureStore, ClaimStore, EntryReader, EvidenceLog, Gate, ReplayContext, ReplayHandler,
        ReplayOutcome,
    },
    replay::{HandlerRegistry, ReplayEngine, ReplayPolicy, ReplayRequest},
    wire,
};
use baldur_memory::MemoryStore;
use baldur_sqlite::{SqliteConfig, SqliteStore};
use tokio_util::sync::CancellationToken;

/// Services over one store.
pub(crate) struct World {
    pub(crate) capture: CaptureService,
    entries: EntryService,
    engine: ReplayEngine,
    reader: Arc<dyn EntryReader>,
    evidence: Arc<dyn EvidenceLog>,
    /// What callers were told.
    told: String,
}

/// What handlers say, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Says {
    Succeeded,
    AlreadyDone,
    Failed,
    Permanent,
    Deferred,
    Closed,
    Panics,
}

impl Says {
    pub(crate) const ALL: [Self; 7] = [
        Self::Succeeded,
        Self::AlreadyDone,
        Self::Failed,
        Self::Permanent,
        Self::Deferred,
        Self::Closed,
        Self::Panics,
    ];
}

#[derive(Debug)]
struct Speaker {
    text: String,
    says: Says,
}

#[async_trait]
impl ReplayHandler for Speaker {
    async fn can_replay(&self, _: &FailedOp) -> Gate {
        if matches!(self.says, Says::Closed) {
            return Gate::Closed { reason: self.text.clone(), delay: Duration::ZERO };
        }
        Gate::Open
    }

    async fn replay(&self, _: &FailedOp, _: ReplayContext) -> ReplayOutcome {
        let text = self.text.clone();
        match self.says {
            Says::Succeeded => ReplayOutcome::Succeeded { note: text },
            Says::AlreadyDone => ReplayOutcome::AlreadyDone { note: text },
            Says::Failed | Says::Closed => ReplayOutcome::Failed { error: text, retry_after: None },
            Says::Permanent => ReplayOutcome::Permanent { error: text },
            Says::Deferred => ReplayOutcome::Deferred { reason: text, delay: Duration::ZERO },
            Says::Panics => std::panic::panic_any(text),
        }
    }
}

impl World {
    fn on<S>(store: &S, policy: CapturePolicy, text: &str, says: Says) -> Self
    where
        S: CaptureStore + ClaimStore + EntryReader + EvidenceLog + Clone + 'static,
    {
        let env = Env::system(namespace(), WorkerName::parse("worker-1").expect("a name"));
        let rules = policy.redaction.clone();
        let mut handlers = HandlerRegistry::new();
        let handler = Arc::new(Speaker { text: text.to_owned(), says });
        handlers.register(domain(), handler).expect("the first handler");
        let (claims, reader) = (Arc::new(store.clone()), Arc::new(store.clone()));
        let evidence = Arc::new(store.clone());
        Self {
            capture: CaptureService::new(Arc::new(store.clone()), env.clone(), policy),
            entries: EntryService::new(
                Arc::<S>::clone(&reader),
                Arc::<S>::clone(&claims),
                Arc::<S>::clone(&evidence),
                env.clone(),
                rules.clone(),
            ),
            engine: ReplayEngine::new(
                claims,
                Arc::<S>::clone(&reader),
                handlers,
                env,
                ReplayPolicy::default(),
                rules,
            )
            .expect("a good policy"),
            reader,
            evidence,
            told: String::new(),
        }
    }

    /// Remembers what a caller would see of a value.
    fn tell(&mut self, value: &impl std::fmt::Debug) {
        let _ = writeln!(self.told, "{value:?}");
    }

    /// Captures in every way that there is: refused where it may be, kept whatever it is, and merged.
    pub(crate) async fn capture(&mut self, op: &NewFailedOp, who: &Who) -> EntryId {
        self.tell(op);
        match self.capture.capture(op.clone(), who).await {
            Ok(captured) => self.tell(&captured),
            Err(failure) => {
                self.tell(&failure);
                let _ = writeln!(self.told, "{failure} {}", Chain(&failure));
            }
        }
        let first = self.kept(op.clone(), who).await;
        let merged = NewFailedOp { dedup_key: Some("one".to_owned()), ..NewFailedOp::default() };
        self.kept(merged, &Who::system()).await;
        let again = NewFailedOp { dedup_key: Some("one".to_owned()), ..op.clone() };
        self.kept(again, who).await;
        first
    }

    async fn kept(&mut self, op: NewFailedOp, who: &Who) -> EntryId {
        let capture = self.capture.prepare(op, who, Oversize::KeepUnreplayable);
        let mut capture = capture.expect("nothing is refused");
        capture.on_merge = OnMerge::KeepLast;
        self.tell(&capture);
        let kept = self.capture.keep(vec![capture]).await.pop().expect("one answer");
        self.tell(&kept);
        kept.expect("the store takes it").id
    }

    /// Replays an entry whose handler speaks, and acts on another with a note.
    pub(crate) async fn speak(&mut self, id: EntryId, note: &str, who: &Who) {
        let op = NewFailedOp::new(domain().as_str(), "TIMEOUT");
        let replayed = self.kept(op, &Who::system()).await;
        let request = ReplayRequest { who: who.clone(), ..ReplayRequest::ids(vec![replayed]) };
        let (events, mut told) = tokio::sync::mpsc::channel(100);
        let report = self.engine.run(request, Some(events), CancellationToken::new()).await;
        self.tell(&report);
        while let Ok(event) = told.try_recv() {
            self.tell(&event);
        }
        let rejected = self.entries.reject(&[id], note, who).await;
        self.tell(&rejected);
        let reopened = self.entries.reopen(&[id], who).await;
        self.tell(&reopened);
        let resolved = self.entries.resolve(&[id, replayed], note, who).await;
        self.tell(&resolved);
        let refused = self.entries.back(&[id], who).await;
        self.tell(&refused);
    }

    /// Every text that can be read from the store, and all that callers were told.
    pub(crate) async fn readable(self) -> String {
        let Self { reader, evidence, mut told, .. } = self;
        let page = reader.list(ListQuery::default()).await.expect("readable");
        let _ = writeln!(told, "{page:?}");
        for summary in page.items {
            let found = reader.find(vec![summary.id]).await.expect("readable");
            for op in found.into_iter().flatten() {
                let _ = writeln!(told, "{} {op:?}", wire::encode_entry(&op));
            }
            for record in evidence.trail(summary.id, 0, 1_000).await.expect("readable") {
                let _ = writeln!(told, "{} {record:?}", record.canonical());
            }
        }
        told.to_lowercase()
    }
}

/// What is done in a world.
pub(crate) struct Story {
    pub(crate) ops: Vec<(NewFailedOp, Who)>,
    pub(crate) spoken: String,
    pub(crate) says: Says,
    pub(crate) policy: CapturePolicy,
}

impl Story {
    async fn play(&self, world: &mut World) {
        for (op, who) in &self.ops {
            let id = world.capture(op, who).await;
            world.speak(id, &self.spoken, who).await;
        }
    }

    /// Everything that is left of it in memory, in lower case.
    pub(crate) async fn in_memory(&self) -> String {
        let store = MemoryStore::new(namespace(), Arc::new(SystemClock));
        let mut world = World::on(&store, self.policy.clone(), &self.spoken, self.says);
        self.play(&mut world).await;
        world.readable().await
    }

    /// Everything that is left of it in `SQLite`, with every byte of its files: while it is open, and after it was closed.
    pub(crate) async fn on_disk(&self) -> String {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = SqliteConfig::new(dir.path().join("baldur.db"), namespace());
        let store = SqliteStore::open(config, Arc::new(SystemClock)).await.expect("a new file");
        let mut world = World::on(&store, self.policy.clone(), &self.spoken, self.says);
        self.play(&mut world).await;
        let mut left = bytes_below(dir.path());
        assert!(left.contains("baldur.db-wal"), "the log is not empty before it is closed");
        left.push_str(&world.readable().await);
        store.close().await;
        left.push_str(&bytes_below(dir.path()));
        left
    }
}

/// The bytes of all files in a directory and below, in lower case, each after its name.
pub(crate) fn bytes_below(dir: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            all.push_str(&bytes_below(&path));
            continue;
        }
        let bytes = fs::read(&path).expect("readable");
        let _ = writeln!(all, "\n{}:", path.display());
        all.push_str(&String::from_utf8_lossy(&bytes).to_lowercase());
    }
    all
}

fn namespace() -> Namespace {
    Namespace::parse("shop").expect("a namespace")
}

/// The domain that has a handler.
fn domain() -> Domain {
    Domain::parse("replayed").expect("a domain")
}

pub(crate) fn ann() -> Who {
    Who::new(Actor::parse("ann").expect("a name"))
}
