//! Captures without an answer are looked up by their ids.

use std::time::Duration;

use baldur_app::{CaptureMode, Sums, ledger::ResolvePolicy, outbox::OutboxPolicy};
use baldur_core::Outcome;

use super::{plant::Plant, wire::Fault};
use crate::world::{SECOND, op, virtual_time};

async fn resolved(plant: &Plant) -> Sums {
    plant.ledger.resolve_once(&plant.world.store, &ResolvePolicy::default()).await;
    let sums = plant.sums();
    assert!(sums.balances(), "{sums:?}");
    sums
}

#[tokio::test(start_paused = true)]
async fn an_unheard_capture_is_found_and_one_that_never_came_is_lost_after_its_time() {
    let plant = Plant::without_spool(OutboxPolicy::default());
    plant.wire.is_in(Fault::Unheard);
    let told = plant.put(op("payment"), CaptureMode::Sync).await;
    assert!(matches!(told.answer, Err((Outcome::Unknown, _))), "{told:?}");
    plant.wire.is_in(Fault::Panics);
    for op in [op("payment"), op("payment").dedup_key("order-1")] {
        plant.put(op, CaptureMode::Sync).await;
    }
    assert_eq!(plant.sums().unknown, 3);
    let sums = resolved(&plant).await;
    assert_eq!((sums.unknown, sums.stored), (2, 1), "what may still come to light is not lost yet");
    virtual_time(SECOND * 60).await;
    let sums = resolved(&plant).await;
    assert_eq!((sums.unknown, sums.rejected["lost"], sums.rejected["lost_or_merged"]), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_decides_nothing() {
    let plant = Plant::without_spool(OutboxPolicy::default());
    plant.wire.is_in(Fault::Unheard);
    plant.put(op("payment"), CaptureMode::Sync).await;
    plant.world.store.close().await;
    virtual_time(SECOND * 600).await;
    assert_eq!(resolved(&plant).await.unknown, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_an_unknown_capture() {
    let plant = Plant::without_spool(OutboxPolicy::default());
    plant.wire.is_in(Fault::HangsAfter);
    let put = plant.put(op("payment"), CaptureMode::Sync);
    assert!(tokio::time::timeout(Duration::from_millis(10), put).await.is_err());
    let sums = plant.sums();
    assert_eq!((sums.in_flight, sums.unknown), (0, 1));
    assert_eq!(resolved(&plant).await.stored, 1);
}
