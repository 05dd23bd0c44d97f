//! Conformance: every case of the suite, none declined.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use baldur_contract::{BoxFuture, Harness, ManualClock, StoreUnderTest};
use baldur_core::{Clock, name::Namespace};
use baldur_memory::MemoryStore;
use baldur_sqlite::{SqliteConfig, SqliteStore};

fn open(
    path: PathBuf,
    namespace: Namespace,
    clock: Arc<ManualClock>,
) -> BoxFuture<'static, StoreUnderTest> {
    Box::pin(async move {
        let config = SqliteConfig::new(&path, namespace.clone());
        let time: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
        let store = SqliteStore::open(config, time).await.expect("a temporary file opens");
        let close = |store: SqliteStore| async move { store.close().await };
        let (again, beside) = (path.clone(), path);
        let (its_namespace, its_clock) = (namespace.clone(), Arc::clone(&clock));
        let beside_clock = Arc::clone(&clock);
        StoreUnderTest::new(store, namespace, clock, close)
            .reopens(move || open(again.clone(), its_namespace.clone(), Arc::clone(&its_clock)))
            .shares_backend(move |other| open(beside.clone(), other, Arc::clone(&beside_clock)))
    })
}

async fn fresh() -> StoreUnderTest {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(ManualClock::default());
    let store = open(dir.path().join("baldur.db"), Namespace::default_namespace(), clock).await;
    store.keeping(dir)
}

async fn model() -> StoreUnderTest {
    let clock = Arc::new(ManualClock::default());
    let namespace = Namespace::default_namespace();
    let time: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let store = MemoryStore::new(namespace.clone(), time);
    StoreUnderTest::new(store, namespace, clock, |store: MemoryStore| async move {
        store.close().await;
    })
}

fn main() -> ExitCode {
    Harness::new("sqlite", fresh).model(model).differential().claim_race_entries(10_000).run()
}
