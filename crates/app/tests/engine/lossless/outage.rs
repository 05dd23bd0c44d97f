//! The store itself is out.

use std::{sync::Arc, time::Duration};

use baldur_app::{CaptureMode, outbox::OutboxPolicy};
use baldur_core::port::Durability;
use tokio::time::Instant;

use super::{
    plant::{Plant, keyed, waiting},
    wire::Fault,
};
use crate::world::{SECOND, virtual_time};

/// One capture each millisecond for 30 s, each by a caller of its own; the store is out from the second second on.
async fn an_outage(fault: Fault, mode: CaptureMode) {
    let mut plant = Plant::new(OutboxPolicy::default());
    let calls: Vec<_> = {
        let shared = &plant;
        let call = |n: u32| async move {
            virtual_time(Duration::from_millis(n.into())).await;
            if n == 1_000 {
                shared.wire.is_in(fault);
            }
            let started = Instant::now();
            shared.put(keyed(&format!("k{}", n % 100)), mode).await;
            started.elapsed()
        };
        futures_util::future::join_all((0..31_000).map(call)).await
    };
    let mut waits = calls;
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    let longest = waits[waits.len() - 1];
    assert!(p99 <= Duration::from_millis(10), "callers waited {p99:?}");
    assert!(longest <= Duration::from_millis(250), "a caller waited {longest:?}");
    if mode != CaptureMode::Async {
        assert!(waiting(&plant) > 29_000, "the spool held the outage: {}", waiting(&plant));
    }
    let failed: usize =
        plant.told.lock().expect("not poisoned").iter().filter(|told| told.answer.is_err()).count();
    assert_eq!(failed, 0);
    plant.recovers().await;
    plant.verdict().await.expect("nothing is lost");
    assert_eq!(plant.sums().stored, 31_000);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_while_the_store_is_unreachable() {
    an_outage(Fault::Down, CaptureMode::Sync).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_while_the_store_hangs() {
    an_outage(Fault::Hangs, CaptureMode::Sync).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_of_what_is_queued_while_the_store_hangs() {
    an_outage(Fault::Hangs, CaptureMode::Async).await;
}

#[tokio::test(start_paused = true)]
async fn captures_go_to_the_store_again_once_it_is_back() {
    let plant = Plant::new(OutboxPolicy::default());
    plant.wire.is_in(Fault::Down);
    assert_eq!(plant.put(keyed("a"), CaptureMode::Sync).await.answer, Ok(Durability::Spooled));
    plant.wire.is_in(Fault::None);
    assert!(plant.drainer.as_ref().expect("one").drained(SECOND * 30).await);
    let told = plant.put(keyed("a"), CaptureMode::Sync).await;
    assert!(matches!(told.answer, Ok(Durability::Stored { .. })), "{told:?}");
}

/// The law under real parallelism: many callers, a store that comes and goes, and a reader of the sums.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_sums_hold_at_every_instant_with_many_threads() {
    let mut plant = Plant::new(OutboxPolicy { max_entries: 64, ..OutboxPolicy::default() });
    let ledger = plant.ledger.clone();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watched = Arc::clone(&done);
    let reader = std::thread::spawn(move || {
        let mut looks = 0_u32;
        while !watched.load(std::sync::atomic::Ordering::SeqCst) {
            let sums = ledger.sums();
            assert!(sums.balances() && sums.overdrawn == 0, "{sums:?}");
            looks += 1;
        }
        looks
    });
    let faults = [Fault::None, Fault::Down, Fault::Unheard, Fault::None, Fault::Panics];
    for fault in faults.into_iter().cycle().take(20) {
        plant.wire.is_in(fault);
        let put = |n: u32| {
            let mode = if n.is_multiple_of(2) { CaptureMode::Async } else { CaptureMode::Sync };
            plant.put_all(vec![crate::world::op("payment"); 5], mode)
        };
        futures_util::future::join_all((0..20).map(put)).await;
    }
    plant.wire.is_in(Fault::None);
    let report = plant.outbox.close(SECOND * 60).await;
    assert!(report.is_complete(), "{report:?}");
    assert!(plant.drainer.as_ref().expect("one").drained(SECOND * 60).await);
    plant.closed.push(report);
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    assert!(reader.join().expect("the sums held") > 0);
    assert_eq!(plant.sums().offered, 2_000);
}
