//! The same operations through an outbox and a spool on a real disk, while the store is out, and when it refuses them.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use baldur::{
    BackendError, BackendKind, CaptureMode, CaptureRoutes, CaptureService, Chain, Drainer, Env,
    Ledger, Outbox, Oversize, SystemClock,
    command::Capture,
    drain::{DrainHooks, DrainPolicy},
    name::{Namespace, WorkerName},
    outbox::OutboxPolicy,
    port::{CaptureError, CaptureStore, Captured, Spool},
    spool::{DiskSpool, SpoolConfig},
    spooling::{SpoolingPolicy, SpoolingStore},
};

use crate::world::{Story, bytes_below};

const LONG: Duration = Duration::from_mins(1);

/// A store that is out, or takes nothing for good.
#[derive(Debug, Default)]
struct Away {
    refuses: AtomicBool,
}

#[async_trait]
impl CaptureStore for Away {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let error = if self.refuses.load(Ordering::SeqCst) {
            CaptureError::Invalid("it is not for this store".to_owned())
        } else {
            BackendError::new("away", "capture", BackendKind::Unavailable).not_applied().into()
        };
        captures.iter().map(|_| Err(error.clone())).collect()
    }
}

/// Capture through all of it.
struct Way {
    away: Arc<Away>,
    spool: DiskSpool,
    spooling: SpoolingStore,
    outbox: Outbox,
    ledger: Ledger,
    env: Env,
    capture: CaptureService,
    /// What callers were told.
    told: String,
}

impl Way {
    async fn open(dir: &Path, story: &Story) -> Self {
        let namespace = Namespace::parse("shop").expect("a namespace");
        let env = Env::system(namespace, WorkerName::parse("worker-1").expect("a name"));
        let away = Arc::new(Away::default());
        let config = SpoolConfig::new(dir.join("spool"));
        let spool = DiskSpool::open(config, Arc::new(SystemClock)).await.expect("opened");
        let port: Arc<dyn Spool> = Arc::new(spool.clone());
        let inner = Arc::<Away>::clone(&away);
        let spooling = SpoolingStore::new(inner, port, SpoolingPolicy::default());
        let (way, durable) = (Arc::new(spooling.clone()), Arc::new(spooling.durable()));
        let ledger = Ledger::new();
        let past = Arc::<SpoolingStore>::clone(&durable);
        let before = Arc::<SpoolingStore>::clone(&way);
        let outbox = Outbox::start(before, past, ledger.clone(), &env, OutboxPolicy::default());
        let outbox = outbox.expect("a good policy");
        let routes = CaptureRoutes {
            durable: Some(durable),
            outbox: Some(outbox.clone()),
            ..CaptureRoutes::to(way)
        };
        let capture = CaptureService::routed(routes, env.clone(), story.policy.clone());
        Self { away, spool, spooling, outbox, ledger, env, capture, told: String::new() }
    }

    /// Captures everything in each mode.
    async fn play(&mut self, story: &Story) {
        for (op, who) in &story.ops {
            for mode in CaptureMode::ALL {
                let capture = self.capture.prepare(op.clone(), who, Oversize::KeepUnreplayable);
                let capture = capture.expect("nothing is refused");
                for answer in self.capture.keep_as(vec![capture], mode).await {
                    let _ = writeln!(self.told, "{answer:?}");
                    if let Err(failure) = answer {
                        let _ = writeln!(self.told, "{failure} {}", Chain(&failure));
                    }
                }
            }
        }
        assert!(self.outbox.flush(LONG).await.is_ok(), "the outbox is empty");
        let _ = writeln!(self.told, "{:?} {:?}", self.outbox, self.spool);
    }

    async fn close(self) -> String {
        let report = self.outbox.close(LONG).await;
        self.spool.close().await;
        format!("{}{report:?}", self.told).to_lowercase()
    }
}

impl Story {
    /// Everything that is left of it in a spool: in segments, in refused records, in quarantine; in lower case.
    pub(crate) async fn in_a_spool(&self) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let mut way = Way::open(dir.path(), self).await;
        way.play(self).await;
        let mut left = bytes_below(dir.path());
        assert!(left.contains(".seg:"), "captures are spooled");
        // The store is back, and refuses what waits, and what is queued.
        way.away.refuses.store(true, Ordering::SeqCst);
        let (policy, hooks) = (DrainPolicy::default(), DrainHooks::default());
        let drainer = Drainer::start(&way.spooling, way.ledger.clone(), &way.env, policy, hooks);
        let drainer = drainer.expect("a good policy");
        assert!(drainer.drained(LONG).await, "the spool is empty");
        way.play(self).await;
        assert!(drainer.drained(LONG).await, "the spool is empty again");
        drainer.stop(LONG).await;
        left.push_str(&bytes_below(dir.path()));
        assert!(left.contains("/refused/"), "records are put aside");
        // What is spooled at the end is damaged before the next process comes.
        way.away.refuses.store(false, Ordering::SeqCst);
        way.play(self).await;
        left.push_str(&way.close().await);
        damage(&dir.path().join("spool"));
        left.push_str(&through_quarantine(dir.path(), self).await);
        left
    }
}

/// Empties the spool of a process that is gone.
async fn through_quarantine(dir: &Path, story: &Story) -> String {
    let way = Way::open(dir, story).await;
    loop {
        let records = way.spool.peek(100).await.expect("readable");
        let Some(last) = records.last() else { break };
        way.spool.remove(last.position).await.expect("removable");
    }
    let left = bytes_below(dir);
    assert!(left.contains("/quarantine/"), "what is damaged is set aside");
    left + &way.close().await
}

/// Flips a bit of the first record of each segment.
fn damage(spool: &Path) {
    let lanes = fs::read_dir(spool).expect("a directory").map(|lane| lane.expect("there").path());
    let files = lanes.filter(|lane| lane.is_dir()).flat_map(|lane| {
        let files = fs::read_dir(lane).expect("a directory");
        files.map(|file| file.expect("there").path()).collect::<Vec<PathBuf>>()
    });
    for file in files.filter(|file| file.extension().is_some_and(|kind| kind == "seg")) {
        let mut bytes = fs::read(&file).expect("readable");
        bytes[3] ^= 1;
        fs::write(&file, bytes).expect("writable");
    }
}
