//! What a server does by itself, beside answering.

use std::time::Duration;

use baldur::{Baldur, EntryService};
use tokio::{task::JoinHandle, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// How often claims of workers that died are looked for.
const LAPSE_EVERY: Duration = Duration::from_secs(15);

/// How many of them are ended at a time.
const LAPSE_MOST: usize = 1_000;

/// Services that run as long as the server does. All of them are started and stopped here.
#[derive(Debug)]
pub(super) struct Background {
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

impl Background {
    /// Starts them.
    pub(super) fn start(baldur: &Baldur) -> Self {
        let stop = CancellationToken::new();
        let entries = baldur.entries().clone();
        let running = vec![tokio::spawn(lapse(entries, stop.clone()))];
        Self { stop, running }
    }

    /// Asks them to stop, and waits for them. What takes longer than `within` is left to itself.
    pub(super) async fn stop(self, within: Duration) {
        let Self { stop, running } = self;
        stop.cancel();
        let stopping = async {
            for service in running {
                // One that panicked has said so; the others are stopped all the same.
                let _ = service.await;
            }
        };
        if tokio::time::timeout(within, stopping).await.is_err() {
            tracing::warn!("serve.background_left");
        }
    }
}

/// Gives back entries whose workers died, so that they are seen as waiting and not as being replayed.
async fn lapse(entries: EntryService, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LAPSE_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = entries.lapse(LAPSE_MOST).await {
            tracing::warn!(error = %error, "serve.lapse_failed");
        }
    }
}
