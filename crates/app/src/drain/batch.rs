//! One batch: peek, keep, remove.

use std::{panic::AssertUnwindSafe, time::Duration};

use baldur_core::{
    BackendError, BackendKind, Chain,
    command::{Capture, WhenFull},
    port::{CaptureError, Captured, SpoolPosition, Spooled},
};
use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout};

use super::{Shared, Step};
use crate::{
    ledger::{Landing, landing_of},
    metrics,
    spooling::refused_for_good,
};

/// How long an entry lives at least whose time ran out in the spool: the store expires it like any other, with evidence.
const LEAST_LIFE: Duration = Duration::from_micros(1);

type Answer = Result<Captured, CaptureError>;

impl Shared {
    /// Moves the oldest records of one lane.
    pub(super) async fn step(&self, limit: usize) -> Step {
        let mark = self.ledger.spool_mark();
        let records = match timeout(self.policy.timeout, self.parts.spool.peek(limit)).await {
            Ok(Ok(records)) => records,
            Ok(Err(error)) => return Step::Failed(Chain(&error).to_string()),
            Err(_elapsed) => return Step::Failed("the spool did not answer in time".to_owned()),
        };
        if records.is_empty() {
            self.look_for_lost_records(mark);
            return Step::Idle;
        }
        let started = Instant::now();
        let captures = records.iter().map(|record| self.due(record)).collect();
        let answers = self.keep(captures).await;
        let took = started.elapsed();
        match self.settle(records, answers).await {
            Ok(()) => Step::Moved(took),
            Err(trouble) => Step::Failed(trouble),
        }
    }

    /// Captures that were counted as spooled, in a spool that holds nothing, are gone.
    fn look_for_lost_records(&self, mark: u64) {
        if self.parts.spool.status().records > 0 {
            return;
        }
        let gone = self.ledger.spool_was_empty(mark);
        if gone > 0 {
            tracing::error!(records = gone, "drain.spooled_records_gone");
        }
    }

    /// What the store is to keep now of what was spooled then.
    fn due(&self, record: &Spooled) -> Capture {
        let waited = self.clock.now().since(record.spooled_at);
        let mut capture = record.capture.clone();
        if let Some(finish) = &self.hooks.finish {
            finish(&mut capture);
        }
        capture.next_attempt_in = capture.next_attempt_in.saturating_sub(waited);
        capture.expires_in =
            capture.expires_in.map(|after| after.saturating_sub(waited).max(LEAST_LIFE));
        capture.limits = capture.limits.filter(|limits| limits.when_full == WhenFull::DropOldest);
        capture
    }

    async fn keep(&self, captures: Vec<Capture>) -> Vec<Answer> {
        let call = AssertUnwindSafe(self.parts.store.capture_batch(captures)).catch_unwind();
        match timeout(self.policy.timeout, call).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(_panic)) => {
                tracing::error!("drain.store_panicked");
                Vec::new()
            }
            Err(_elapsed) => {
                let error = BackendError::new("store", "capture", BackendKind::Timeout);
                vec![Err(error.retryable().into())]
            }
        }
    }

    /// Removes the records from the first on that the store has, puts aside what it refused, and stops where it failed.
    async fn settle(&self, records: Vec<Spooled>, answers: Vec<Answer>) -> Result<(), String> {
        let mut answers = answers.into_iter();
        let mut kept = Vec::new();
        let mut through = None;
        for record in records {
            let id = record.capture.op.id;
            match answers.next() {
                Some(Ok(captured)) => {
                    kept.push((id, landing_of(id, &captured)));
                    through = Some(record.position);
                }
                Some(Err(error)) if refused_for_good(&error) => {
                    self.remove(through.take(), &mut kept).await?;
                    self.set_aside(&record, &error).await?;
                }
                failed => {
                    // What the store has is removed first, so that it is not asked for it again.
                    let removed = self.remove(through.take(), &mut kept).await;
                    self.parts.gate.down();
                    removed?;
                    return Err(trouble(failed));
                }
            }
        }
        self.parts.gate.up();
        self.remove(through, &mut kept).await
    }

    async fn remove(
        &self,
        through: Option<SpoolPosition>,
        kept: &mut Vec<(baldur_core::EntryId, Landing)>,
    ) -> Result<(), String> {
        let Some(through) = through else { return Ok(()) };
        in_time(self.policy.timeout, self.parts.spool.remove(through)).await?;
        let count = u64::try_from(kept.len()).unwrap_or(u64::MAX);
        for (id, landing) in kept.drain(..) {
            self.ledger.landed(id, landing);
            let answer = if landing == Landing::Merged { "merged" } else { "stored" };
            ::metrics::counter!(metrics::DRAIN_RECORDS.name, "answer" => answer).increment(1);
        }
        self.status().drained += count;
        tracing::debug!(records = count, "drain.records_stored");
        Ok(())
    }

    async fn set_aside(&self, record: &Spooled, error: &CaptureError) -> Result<(), String> {
        let (id, reason) = (record.capture.op.id, Chain(error).to_string());
        tracing::error!(%id, domain = %record.capture.op.domain, reason, "drain.record_set_aside");
        in_time(self.policy.timeout, self.parts.spool.set_aside(record.position, reason)).await?;
        self.ledger.landed(id, Landing::SetAside);
        ::metrics::counter!(metrics::DRAIN_RECORDS.name, "answer" => "set_aside").increment(1);
        self.status().set_aside += 1;
        Ok(())
    }
}

async fn in_time(
    within: Duration,
    call: impl Future<Output = Result<(), baldur_core::port::SpoolError>>,
) -> Result<(), String> {
    match timeout(within, call).await {
        Ok(done) => done.map_err(|error| Chain(&error).to_string()),
        Err(_elapsed) => Err("the spool did not answer in time".to_owned()),
    }
}

fn trouble(failed: Option<Answer>) -> String {
    match failed {
        Some(Err(error)) => Chain(&error).to_string(),
        Some(Ok(_)) | None => "the store owes an answer".to_owned(),
    }
}
