//! The memory store passes the suite that it is the specification of.

use std::{process::ExitCode, sync::Arc};

use baldur_contract::{Harness, ManualClock, StoreUnderTest, Topic};
use baldur_core::{Clock, name::Namespace};
use baldur_memory::MemoryStore;

fn main() -> ExitCode {
    Harness::new("memory", fresh)
        // Against itself: this shows that the model is deterministic, and that the comparison runs.
        .model(fresh)
        .claim_race_entries(10_000)
        .except(Topic::Durability, "the store is meant to forget")
        .except(Topic::Isolation, "each store is a backend of its own")
        .run()
}

async fn fresh() -> StoreUnderTest {
    let clock = Arc::new(ManualClock::default());
    let namespace = Namespace::default_namespace();
    let store = MemoryStore::new(namespace.clone(), Arc::clone(&clock) as Arc<dyn Clock>);
    StoreUnderTest::new(store, namespace, clock, |store| async move { store.close().await })
}
