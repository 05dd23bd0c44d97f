//! Finding out what became of captures without an answer.

use std::{sync::Arc, time::Duration};

use baldur_core::port::EntryReader;
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{Account, Ledger, RejectReason};

/// When ids without an answer are looked up.
#[derive(Clone, Copy, Debug)]
pub struct ResolvePolicy {
    /// How often to look.
    pub every: Duration,
    /// How long a write may come to light after its caller gave up. Only then is an id that the store doesn't know lost. Longer
    /// than the store goes on with a write that nobody waits for.
    pub settle_after: Duration,
    /// How long one lookup may take.
    pub timeout: Duration,
    /// How many ids are looked up at once.
    pub batch: usize,
}

impl Default for ResolvePolicy {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5),
            settle_after: Duration::from_mins(1),
            timeout: Duration::from_secs(10),
            batch: 500,
        }
    }
}

/// Looks ids up whose captures got no answer, until it is dropped.
///
/// What is found is stored. What is not found after [`ResolvePolicy::settle_after`], by a store that answers, is rejected as `lost`;
/// with a dedup key as `lost_or_merged`, since the id of a merged capture finds nothing. A store that doesn't answer decides nothing, and
/// nothing is lost that may wait in the spool: it must have been empty once since.
#[derive(Debug)]
pub struct Resolver {
    task: JoinHandle<()>,
}

impl Resolver {
    /// Starts looking, as a task of the current runtime.
    pub fn start(ledger: Ledger, reader: Arc<dyn EntryReader>, policy: ResolvePolicy) -> Self {
        let task = tokio::spawn(async move {
            loop {
                sleep(policy.every).await;
                ledger.resolve_once(&*reader, &policy).await;
            }
        });
        Self { task }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ledger {
    /// Looks up the ids that have waited longest. Returns how many were resolved.
    pub async fn resolve_once(&self, reader: &dyn EntryReader, policy: &ResolvePolicy) -> usize {
        let waiting = self.unresolved(policy.batch);
        if waiting.is_empty() {
            return 0;
        }
        let ids = waiting.iter().map(|(id, _)| *id).collect();
        let Ok(Ok(found)) = timeout(policy.timeout, reader.find(ids)).await else {
            tracing::debug!(waiting = waiting.len(), "ledger.lookup_failed");
            return 0;
        };
        let mut resolved = 0;
        for ((id, entry), found) in waiting.into_iter().zip(found) {
            let to = match found {
                Some(_) => Account::Stored,
                None if entry.since.elapsed() < policy.settle_after => continue,
                None if self.may_be_spooled(entry.since) => continue,
                None if entry.may_merge => Account::Rejected(RejectReason::LostOrMerged),
                None => Account::Rejected(RejectReason::Lost),
            };
            if let Account::Rejected(reason) = to {
                tracing::error!(%id, reason = reason.as_str(), "ledger.capture_lost");
            }
            self.resolved(id, to);
            resolved += 1;
        }
        resolved
    }
}
