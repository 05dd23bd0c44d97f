//! What victims and settlers do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use baldur_app::{CaptureMode, CaptureService, Who};
use baldur_core::{NewFailedOp, port::Durability};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    Failure,
    faults::Hold,
    place::Place,
    protocol::{Level, Mode, Said},
    random::SplitMix,
    stack::{Faults, Stack},
    victim::{Orders, say},
};

/// How many captures a victim has under way at a time.
const TASKS: usize = 16;
/// How many order keys they share.
const KEYS: u64 = 8;
/// How long a flush may take; one in an outage doesn't need it all.
const FLUSH: Duration = Duration::from_secs(10);

/// Captures until the process is killed. Returns only with the reason why it can't.
pub(crate) async fn capture_for_ever(place: &Place, orders: Orders) -> Failure {
    match try_capture_for_ever(place, orders).await {
        Ok(()) => "its tasks ended".into(),
        Err(error) => error,
    }
}

async fn try_capture_for_ever(place: &Place, orders: Orders) -> Result<(), Failure> {
    let Orders { mode, seed, fail_point, twin } = orders;
    let mut random = SplitMix::new(seed);
    let faults =
        Faults { spool_bytes: None, hold: Hold::new(fail_point, random.next() % 12), twin };
    let capture_mode = match mode {
        Mode::Sync => CaptureMode::Sync,
        Mode::Async => CaptureMode::Async,
        Mode::Durable => CaptureMode::Durable,
    };
    let stack = Arc::new(Stack::open(place, capture_mode, faults).await?);
    say(&Said::Ready);
    let queued = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS as u64 {
        let (capture, queued) = (stack.capture.clone(), Arc::clone(&queued));
        let random = SplitMix::new(random.next() ^ task);
        tasks.spawn(capture_on(capture, random, queued));
    }
    tasks.spawn(outages(Arc::clone(&stack), random.next()));
    if mode == Mode::Async {
        tasks.spawn(flushes(Arc::clone(&stack), queued));
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

async fn capture_on(
    capture: CaptureService,
    mut random: SplitMix,
    queued: Arc<AtomicU64>,
) -> Result<(), Failure> {
    let who = Who::system();
    loop {
        let number = random.next();
        let mut op = NewFailedOp::new("payment", "TIMEOUT")
            .dependency("payment-gateway")
            .request_data(format!(r#"{{"number":{number}}}"#));
        if number.is_multiple_of(3) {
            op.order_key = Some(format!("account-{}", number % KEYS));
        }
        match capture.capture(op, &who).await {
            Ok(captured) => {
                let level = match captured.durability {
                    Durability::Stored { .. } | Durability::Enlisted => Level::Stored,
                    Durability::Spooled => Level::Spooled,
                    Durability::Queued => Level::Queued,
                };
                say(&Said::Acknowledged(level, captured.id));
                if level == Level::Queued {
                    // After the line: a flush vouches only for what the driver has heard of.
                    queued.fetch_add(1, Ordering::Release);
                    // Memory is fast; the driver reads lines.
                    sleep(Duration::from_millis(1)).await;
                }
            }
            // It was told so, and would repeat. Everything else is as good: nothing was promised.
            Err(_) => sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Lets the store be out, now and then.
async fn outages(stack: Arc<Stack>, seed: u64) -> Result<(), Failure> {
    let mut random = SplitMix::new(seed);
    let mut millis =
        |least: u64, most: u64| Duration::from_millis(least + random.next() % (most - least));
    loop {
        sleep(millis(10, 150)).await;
        stack.outage.set(true);
        sleep(millis(10, 250)).await;
        stack.outage.set(false);
    }
}

/// Flushes the outbox, and vouches for what was queued before.
async fn flushes(stack: Arc<Stack>, queued: Arc<AtomicU64>) -> Result<(), Failure> {
    loop {
        sleep(Duration::from_millis(20)).await;
        let before = queued.load(Ordering::Acquire);
        if stack.outbox.flush(FLUSH).await.is_ok() {
            say(&Said::Flushed(before));
        }
    }
}

/// Brings into the store whatever was left.
pub(crate) async fn settle(place: &Place) -> Result<(), Failure> {
    let faults = Faults { spool_bytes: None, hold: Hold::new(None, 0), twin: None };
    let stack = Stack::open(place, CaptureMode::Sync, faults).await?;
    say(&Said::Ready);
    stack.settle().await
}
