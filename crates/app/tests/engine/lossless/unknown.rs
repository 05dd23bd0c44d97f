//! Captures without an answer are looked up by their ids.

use std::time::Duration;

use baldur_app::{CaptureMode, Sums, ledger::ResolvePolicy, outbox::OutboxPolicy};
use baldur_core::Outcome;

use super::{
    plant::{Plant, keyed},
    shelf::Trouble,
    wire::{Fault, REFUSED},
};
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

#[tokio::test(start_paused = true)]
async fn what_may_wait_in_the_spool_is_not_lost() {
    let plant = Plant::new(OutboxPolicy::default());
    plant.wire.is_in(Fault::Down);
    let shelf = plant.shelf.as_ref().expect("one");
    for trouble in [Trouble::Unheard, Trouble::Hangs] {
        shelf.is_in(trouble);
        let told = plant.put(op("payment"), CaptureMode::Sync).await;
        assert!(matches!(told.answer, Err((Outcome::Unknown, _))), "{told:?}");
    }
    shelf.is_in(Trouble::None);
    virtual_time(SECOND * 120).await;
    assert_eq!(resolved(&plant).await.unknown, 2, "one of them is in the spool");
    plant.wire.is_in(Fault::None);
    assert!(plant.drainer.as_ref().expect("one").drained(SECOND * 60).await);
    virtual_time(SECOND * 20).await;
    let sums = resolved(&plant).await;
    assert_eq!((sums.unknown, sums.stored, sums.rejected["lost"]), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn records_of_one_capture_are_never_counted_for_another() {
    let mut plant = Plant::new(OutboxPolicy::default());
    let shelf = plant.shelf.clone().expect("one");
    // Each is written to the spool several times, and nobody hears of it.
    shelf.is_in(Trouble::Unheard);
    plant.wire.is_in(Fault::Panics);
    let refused = (0..8).map(|_| op("payment").error_code(REFUSED)).collect();
    plant.put_all(refused, CaptureMode::Async).await;
    virtual_time(SECOND * 3).await;
    plant.reopen_outbox(SECOND).await;
    // These are tried in vain before they are spooled, and nobody knows that it was in vain.
    shelf.is_in(Trouble::Stuck);
    plant.put_all((0..8).map(|_| keyed("a")).collect(), CaptureMode::Async).await;
    virtual_time(SECOND * 3).await;
    plant.recovers().await;
    plant.verdict().await.expect("as promised");
    let sums = plant.sums();
    assert_eq!((sums.stored, sums.rejected["set_aside"]), (8, 8), "{sums:?}");
}
