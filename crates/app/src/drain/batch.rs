//! One batch: peek, keep, remove.

use std::{panic::AssertUnwindSafe, time::Duration};

use baldur_core::{
    BackendError, BackendKind, Chain, EntryId,
    command::{Capture, WhenFull},
    port::{CaptureError, Captured, SpoolError, SpoolPosition, Spooled},
};
use futures_util::FutureExt as _;
use tokio::time::{Instant, timeout};

use super::{Shared, Step, suspect::LOOK};
use crate::{
    ledger::{Landing, landing_of},
    metrics,
    spooling::{Known, refused_for_good, was_written},
};

/// How long an entry lives at least whose time ran out in the spool: the store expires it like any other, with evidence.
const LEAST_LIFE: Duration = Duration::from_micros(1);

pub(super) type Answer = Result<Captured, CaptureError>;

impl Shared {
    /// Moves the oldest records of one lane.
    pub(super) async fn step(&self, limit: usize) -> Step {
        self.count_late();
        let (mark, looked) = (self.ledger.spool_mark(), Instant::now());
        let limit = if self.is_suspicious() { limit.max(LOOK) } else { limit };
        let records = match timeout(self.policy.timeout, self.parts.spool.peek(limit)).await {
            Ok(Ok(records)) => records,
            Ok(Err(error)) => return Step::Failed(Chain(&error).to_string()),
            Err(_elapsed) => return Step::Failed("the spool did not answer in time".to_owned()),
        };
        self.count_removed(records.first().map(|record| record.position));
        let suspect = self.suspected(&records);
        if records.is_empty() {
            self.look_for_lost_records(mark, looked);
            return Step::Idle;
        }
        match suspect {
            Some(suspect) => self.step_with(suspect, records).await,
            None => self.move_records(records).await,
        }
    }

    /// Has the store keep records, and removes what it has.
    pub(super) async fn move_records(&self, records: Vec<Spooled>) -> Step {
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
    fn look_for_lost_records(&self, mark: u64, looked: Instant) {
        if self.parts.spool.status().records > 0 || !self.late().is_empty() {
            return;
        }
        self.ledger.spool_seen_empty(looked);
        let gone = self.ledger.spool_was_empty(mark);
        if gone > 0 {
            tracing::error!(records = gone, "drain.spooled_records_gone");
        }
    }

    /// What the store is to keep now of what was spooled then.
    pub(super) fn due(&self, record: &Spooled) -> Capture {
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

    /// Has the store keep captures. Where nothing may make room for one, it is kept beyond the limit: whoever captured has its
    /// acknowledgement.
    pub(super) async fn keep(&self, captures: Vec<Capture>) -> Vec<Answer> {
        if captures.iter().all(|capture| capture.limits.is_none()) {
            return self.ask(captures).await;
        }
        let mut answers = self.ask(captures.clone()).await;
        let is_full = |answer: &Answer| matches!(answer, Err(CaptureError::LimitReached { .. }));
        let refused: Vec<usize> =
            (0..).zip(&answers).filter(|(_, it)| is_full(it)).map(|(at, _)| at).collect();
        if !refused.is_empty() {
            let unlimited =
                refused.iter().map(|at| Capture { limits: None, ..captures[*at].clone() });
            let mut again = self.ask(unlimited.collect()).await.into_iter();
            for at in refused {
                // An answer that is owed is no refusal.
                answers[at] = again.next().unwrap_or_else(|| Err(owed()));
            }
        }
        answers
    }

    async fn ask(&self, captures: Vec<Capture>) -> Vec<Answer> {
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
        let mut written = false;
        for record in records {
            let id = record.capture.op.id;
            match answers.next() {
                Some(answer @ Ok(_)) => {
                    written |= was_written(&answer);
                    kept.extend(answer.map(|captured| (id, landing_of(id, &captured))));
                    through = Some(record.position);
                }
                Some(Err(error)) if refused_for_good(&error) => {
                    self.remove(through.take(), &mut kept).await?;
                    self.set_aside(&record, &error).await?;
                }
                failed => {
                    // What the store has is removed first, so that it is not asked for it again.
                    let removed = self.remove(through.take(), &mut kept).await;
                    let trouble = trouble(failed.as_ref());
                    let takes_others = answers.any(|answer| was_written(&answer));
                    self.failed_at(&record, failed.as_ref(), takes_others);
                    removed?;
                    return Err(trouble);
                }
            }
        }
        if written {
            self.parts.gate.up();
        }
        self.remove(through, &mut kept).await
    }

    async fn remove(
        &self,
        through: Option<SpoolPosition>,
        kept: &mut Vec<(EntryId, Landing)>,
    ) -> Result<(), String> {
        let Some(through) = through else { return Ok(()) };
        let leaving = std::mem::take(kept);
        let removing = self.parts.spool.remove(through);
        self.gone(through, leaving, removing).await?;
        tracing::debug!(through = through.record, lane = through.lane, "drain.records_stored");
        Ok(())
    }

    async fn set_aside(&self, record: &Spooled, error: &CaptureError) -> Result<(), String> {
        let (id, reason) = (record.capture.op.id, Chain(error).to_string());
        tracing::error!(%id, domain = %record.capture.op.domain, reason, "drain.record_set_aside");
        let setting_aside = self.parts.spool.set_aside(record.position, reason);
        self.gone(record.position, vec![(id, Landing::SetAside)], setting_aside).await
    }

    /// Counts records as gone once the spool says so. If it doesn't, the next look at their lane tells.
    pub(super) async fn gone(
        &self,
        through: SpoolPosition,
        leaving: Vec<(EntryId, Landing)>,
        call: impl Future<Output = Result<(), SpoolError>>,
    ) -> Result<(), String> {
        let trouble = match timeout(self.policy.timeout, call).await {
            Ok(Ok(())) => {
                self.count_gone(leaving);
                return Ok(());
            }
            Ok(Err(error)) => Chain(&error).to_string(),
            Err(_elapsed) => "the spool did not answer in time".to_owned(),
        };
        self.leaving().push((through, leaving));
        Err(trouble)
    }

    /// Counts what left the spool unheard, as the oldest record that is there tells. What is there still will be counted when it leaves.
    fn count_removed(&self, oldest: Option<SpoolPosition>) {
        let leaving = std::mem::take(&mut *self.leaving());
        for (through, records) in leaving {
            match oldest {
                Some(oldest) if oldest.lane != through.lane => {
                    self.leaving().push((through, records));
                }
                Some(oldest) if oldest.record <= through.record => {}
                Some(_) | None => self.count_gone(records),
            }
        }
    }

    fn count_gone(&self, records: Vec<(EntryId, Landing)>) {
        for (id, landing) in records {
            self.landed(id, landing);
            let answer = landing.as_str();
            ::metrics::counter!(metrics::DRAIN_RECORDS.name, "answer" => answer).increment(1);
            let mut status = self.status();
            match landing {
                Landing::Stored | Landing::Merged => status.drained += 1,
                Landing::SetAside => status.set_aside += 1,
                Landing::Parked => status.parked += 1,
            }
        }
    }

    fn landed(&self, id: EntryId, landing: Landing) {
        match self.parts.marks.left(id) {
            Known::AsSpooled => self.ledger.landed(id, landing),
            Known::AsStray => self.ledger.landed_astray(id, landing),
            Known::Unheard => self.ledger.landed_unheard(id, landing),
            // Its capture is in flight yet, and will be counted by its answer.
            Known::UnderWay => self.late().push((id, landing)),
        }
    }

    /// Counts the records that left the spool before their appends were answered, as far as they are by now.
    fn count_late(&self) {
        let late = std::mem::take(&mut *self.late());
        for (id, landing) in late {
            self.landed(id, landing);
        }
    }
}

fn owed() -> CaptureError {
    BackendError::new("store", "answer a capture", BackendKind::Other).retryable().into()
}

pub(super) fn trouble(failed: Option<&Answer>) -> String {
    match failed {
        Some(Err(error)) => Chain(error).to_string(),
        Some(Ok(_)) | None => "the store owes an answer".to_owned(),
    }
}
