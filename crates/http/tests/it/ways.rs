//! Captures that go to a spool or an outbox, and what the server tells of both.

use std::{sync::Arc, time::Duration};

use baldur_app::{
    CaptureRoutes, Env, Ledger, Outbox, SpoolingStore,
    outbox::{OutboxPolicy, WhenOutboxFull},
    spooling::SpoolingPolicy,
};
use baldur_core::{
    Count, Filter, SystemClock,
    port::{CaptureStore, EntryReader as _, Spool},
};
use baldur_memory::MemoryStore;
use baldur_spool::{DiskSpool, SpoolConfig};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::{
    failing::Failing,
    server::{Answer, Route, Server, Setup, memory, op},
};

/// A real spool in a directory of its own.
struct Disk {
    spool: DiskSpool,
    _dir: TempDir,
}

impl Disk {
    async fn new(max_bytes: u64) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = SpoolConfig::new(dir.path().join("spool"));
        config.max_bytes = max_bytes;
        config.segment_bytes = config.segment_bytes.min(max_bytes);
        config.max_record_bytes = config.max_record_bytes.min(max_bytes);
        let spool = DiskSpool::open(config, Arc::new(SystemClock)).await.expect("opened");
        Self { spool, _dir: dir }
    }

    /// The store first, or the spool, as the mode says.
    fn route(&self) -> Route {
        let spool: Arc<dyn Spool> = Arc::new(self.spool.clone());
        Box::new(move |store, _| {
            let store = SpoolingStore::new(store, Arc::clone(&spool), SpoolingPolicy::default());
            CaptureRoutes {
                durable: Some(Arc::new(store.durable())),
                spool: Some(spool),
                ..CaptureRoutes::to(Arc::new(store))
            }
        })
    }

    async fn server(&self, store: Failing) -> Server {
        Server::with(store, Setup { route: self.route(), ..Setup::default() }).await
    }

    async fn ids(&self) -> Vec<String> {
        let records = self.spool.peek(1_000).await.expect("readable");
        records.into_iter().map(|record| record.capture.op.id.to_string()).collect()
    }
}

/// An outbox before the store, and a hold on it.
fn boxed(policy: OutboxPolicy, keep: std::sync::mpsc::Sender<Outbox>) -> Route {
    Box::new(move |store: Arc<dyn CaptureStore>, env: &Env| {
        let past = Arc::clone(&store);
        let outbox = Outbox::start(Arc::clone(&store), past, Ledger::new(), env, policy);
        let outbox = outbox.expect("a good policy");
        keep.send(outbox.clone()).expect("it is waited for");
        CaptureRoutes { outbox: Some(outbox), ..CaptureRoutes::to(store) }
    })
}

async fn post(server: &Server, mode: &str, n: u64) -> Answer {
    let kind = ["content-type: application/json"];
    server.send("POST", &format!("/api/v1/entries{mode}"), &kind, op(n).as_bytes()).await
}

async fn count(store: &MemoryStore) -> Count {
    store.count(Filter::default(), 9).await.expect("readable")
}

fn id(n: u64) -> String {
    format!("01890a5d-ac96-774b-bcce-{n:012x}")
}

#[tokio::test]
async fn a_durable_capture_waits_for_the_disk_and_not_for_the_store() {
    let disk = Disk::new(1 << 20).await;
    let store = memory();
    let server = disk.server(Failing::new(store.clone())).await;
    let answer = post(&server, "?mode=durable", 1).await;
    let wanted =
        json!({"id": id(1), "durability": "spooled", "occurrence": 1, "disposition": "new"});
    assert_eq!((answer.status, answer.json()), (202, wanted));
    // It is not in the store, so it has no place there.
    assert!(!answer.has("location: "), "{answer:?}");
    assert_eq!(count(&store).await, Count::Exactly(0));
    assert_eq!(disk.ids().await, [id(1)]);
    assert_eq!(post(&server, "?mode=sync", 2).await.status, 201);
}

#[tokio::test]
async fn without_a_store_captures_are_spooled_and_the_server_is_ready() {
    let disk = Disk::new(1 << 20).await;
    let store = Failing::new(memory());
    let server = disk.server(store.clone()).await;
    store.down();
    let one = post(&server, "", 1).await;
    assert_eq!((one.status, &one.json()["durability"]), (202, &json!("spooled")), "{one:?}");
    let many = server.post_lines(&[op(2), op(3)].join("\n")).await;
    assert_eq!(many.status, 200);
    for line in many.lines() {
        assert_eq!(line["durability"], "spooled", "{line}");
    }
    assert_eq!(disk.ids().await, [id(1), id(2), id(3)]);
    let ready = server.get("/readyz").await;
    let parts = json!({"server": "ok", "store": "unavailable", "spool": "ok"});
    assert_eq!((ready.status, &ready.json()["parts"]), (200, &parts));
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("\nbaldur_spool_records 3\n"), "{metrics}");
    assert!(metrics.contains("\nbaldur_spool_max_bytes 1048576\n"), "{metrics}");
    assert!(metrics.contains("\nbaldur_spool_set_aside 0\n"), "{metrics}");
    let bytes = format!("\nbaldur_spool_bytes {}\n", disk.spool.status().bytes);
    assert!(metrics.contains(&bytes), "{metrics}");
    assert!(metrics.contains("\nbaldur_spool_oldest_seconds "), "{metrics}");
}

#[tokio::test]
async fn without_a_store_and_with_a_full_spool_captures_are_refused_and_the_server_is_not_ready() {
    let disk = Disk::new(64 << 10).await;
    let store = Failing::new(memory());
    let server = disk.server(store.clone()).await;
    store.down();
    let mut n = 0;
    let refused = loop {
        n += 1;
        let answer = post(&server, "", n).await;
        if answer.status != 202 {
            break answer;
        }
        assert!(n < 1_000, "the spool is never full");
    };
    assert_eq!((refused.status, refused.problem().as_str()), (503, "unavailable"), "{refused:?}");
    assert_eq!(refused.json()["outcome"], "not_applied");
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, ready.problem().as_str()), (503, "not_ready"));
    assert_eq!(ready.json()["parts"]["spool"], "full");
    let kept: Vec<String> = (1..n).map(id).collect();
    assert_eq!(disk.ids().await, kept, "nothing was lost");
}

#[tokio::test]
async fn an_async_capture_is_queued_and_stored_by_a_flush() {
    let gate = Arc::new(Semaphore::new(0));
    let store = memory();
    let (keep, kept) = std::sync::mpsc::channel();
    let policy = OutboxPolicy {
        max_entries: 2,
        when_full: WhenOutboxFull::Reject,
        ..OutboxPolicy::default()
    };
    let setup = Setup { route: boxed(policy, keep), ..Setup::default() };
    let server = Server::with(Failing::gated(store.clone(), Arc::clone(&gate)), setup).await;
    let outbox = kept.recv().expect("started");
    assert_eq!(server.get("/readyz").await.json()["parts"]["outbox"], "ok");
    for n in 1..3 {
        let answer = post(&server, "?mode=async", n).await;
        assert_eq!((answer.status, &answer.json()["durability"]), (202, &json!("queued")));
        assert!(!answer.has("location: "), "{answer:?}");
    }
    let refused = post(&server, "?mode=async", 3).await;
    assert_eq!((refused.status, refused.problem().as_str()), (507, "full"));
    assert_eq!(refused.json()["outcome"], "not_applied");
    // Memory is full; the store takes what waits for it.
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["parts"]["outbox"]), (200, &json!("full")));
    gate.add_permits(100);
    assert!(outbox.flush(Duration::from_secs(30)).await.is_ok());
    assert_eq!(count(&store).await, Count::Exactly(2));
    let lines = format!("{}\n{}", op(4), op(5));
    let kind = ["content-type: application/x-ndjson"];
    let many = server.send("POST", "/api/v1/entries?mode=async", &kind, lines.as_bytes()).await;
    for line in many.lines() {
        assert_eq!(line["durability"], "queued", "{line}");
    }
    outbox.close(Duration::from_secs(30)).await;
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["parts"]["outbox"]), (503, &json!("closed")));
    assert_eq!(count(&store).await, Count::Exactly(4));
}
