//! What the tests share: captures, a clock, and a spool without threads on a simulated disk.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use baldur_core::{
    BackendError, Clock, EntryId, Evidence, FailedOp, Fingerprint, Json, OpState, Timestamp,
    command::Capture,
    name::{
        Actor, Domain, FailureType, IdempotencyKey, Namespace, OrderKey, ServiceName, ShortText,
    },
    port::{SpoolError, Spooled},
};

use crate::{
    batch::Batch, config::SpoolConfig, core::Core, disk::sim::SimDisk, keeper::Keeper,
    spool::begin, writer::Writer,
};

/// Where the simulated disk has its spool.
pub(super) const ROOT: &str = "/spool";

/// A clock that moves when it is told to.
#[derive(Debug)]
pub(super) struct TestClock(AtomicI64);

impl TestClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(1_767_225_600_000_000)))
    }

    pub(super) fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).expect("short");
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst)).expect("in range")
    }

    fn mono(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::SeqCst).unsigned_abs())
    }
}

pub(super) fn id(n: u64) -> EntryId {
    EntryId::from_bytes(u128::from(n).to_be_bytes())
}

pub(super) fn key(text: &str) -> OrderKey {
    OrderKey::parse(text).expect("a key")
}

/// A capture that differs from all others.
pub(super) fn capture(n: u64, order_key: Option<&str>) -> Capture {
    let at = Timestamp::from_micros(1_767_225_600_000_000).expect("in range");
    let short = |text: &str| ShortText::parse(text).expect("short");
    let op = FailedOp {
        id: id(n),
        namespace: Namespace::default_namespace(),
        domain: Domain::parse("payment").expect("a domain"),
        failure_type: FailureType::parse("TIMEOUT").expect("a type"),
        dependency: ServiceName::parse("payment-gateway").expect("a name"),
        origin_service: ServiceName::parse("checkout").expect("a name"),
        entity_type: None,
        entity_id: None,
        entity_refs: Json::empty_object(),
        user_id: None,
        request_data: Json::parse(&format!("{{\"n\":{n}}}")).expect("JSON"),
        payload_version: 1,
        snapshot_data: Json::empty_object(),
        response_data: Json::empty_object(),
        metadata: Json::empty_object(),
        error_code: "504".to_owned(),
        error_message: format!("no answer to {n}"),
        next_action_hint: String::new(),
        idempotency_key: IdempotencyKey::of_entry(id(n)),
        dedup_key: None,
        order_key: order_key.map(key),
        labels: baldur_core::Labels::new(),
        fingerprint: Fingerprint { version: 1, text: short("v1:0123456789abcdef") },
        trace: None,
        created_at: at,
        state: OpState::captured(2, None, at),
    };
    Capture::new(op, Evidence::new(Actor::parse("test").expect("an actor"), at))
}

/// A process with a spool, without its thread: each call is done when it returns.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) core: Arc<Core>,
    pub(super) writer: Writer,
    pub(super) keeper: Keeper,
}

/// Five captures or so go into a segment.
pub(super) fn config() -> SpoolConfig {
    SpoolConfig { segment_bytes: 8 << 10, ..SpoolConfig::new(ROOT) }
}

impl Process {
    /// A process that starts a moment after all before it.
    pub(super) fn start(
        disk: &SimDisk,
        clock: &Arc<TestClock>,
        config: SpoolConfig,
    ) -> Result<Self, BackendError> {
        clock.advance(Duration::from_millis(1));
        let clock: Arc<dyn Clock> = Arc::<TestClock>::clone(clock);
        let core = Arc::new(Core::new(Arc::new(disk.clone()), ROOT.into(), config, clock));
        let (writer, keeper) = begin(&core)?;
        Ok(Self { core, writer, keeper })
    }

    /// Appends captures as one group.
    pub(super) fn append(&mut self, captures: &[Capture]) -> Vec<Result<(), SpoolError>> {
        let at = self.core.clock.now();
        let mut batch = Batch::default();
        for capture in captures {
            batch.push(capture, at);
        }
        self.core.expect(batch.keys());
        self.writer.commit(&mut [&mut batch])
    }

    /// Appends captures, each in a group of its own; all must be acknowledged.
    pub(super) fn append_each(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for n in numbers {
            assert!(self.append(&[capture(n, None)])[0].is_ok(), "{n}");
        }
    }

    pub(super) fn peek(&mut self, limit: usize) -> Vec<Spooled> {
        self.keeper.peek(limit).expect("readable")
    }

    /// Takes everything out; the ids in the order in which they came.
    pub(super) fn drain(&mut self) -> Vec<EntryId> {
        let mut ids = Vec::new();
        loop {
            let records = self.peek(3);
            let Some(last) = records.last() else { return ids };
            let through = last.position;
            ids.extend(records.into_iter().map(|record| record.capture.op.id));
            self.keeper.remove(through).expect("removed");
        }
    }

    pub(super) fn lane(&self) -> PathBuf {
        self.core.state().own.place.as_ref().expect("a lane").dir.clone()
    }

    pub(super) fn segment(&self, number: u64) -> PathBuf {
        crate::layout::segment(&self.lane(), number)
    }

    pub(super) fn status(&self) -> baldur_core::port::SpoolStatus {
        self.core.state().status(self.core.config.max_bytes)
    }

    /// Ends without a word, as a process that is killed.
    pub(super) fn die(self) {
        drop(self);
    }
}

pub(super) fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<EntryId> {
    numbers.into_iter().map(id).collect()
}

/// A disk with an empty spool directory, and a clock.
pub(super) fn world() -> (SimDisk, Arc<TestClock>) {
    (SimDisk::with_dir(Path::new(ROOT)), TestClock::new())
}

/// A process on a disk of its own.
pub(super) fn process() -> (SimDisk, Arc<TestClock>, Process) {
    let (disk, clock) = world();
    let process = Process::start(&disk, &clock, config()).expect("opened");
    (disk, clock, process)
}
