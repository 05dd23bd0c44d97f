//! The outbox: bounds, order, pressure, flush and close.

use std::{collections::BTreeSet, time::Duration};

use baldur_app::{
    CaptureMode, Sums,
    outbox::{Alarm, OutboxPolicy, WhenOutboxFull, bytes_of},
};
use baldur_core::{Outcome, port::Durability};
use tokio::time::Instant;

use super::{
    plant::{Plant, Told, keyed},
    shelf::Trouble,
    wire::{Fault, REFUSED},
};
use crate::world::{SECOND, op, ops, virtual_time};

fn small(when_full: WhenOutboxFull) -> OutboxPolicy {
    OutboxPolicy { max_entries: 10, when_full, ..OutboxPolicy::default() }
}

fn levels(told: &[Told]) -> Vec<&'static str> {
    told.iter().map(|told| told.answer.as_ref().map_or("error", Durability::as_str)).collect()
}

/// An outbox whose store and spool take nothing, with ten captures in it.
async fn full(when_full: WhenOutboxFull) -> Plant {
    let plant = Plant::new(small(when_full));
    plant.wire.is_in(Fault::Down);
    plant.shelf.as_ref().expect("one").is_in(Trouble::Fails);
    let told = plant.put_all(ops("payment", 10), CaptureMode::Async).await;
    assert_eq!(levels(&told), ["queued"; 10]);
    plant
}

async fn ends_well(mut plant: Plant) -> Sums {
    plant.recovers().await;
    plant.verdict().await.expect("as promised");
    plant.sums()
}

#[tokio::test(start_paused = true)]
async fn captures_are_written_in_groups_after_a_moment() {
    let policy = OutboxPolicy { batch: 50, ..OutboxPolicy::default() };
    let plant = Plant::new(policy);
    plant.put_all(ops("payment", 30), CaptureMode::Async).await;
    assert_eq!(plant.wire.batches(), Vec::<usize>::new(), "they linger");
    virtual_time(policy.linger).await;
    virtual_time(Duration::from_millis(1)).await;
    assert_eq!(plant.wire.batches(), [30]);
    plant.put_all(ops("payment", 120), CaptureMode::Async).await;
    plant.outbox.flush(SECOND).await.expect("written");
    assert_eq!(plant.wire.batches(), [30, 50, 50, 20]);
    assert_eq!(ends_well(plant).await.stored, 150);
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_rejects() {
    let plant = full(WhenOutboxFull::Reject).await;
    let told = plant.put_all(ops("payment", 2), CaptureMode::Async).await;
    assert_eq!(levels(&told), ["error"; 2]);
    assert!(matches!(told[0].answer, Err((Outcome::NotApplied, _))));
    let sums = ends_well(plant).await;
    assert_eq!((sums.stored, sums.rejected["outbox_full"]), (10, 2));
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_drops_the_newest_and_counts_them_by_domain() {
    let plant = full(WhenOutboxFull::DropNewest).await;
    plant.put_all(ops("payment", 2), CaptureMode::Async).await;
    plant.put_all(ops("mail", 3), CaptureMode::Async).await;
    let sums = ends_well(plant).await;
    assert_eq!((sums.stored, sums.dropped["newest"]), (10, 5));
    let by_domain: Vec<_> = sums.dropped_in.iter().map(|(d, n)| (d.as_str(), *n)).collect();
    assert_eq!(by_domain, [("mail", 3), ("payment", 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_drops_the_oldest_but_nothing_that_is_under_way() {
    let policy = OutboxPolicy { batch: 4, ..small(WhenOutboxFull::DropOldest) };
    let mut plant = Plant::new(policy);
    plant.wire.is_in(Fault::Down);
    plant.shelf.as_ref().expect("one").is_in(Trouble::Fails);
    let old = plant.put_all(ops("payment", 10), CaptureMode::Async).await;
    virtual_time(SECOND).await;
    assert_eq!(plant.outbox.status().under_way, 4);
    let new = plant.put_all(ops("mail", 8), CaptureMode::Async).await;
    assert_eq!(levels(&new), ["queued"; 8], "two of the new ones went too, later");
    plant.recovers().await;
    let sums = plant.sums();
    assert!(sums.balances(), "{sums:?}");
    assert_eq!((sums.stored, sums.dropped["oldest"]), (10, 8));
    // Without an order key, some came by the spool and others directly.
    let arrived: BTreeSet<_> = plant.wire.arrived().into_iter().map(|(id, _)| id).collect();
    let kept: BTreeSet<_> = old[..4].iter().chain(&new[2..]).map(|told| told.id).collect();
    assert_eq!(arrived, kept);
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_waits_for_room() {
    let timeout = SECOND * 2;
    let plant = full(WhenOutboxFull::Wait { timeout }).await;
    let started = Instant::now();
    let told = plant.put_all(ops("payment", 1), CaptureMode::Async).await;
    assert_eq!((levels(&told), started.elapsed()), (vec!["error"], timeout), "none came");
    let recovery = async {
        virtual_time(SECOND).await;
        plant.wire.is_in(Fault::None);
    };
    // The pause after the last failure may be longer than the wait, so two are asked.
    let put = async {
        let first = plant.put_all(ops("payment", 1), CaptureMode::Async).await;
        let second = plant.put_all(ops("payment", 1), CaptureMode::Async).await;
        [levels(&first), levels(&second)].concat()
    };
    let (said, ()) = tokio::join!(put, recovery);
    assert_eq!(said.last(), Some(&"queued"), "room came");
    ends_well(plant).await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_for_room_no_longer_than_a_single_capture() {
    let timeout = SECOND * 2;
    let plant = full(WhenOutboxFull::Wait { timeout }).await;
    let started = Instant::now();
    let told = plant.put_all(ops("payment", 20), CaptureMode::Async).await;
    assert_eq!((levels(&told), started.elapsed()), (vec!["error"; 20], timeout));
    ends_well(plant).await;

    let plant = Plant::new(small(WhenOutboxFull::Spool));
    plant.wire.is_in(Fault::Down);
    plant.shelf.as_ref().expect("one").is_in(Trouble::Fails);
    let keyed_ones = |n| (0..n).map(|_| keyed("a")).collect();
    let told = plant.put_all(keyed_ones(10), CaptureMode::Async).await;
    assert_eq!(levels(&told), ["queued"; 10]);
    let started = Instant::now();
    let told = plant.put_all(keyed_ones(20), CaptureMode::Async).await;
    let wait = OutboxPolicy::default().spool_wait;
    assert_eq!((levels(&told), started.elapsed()), (vec!["error"; 20], wait));
    ends_well(plant).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_spools_and_keeps_the_order_of_keys() {
    let policy = OutboxPolicy { max_entries: 3, batch: 1, ..OutboxPolicy::default() };
    let plant = Plant::new(policy);
    plant.wire.is_in(Fault::Slow(200));
    let keys = ["a", "b", "b", "c", "a", "c", "b"];
    let told = plant.put_all(keys.map(keyed).into(), CaptureMode::Async).await;
    assert_eq!(levels(&told)[..3], ["queued"; 3]);
    assert_eq!(levels(&told)[3], "spooled", "nobody waits for `c`");
    assert_eq!(levels(&told)[4], "queued", "`a` waits, and this one waited for room behind it");
    let sums = ends_well(plant).await;
    assert_eq!(sums.stored, 7);
}

#[tokio::test(start_paused = true)]
async fn bytes_are_bounded_too() {
    let policy = OutboxPolicy { max_bytes: 64 << 10, ..small(WhenOutboxFull::Reject) };
    let plant = Plant::new(policy);
    let big = || op("payment").request_data(format!("\"{}\"", "x".repeat(20 << 10)));
    let told = plant.put_all(vec![big(), big(), big(), big()], CaptureMode::Async).await;
    assert!(levels(&told).contains(&"error"), "{:?}", levels(&told));
    let status = plant.outbox.status();
    assert!(status.bytes > 20 << 10 && status.bytes <= 64 << 10, "{status:?}");
    ends_well(plant).await;
}

#[tokio::test(start_paused = true)]
async fn the_size_of_a_capture_follows_its_texts() {
    let plant = Plant::new(OutboxPolicy::default());
    let size = |op| {
        let who = baldur_app::Who::system();
        let capture = plant.service.prepare(op, &who, baldur_app::Oversize::Refuse);
        bytes_of(&capture.expect("acceptable"))
    };
    let text = format!("\"{}\"", "x".repeat(9_998));
    let plain = size(op("payment"));
    let more = size(op("payment").response_data(text.clone())) - plain;
    assert!((9_900..=10_000).contains(&more), "{more}");
    assert!(size(op("payment").error_message("e".repeat(1_000))) >= plain + 1_000);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_the_answer_is_counted_as_rejected_and_not_as_written() {
    let plant = Plant::new(OutboxPolicy::default());
    let refused = || op("payment").error_code(REFUSED);
    let told = plant
        .put_all(vec![op("payment"), refused(), op("payment"), refused()], CaptureMode::Async)
        .await;
    assert_eq!(levels(&told), ["queued"; 4]);
    plant.outbox.flush(SECOND).await.expect("settled");
    let sums = plant.sums();
    assert_eq!((sums.stored, sums.rejected["invalid"]), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_is_started_again_and_repeats_what_was_under_way() {
    for fault in [Fault::Panics, Fault::PanicsAfter] {
        let mut plant = Plant::without_spool(OutboxPolicy::default());
        plant.wire.is_in(fault);
        plant.put_all(vec![keyed("a"); 5], CaptureMode::Async).await;
        virtual_time(SECOND * 10).await;
        let status = plant.outbox.status();
        assert!(status.restarts >= 2 && status.entries == 5, "{status:?}");
        let told = plant.put_all(vec![keyed("a"); 5], CaptureMode::Async).await;
        assert_eq!(levels(&told), ["queued"; 5], "meanwhile captures are taken");
        plant.recovers().await;
        plant.verdict().await.expect("nothing is lost");
        assert_eq!(plant.sums().stored, 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_was_put_before_and_for_nothing_else() {
    let plant = Plant::new(OutboxPolicy { linger: SECOND * 10, ..OutboxPolicy::default() });
    plant.put_all(ops("payment", 5), CaptureMode::Async).await;
    plant.wire.is_in(Fault::Slow(100));
    let started = Instant::now();
    let later = async {
        virtual_time(Duration::from_millis(50)).await;
        plant.put_all(ops("payment", 5), CaptureMode::Async).await;
    };
    let (flushed, ()) = tokio::join!(plant.outbox.flush(SECOND), later);
    flushed.expect("written");
    assert_eq!(started.elapsed(), Duration::from_millis(100));
    assert_eq!(plant.outbox.status().entries, 5, "what came later lingers");
    let plant = full(WhenOutboxFull::Reject).await;
    let error = plant.outbox.flush(SECOND).await.expect_err("nobody takes them");
    assert_eq!((error.left, error.within), (10, SECOND));
}

#[tokio::test(start_paused = true)]
async fn closing_spools_what_the_store_does_not_take_in_time() {
    let mut plant = Plant::new(OutboxPolicy { batch: 2, ..OutboxPolicy::default() });
    plant.wire.is_in(Fault::Slow(240));
    plant.put_all(ops("payment", 50), CaptureMode::Async).await;
    let report = plant.outbox.close(SECOND * 2).await;
    assert!(report.is_complete() && report.rescued > 0 && report.written > 0, "{report:?}");
    assert_eq!(report.rescued + report.written, 50);
    let told = plant.put_all(ops("payment", 1), CaptureMode::Async).await;
    assert!(matches!(told[0].answer, Err((Outcome::NotApplied, _))), "closed");
    assert_eq!(plant.sums().rejected["outbox_closed"], 1);
    plant.recovers().await;
    assert_eq!(plant.sums().stored, 50);
}

#[tokio::test(start_paused = true)]
async fn closing_names_what_nobody_took() {
    let policy = OutboxPolicy { batch: 4, ..small(WhenOutboxFull::Reject) };
    let plant = Plant::without_spool(policy);
    plant.wire.is_in(Fault::Hangs);
    let told = plant.put_all(ops("payment", 10), CaptureMode::Async).await;
    let report = plant.outbox.close(SECOND * 4).await;
    // Those that were being written may have come through, for all that is known.
    let ids: Vec<_> = told.iter().map(|told| told.id).collect();
    assert_eq!(report.unknown, ids[..4]);
    assert_eq!(report.lost, ids[4..]);
    let sums = plant.sums();
    assert!(sums.balances(), "{sums:?}");
    assert_eq!((sums.unknown, sums.dropped["shutdown"], sums.queued), (4, 6, 0));
    assert_eq!(plant.outbox.close(SECOND).await, baldur_app::outbox::CloseReport::default());
}

#[tokio::test(start_paused = true)]
async fn alarms_are_raised_cleared_and_raised_again() {
    let plant = full(WhenOutboxFull::Reject).await;
    plant.put_all(ops("payment", 200), CaptureMode::Async).await;
    for round in 0..2 {
        virtual_time(SECOND * 31).await;
        let alarms = plant.outbox.status().alarms;
        let wanted: &[Alarm] = if round == 0 { &Alarm::ALL } else { &[Alarm::Full, Alarm::Old] };
        assert_eq!(alarms, wanted, "round {round}");
        let rates = plant.outbox.status().rates;
        if round == 0 {
            assert_eq!((rates[0].offered, rates[0].dropped), (210, 200));
        }
        plant.wire.is_in(Fault::None);
        plant.outbox.flush(SECOND * 60).await.expect("written");
        virtual_time(SECOND * 61).await;
        assert_eq!(plant.outbox.status().alarms, [], "round {round}");
        plant.wire.is_in(Fault::Down);
        plant.put_all(ops("payment", 10), CaptureMode::Async).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_sync_capture_goes_behind_the_queued_ones_of_its_key() {
    let policy = OutboxPolicy { linger: SECOND * 10, ..OutboxPolicy::default() };
    let plant = Plant::new(policy);
    plant.put(keyed("a"), CaptureMode::Async).await;
    plant.put(keyed("a"), CaptureMode::Sync).await;
    plant.put(keyed("b"), CaptureMode::Async).await;
    assert_eq!(plant.wire.arrived().len(), 2, "`b` lingers on");
    ends_well(plant).await;
}
