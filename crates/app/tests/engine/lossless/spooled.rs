//! What the store doesn't take waits in the spool, and is told so.

use std::time::Duration;

use baldur_app::{CaptureMode, outbox::OutboxPolicy};
use baldur_core::{Outcome, port::Durability};
use tokio::time::Instant;

use super::{
    plant::{Plant, keyed, waiting},
    shelf::Trouble,
    wire::{Fault, REFUSED},
};
use crate::world::{SECOND, op, virtual_time};

fn plant() -> Plant {
    Plant::new(OutboxPolicy::default())
}

fn stored(answer: &Result<Durability, (Outcome, String)>) -> bool {
    matches!(answer, Ok(Durability::Stored { .. }))
}

#[tokio::test(start_paused = true)]
async fn every_trouble_of_the_store_ends_in_the_spool() {
    for fault in [
        Fault::Down,
        Fault::Full,
        Fault::ReadOnly,
        Fault::Closed,
        Fault::Unheard,
        Fault::Hangs,
        Fault::HangsAfter,
        Fault::Panics,
        Fault::PanicsAfter,
        Fault::Slow(900),
        Fault::Owes,
    ] {
        let mut plant = plant();
        plant.wire.is_in(fault);
        let told = plant.put(op("payment"), CaptureMode::Sync).await;
        assert_eq!(told.answer, Ok(Durability::Spooled), "{fault:?}");
        let sums = plant.sums();
        assert_eq!((sums.spooled + sums.stored, sums.offered), (1, 1), "{fault:?}: {sums:?}");
        plant.recovers().await;
        plant.verdict().await.unwrap_or_else(|problem| panic!("{fault:?}: {problem}"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_for_good_is_not_spooled() {
    let plant = plant();
    let told = plant.put(op("payment").error_code(REFUSED), CaptureMode::Sync).await;
    assert!(matches!(told.answer, Err((Outcome::NotApplied, _))), "{told:?}");
    assert_eq!(waiting(&plant), 0);
    assert_eq!(plant.sums().rejected["invalid"], 1);
}

#[tokio::test(start_paused = true)]
async fn durable_captures_go_to_the_spool_first() {
    let mut plant = plant();
    plant.wire.is_in(Fault::Hangs);
    let started = Instant::now();
    let told = plant.put(op("payment"), CaptureMode::Durable).await;
    assert_eq!((told.answer, started.elapsed()), (Ok(Durability::Spooled), Duration::ZERO));
    plant.recovers().await;
    plant.verdict().await.expect("stored by now");
}

#[tokio::test(start_paused = true)]
async fn durable_captures_go_to_the_store_when_the_spool_fails() {
    for trouble in [Trouble::Full, Trouble::Fails, Trouble::Hangs, Trouble::Stuck] {
        let plant = plant();
        plant.shelf.as_ref().expect("one").is_in(trouble);
        let told = plant.put(op("payment"), CaptureMode::Durable).await;
        assert!(stored(&told.answer), "{trouble:?}: {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_both_fail_the_error_says_both_and_whether_anything_was_kept() {
    for (fault, trouble, outcome, words) in [
        (Fault::Down, Trouble::Full, Outcome::NotApplied, ["unavailable", "spool is full"]),
        (Fault::Full, Trouble::Fails, Outcome::NotApplied, ["full", "spool failed to append"]),
        (Fault::Hangs, Trouble::Full, Outcome::Unknown, ["timeout", "spool is full"]),
        (Fault::Down, Trouble::Unheard, Outcome::Unknown, ["unavailable", "spool failed"]),
        (Fault::Down, Trouble::Hangs, Outcome::Unknown, ["unavailable", "(timeout)"]),
    ] {
        let plant = plant();
        plant.wire.is_in(fault);
        plant.shelf.as_ref().expect("one").is_in(trouble);
        let told = plant.put(op("payment"), CaptureMode::Sync).await;
        let (known, said) = told.answer.expect_err("nobody took it");
        assert_eq!(known, outcome, "{fault:?}, {trouble:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{fault:?}, {trouble:?}: {said}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_waits_in_the_spool_is_followed_there_and_nowhere_else() {
    let plant = plant();
    plant.wire.is_in(Fault::Down);
    plant.put(keyed("a"), CaptureMode::Sync).await;
    // The drainer is kept from the spool, and the store is well.
    let shelf = plant.shelf.as_ref().expect("one");
    shelf.is_in(Trouble::Stuck);
    virtual_time(SECOND * 20).await;
    plant.wire.is_in(Fault::None);
    let behind = plant.put(keyed("a"), CaptureMode::Sync).await;
    let (outcome, said) = behind.answer.expect_err("the spool takes nothing");
    assert!(said.contains("order key"), "{said}");
    assert_eq!(outcome, Outcome::Unknown);
    shelf.is_in(Trouble::None);
    assert!(plant.drainer.as_ref().expect("one").drained(SECOND * 60).await);
    assert!(stored(&plant.put(keyed("a"), CaptureMode::Sync).await.answer));
}

#[tokio::test(start_paused = true)]
async fn only_the_first_callers_of_an_outage_wait() {
    let plant = plant();
    plant.wire.is_in(Fault::Hangs);
    let started = Instant::now();
    plant.put(op("payment"), CaptureMode::Sync).await;
    assert_eq!(started.elapsed(), Duration::from_millis(250), "the store's time");
    for _ in 0..1_000 {
        let started = Instant::now();
        plant.put(op("payment"), CaptureMode::Sync).await;
        assert_eq!(started.elapsed(), Duration::ZERO);
        virtual_time(Duration::from_millis(10)).await;
    }
    let asked = plant.wire.batches().len();
    assert!(asked < 20, "a store that hangs was asked {asked} times within 10 s");
}

#[tokio::test(start_paused = true)]
async fn callers_that_wait_for_a_store_stop_when_it_is_known_to_be_down() {
    let plant = plant();
    plant.wire.is_in(Fault::Slow(60_000));
    let started = Instant::now();
    let late = async {
        virtual_time(Duration::from_millis(200)).await;
        plant.put(op("payment"), CaptureMode::Sync).await;
    };
    tokio::join!(plant.put(op("payment"), CaptureMode::Sync), late);
    assert_eq!(started.elapsed(), Duration::from_millis(250), "the late one waited for 50 ms only");
}
