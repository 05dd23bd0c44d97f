//! The listener of a run, who must never hold it up.

use baldur_core::{FailedOp, port::ClaimError};
use tokio::sync::mpsc::{Sender, error::TrySendError};

use super::{ItemResult, ReplayEvent, ReplayReport};

/// Counts what happens and tells whoever listens.
#[derive(Debug)]
pub(super) struct Listener {
    events: Option<Sender<ReplayEvent>>,
    pub(super) report: ReplayReport,
    /// The first refusal, for callers that asked for one entry.
    pub(super) first_refusal: Option<ClaimError>,
}

impl Listener {
    pub(super) fn new(events: Option<Sender<ReplayEvent>>, dry_run: bool) -> Self {
        let report = ReplayReport { dry_run, ..ReplayReport::default() };
        Self { events, report, first_refusal: None }
    }

    /// Counts an entry and tells of it.
    pub(super) fn item(&mut self, item: ItemResult) {
        tracing::debug!(
            entry = %item.id,
            outcome = item.outcome.as_str(),
            status = item.status.map(baldur_core::Status::as_str),
            "replay.item"
        );
        self.report.add(item.outcome);
        self.tell(ReplayEvent::Item(item));
    }

    /// Tells, unless the listener is behind: then the event is counted as dropped.
    pub(super) fn tell(&mut self, event: ReplayEvent) {
        let Some(events) = &self.events else { return };
        match events.try_send(event) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.report.events_dropped += 1,
            Err(TrySendError::Closed(_)) => self.events = None,
        }
    }

    /// Ends the run.
    pub(super) fn finish(mut self) -> (ReplayReport, Option<ClaimError>) {
        let report = self.report.clone();
        tracing::info!(
            claimed = report.claimed,
            succeeded = report.succeeded,
            failed = report.failed,
            deferred = report.deferred,
            stale = report.stale,
            stop = ?report.stop,
            "replay.finished"
        );
        self.tell(ReplayEvent::Finished(report));
        (self.report, self.first_refusal)
    }
}

/// Which attempt the next one of an entry is, counted from 1 over its life.
pub(super) fn attempt_number(op: &FailedOp) -> u64 {
    op.state.attempts.total() + 1
}
