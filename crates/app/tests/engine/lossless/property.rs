//! Whatever fails, in whatever order: what was acknowledged is there once, and the sums hold at every instant.

use std::time::Duration;

use baldur_app::{
    CaptureMode,
    outbox::{OutboxPolicy, WhenOutboxFull},
};
use proptest::prelude::*;

use super::{
    plant::{Plant, keyed},
    shelf::Trouble,
    wire::{Fault, REFUSED},
};
use crate::world::{op, virtual_time};

#[derive(Clone, Debug)]
enum Step {
    Put {
        count: usize,
        key: Option<u8>,
        mode: CaptureMode,
        refused: bool,
    },
    /// A caller that goes away after so many milliseconds.
    GivenUp {
        key: Option<u8>,
        mode: CaptureMode,
        after: u16,
    },
    Store(Fault),
    Spool(Trouble),
    Pass(u32),
    Flush(u32),
    Close(u32),
}

fn mode() -> impl Strategy<Value = CaptureMode> {
    prop_oneof![
        1 => Just(CaptureMode::Sync),
        3 => Just(CaptureMode::Async),
        1 => Just(CaptureMode::Durable),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::Down),
        1 => Just(Fault::Full),
        1 => Just(Fault::ReadOnly),
        1 => Just(Fault::Closed),
        1 => Just(Fault::Unheard),
        1 => Just(Fault::Hangs),
        1 => Just(Fault::HangsAfter),
        1 => Just(Fault::Panics),
        1 => Just(Fault::PanicsAfter),
        1 => (1_u16..600).prop_map(Fault::Slow),
    ]
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        3 => Just(Trouble::None),
        1 => Just(Trouble::Full),
        1 => Just(Trouble::Fails),
        1 => Just(Trouble::Unheard),
        1 => Just(Trouble::Hangs),
        1 => Just(Trouble::Stuck),
        1 => Just(Trouble::RemovedUnheard),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::option::of(0_u8..3);
    prop_oneof![
        8 => (1_usize..12, key(), mode(), prop::bool::weighted(0.1))
            .prop_map(|(count, key, mode, refused)| Step::Put { count, key, mode, refused }),
        1 => (key(), mode(), 0_u16..400)
            .prop_map(|(key, mode, after)| Step::GivenUp { key, mode, after }),
        3 => fault().prop_map(Step::Store),
        2 => trouble().prop_map(Step::Spool),
        2 => (0_u32..20_000).prop_map(Step::Pass),
        1 => (0_u32..5_000).prop_map(Step::Flush),
        1 => (0_u32..5_000).prop_map(Step::Close),
    ]
}

fn when_full() -> impl Strategy<Value = WhenOutboxFull> {
    prop_oneof![
        2 => Just(WhenOutboxFull::Spool),
        1 => Just(WhenOutboxFull::Wait { timeout: Duration::from_secs(2) }),
        1 => Just(WhenOutboxFull::Reject),
    ]
}

async fn take(plant: &mut Plant, step: Step) {
    match step {
        Step::Put { count, key, mode, refused } => {
            let op = || {
                let op = key.map_or_else(|| op("payment"), |key| keyed(&key.to_string()));
                if refused { op.error_code(REFUSED) } else { op }
            };
            plant.put_all((0..count).map(|_| op()).collect(), mode).await;
        }
        Step::GivenUp { key, mode, after } => {
            let op = key.map_or_else(|| op("payment"), |key| keyed(&key.to_string()));
            let patience = Duration::from_millis(after.into());
            let put = plant.put(op, mode);
            let _gave_up = tokio::time::timeout(patience, put).await;
        }
        Step::Store(fault) => plant.wire.is_in(fault),
        Step::Spool(trouble) => {
            if let Some(shelf) = &plant.shelf {
                shelf.is_in(trouble);
            }
        }
        Step::Pass(millis) => virtual_time(Duration::from_millis(millis.into())).await,
        Step::Flush(millis) => {
            let within = Duration::from_millis(millis.into());
            let flushed = plant.outbox.flush(within).await;
            let left = plant.outbox.status().entries;
            assert!(flushed.is_err() || left == 0, "flushed, and {left} are left");
        }
        Step::Close(millis) => plant.reopen_outbox(Duration::from_millis(millis.into())).await,
    }
}

async fn story(
    plot: Vec<Step>,
    policy: OutboxPolicy,
    with_spool: bool,
) -> Result<(), TestCaseError> {
    let mut plant = if with_spool { Plant::new(policy) } else { Plant::without_spool(policy) };
    let ledger = plant.ledger.clone();
    let watcher = tokio::spawn(async move {
        loop {
            let sums = ledger.sums();
            assert!(sums.balances() && sums.overdrawn == 0, "{sums:?}");
            virtual_time(Duration::from_millis(53)).await;
        }
    });
    for step in plot {
        // Without a spool a call waits for the store for as long as its caller does.
        let patience = if with_spool { Duration::from_mins(10) } else { Duration::from_secs(15) };
        let _waited = tokio::time::timeout(patience, take(&mut plant, step)).await;
        let sums = plant.sums();
        prop_assert!(sums.balances(), "{sums:?}");
        let status = plant.outbox.status();
        prop_assert!(status.entries <= policy.max_entries, "{status:?}");
    }
    plant.recovers().await;
    let broken = watcher.is_finished();
    watcher.abort();
    prop_assert!(!broken, "the sums were wrong at some instant");
    let dropped = plant.sums().dropped;
    prop_assert!(dropped.keys().all(|reason| *reason == "shutdown"), "{dropped:?}");
    plant.verdict().await.map_err(TestCaseError::fail)
}

fn in_paused_time(
    story: impl Future<Output = Result<(), TestCaseError>>,
) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(story)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_is_there_once(
        steps in prop::collection::vec(step(), 1..40),
        max_entries in 4_usize..40,
        batch in 1_usize..16,
        when_full in when_full(),
    ) {
        let policy = OutboxPolicy { max_entries, batch, when_full, ..OutboxPolicy::default() };
        in_paused_time(story(steps, policy, true))?;
    }

    #[test]
    fn without_a_spool_nothing_is_lost_in_silence(
        steps in prop::collection::vec(step(), 1..30),
        max_entries in 4_usize..40,
        batch in 1_usize..16,
        when_full in when_full(),
    ) {
        let policy = OutboxPolicy { max_entries, batch, when_full, ..OutboxPolicy::default() };
        in_paused_time(story(steps, policy, false))?;
    }
}
