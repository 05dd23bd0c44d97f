//! Which metrics move when the store, the spool or the outbox is in trouble.

use baldur_app::{
    CaptureMode,
    outbox::{OutboxPolicy, WhenOutboxFull},
};

use super::{
    plant::Plant,
    shelf::Trouble,
    wire::{Fault, REFUSED},
};
use crate::{
    protected_measured::{Sums, measured_by},
    world::{SECOND, op, ops, virtual_time},
};

const STORE_UP: &str = "baldur_capture_store_up{}";
const SPOOLED: &str = "baldur_capture_held_entries{account=spooled}";

fn rejected(sums: &Sums, reason: &str) -> u64 {
    sums.get(&format!("baldur_capture_rejected_total{{reason={reason}}}"))
}

#[test]
fn an_outage_shows_while_it_lasts_and_is_over_when_the_spool_is_empty() {
    let sums = measured_by(|sums| async move {
        let mut plant = Plant::new(OutboxPolicy::default());
        assert_eq!(sums.level(STORE_UP), Some(1.0));
        plant.wire.is_in(Fault::ReadOnly);
        plant.put_all(ops("payment", 3), CaptureMode::Sync).await;
        virtual_time(SECOND * 5).await;
        assert_eq!((sums.level(STORE_UP), sums.level(SPOOLED)), (Some(0.0), Some(3.0)));
        plant.recovers().await;
        assert_eq!((sums.level(STORE_UP), sums.level(SPOOLED)), (Some(1.0), Some(0.0)));
    });
    assert!(sums.get("baldur_drain_failures_total{}") > 0);
    assert_eq!(sums.get("baldur_drain_records_total{answer=stored}"), 3);
    assert_eq!(sums.get("baldur_capture_settled_total{account=stored}"), 3);
    assert_eq!(sums.get("baldur_capture_offered_total{}"), 3);
}

#[test]
fn captures_that_neither_store_nor_spool_takes_are_counted_by_reason() {
    let sums = measured_by(|_| async {
        let plant = Plant::new(OutboxPolicy::default());
        plant.wire.is_in(Fault::Full);
        plant.shelf.as_ref().expect("one").is_in(Trouble::Full);
        plant.put(op("payment"), CaptureMode::Sync).await.answer.expect_err("no room anywhere");
        plant.wire.is_in(Fault::None);
        virtual_time(SECOND * 60).await;
        let refused = plant.put(op("payment").error_code(REFUSED), CaptureMode::Sync).await;
        refused.answer.expect_err("the store refuses it");
    });
    assert_eq!((rejected(&sums, "full"), rejected(&sums, "invalid")), (1, 1));
}

#[test]
fn a_full_outbox_shows_by_what_it_does() {
    for (when_full, lost) in [
        (WhenOutboxFull::Reject, "baldur_capture_rejected_total{reason=outbox_full}"),
        (WhenOutboxFull::DropNewest, "baldur_capture_dropped_total{domain=payment,reason=newest}"),
        (WhenOutboxFull::DropOldest, "baldur_capture_dropped_total{domain=payment,reason=oldest}"),
    ] {
        let sums = measured_by(|sums| async move {
            let policy = OutboxPolicy { max_entries: 10, when_full, ..OutboxPolicy::default() };
            let mut plant = Plant::new(policy);
            plant.wire.is_in(Fault::Down);
            plant.shelf.as_ref().expect("one").is_in(Trouble::Fails);
            plant.put_all(ops("payment", 12), CaptureMode::Async).await;
            virtual_time(SECOND * 31).await;
            assert_eq!(sums.level("baldur_outbox_entries{}"), Some(10.0));
            plant.recovers().await;
        });
        assert_eq!(sums.get(lost), 2, "{when_full:?}");
        assert_eq!(sums.get("baldur_outbox_alarms_total{alarm=full}"), 1);
        assert_eq!(sums.get("baldur_outbox_alarms_total{alarm=old}"), 1);
        assert_eq!(sums.get("baldur_capture_settled_total{account=stored}"), 10);
    }
}
