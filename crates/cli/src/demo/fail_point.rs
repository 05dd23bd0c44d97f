//! Where checkout can be held until it is killed, and the mistakes that the demo must show.
//!
//! All are decorators of the library's own ports: checkout itself knows nothing of them.

use std::{
    future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use baldur::{
    FailedOp,
    command::Capture,
    name::IdempotencyKey,
    port::{
        CaptureError, CaptureStore, Captured, Disposition, Durability, Gate, ReplayContext,
        ReplayHandler, ReplayOutcome,
    },
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

use super::wire::{FailPoint, HoldPoint, Report};

/// How late the mistaken store commits what it has acknowledged, and how long another waits for its store.
const LATE: Duration = Duration::from_millis(300);

/// The fail points of this process.
#[derive(Clone, Debug)]
pub(super) struct FailPoints {
    armed: Arc<Mutex<Armed>>,
    reports: mpsc::Sender<Report>,
}

/// How many captures and replays pass before the next is held. `None` when not armed.
#[derive(Debug, Default)]
struct Armed {
    captures: Option<u64>,
    replays: Option<u64>,
}

impl FailPoints {
    pub(super) fn new(reports: mpsc::Sender<Report>) -> Self {
        Self { armed: Arc::default(), reports }
    }

    /// Arms a fail point; the count begins now.
    pub(super) fn arm(&self, fail_point: FailPoint) {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        match fail_point {
            FailPoint::Capture(nth) => armed.captures = Some(nth.saturating_sub(1)),
            FailPoint::Replay(nth) => armed.replays = Some(nth.saturating_sub(1)),
        }
    }

    /// Counts a capture. The n-th is held before its commit, the next one after it.
    fn capture(&self) -> Option<HoldPoint> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        match armed.captures {
            None => None,
            Some(0) => {
                armed.captures = Some(u64::MAX);
                Some(HoldPoint::BeforeCommit)
            }
            Some(u64::MAX) => {
                armed.captures = None;
                Some(HoldPoint::AfterCommit)
            }
            Some(left) => {
                armed.captures = Some(left - 1);
                None
            }
        }
    }

    /// Counts a replay that was charged. The n-th is held.
    fn replay(&self) -> Option<HoldPoint> {
        let mut armed = self.armed.lock().unwrap_or_else(PoisonError::into_inner);
        let left = armed.replays?;
        armed.replays = left.checked_sub(1);
        (left == 0).then_some(HoldPoint::AfterCharge)
    }

    /// Says so, and never returns.
    async fn hold(&self, at: HoldPoint) {
        // Without a listener nobody kills the process, and holding it for ever is still what was asked for.
        let _ = self.reports.send(Report::Held { at }).await;
        future::pending::<()>().await;
    }
}

/// A store whose captures can be held.
#[derive(Debug)]
pub(super) struct HoldingStore {
    pub(super) store: Arc<dyn CaptureStore>,
    pub(super) fail_points: FailPoints,
}

#[async_trait]
impl CaptureStore for HoldingStore {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let held = self.fail_points.capture();
        if held == Some(HoldPoint::BeforeCommit) {
            self.fail_points.hold(HoldPoint::BeforeCommit).await;
        }
        let answers = self.store.capture_batch(captures).await;
        if let Some(at) = held {
            self.fail_points.hold(at).await;
        }
        answers
    }
}

/// A handler whose replays can be held after they worked.
#[derive(Debug)]
pub(super) struct HoldingHandler {
    pub(super) handler: Arc<dyn ReplayHandler>,
    pub(super) fail_points: FailPoints,
}

#[async_trait]
impl ReplayHandler for HoldingHandler {
    async fn can_replay(&self, op: &FailedOp) -> Gate {
        self.handler.can_replay(op).await
    }

    async fn replay(&self, op: &FailedOp, context: ReplayContext) -> ReplayOutcome {
        let outcome = self.handler.replay(op, context).await;
        let charged =
            matches!(outcome, ReplayOutcome::Succeeded { .. } | ReplayOutcome::AlreadyDone { .. });
        if charged && let Some(at) = self.fail_points.replay() {
            self.fail_points.hold(at).await;
        }
        outcome
    }
}

/// Mistake: it says that a capture is stored before it is.
#[derive(Debug)]
pub(super) struct AckBeforeCommit(pub(super) Arc<dyn CaptureStore>);

#[async_trait]
impl CaptureStore for AckBeforeCommit {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let answers = captures
            .iter()
            .map(|capture| {
                Ok(Captured::new(
                    capture.op.id,
                    Durability::Stored { level: "promised".into() },
                    1,
                    Disposition::New,
                ))
            })
            .collect();
        let store = Arc::clone(&self.0);
        tokio::spawn(async move {
            sleep(LATE).await;
            store.capture_batch(captures).await
        });
        answers
    }
}

/// Mistake: a capture that the store doesn't take is acknowledged all the same. The host has no spool, and takes it that
/// the store will be back in a moment.
#[derive(Debug)]
pub(super) struct ForgetWhenOut(pub(super) Arc<dyn CaptureStore>);

#[async_trait]
impl CaptureStore for ForgetWhenOut {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        let ids: Vec<_> = captures.iter().map(|capture| capture.op.id).collect();
        let answers = timeout(LATE, self.0.capture_batch(captures)).await;
        let mut answers = answers.unwrap_or_default().into_iter();
        ids.into_iter()
            .map(|id| {
                let promised = Captured::new(id, Durability::Spooled, 1, Disposition::New);
                Ok(answers.next().and_then(Result::ok).unwrap_or(promised))
            })
            .collect()
    }
}

/// Mistake: each replay shows the target a key of its own.
#[derive(Debug)]
pub(super) struct NewKeyPerReplay(pub(super) Arc<dyn ReplayHandler>);

#[async_trait]
impl ReplayHandler for NewKeyPerReplay {
    async fn can_replay(&self, op: &FailedOp) -> Gate {
        self.0.can_replay(op).await
    }

    async fn replay(&self, op: &FailedOp, context: ReplayContext) -> ReplayOutcome {
        let key = format!("{}-replay-{}", op.idempotency_key, context.attempt);
        match IdempotencyKey::parse(&key) {
            Ok(idempotency_key) => {
                self.0.replay(&FailedOp { idempotency_key, ..op.clone() }, context).await
            }
            Err(error) => ReplayOutcome::Permanent { error: error.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_is_held_and_none_after_it() {
        let points = FailPoints::new(mpsc::channel(1).0);
        assert_eq!((points.capture(), points.replay()), (None, None));
        points.arm(FailPoint::Capture(2));
        points.arm(FailPoint::Replay(3));
        let captures: Vec<_> = (0..5).map(|_| points.capture()).collect();
        let held = [HoldPoint::BeforeCommit, HoldPoint::AfterCommit].map(Some);
        assert_eq!(captures, [None, held[0], held[1], None, None]);
        let replays: Vec<_> = (0..5).map(|_| points.replay()).collect();
        assert_eq!(replays, [None, None, Some(HoldPoint::AfterCharge), None, None]);
    }
}
