//! The one capture of a failed call: in a task of its own, within its time.

use std::{mem, sync::Arc, time::Duration};

use baldur_core::{
    NewFailedOp, Retry,
    command::Capture,
    policy::{BackoffPolicy, Jitter},
    port::Captured,
};
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};

use super::{CALL_DROPPED, CallFailure, NotKept, OnDrop, ProtectPolicy};
use crate::{
    Who,
    capture::{CaptureService, Oversize},
};

/// Keeps failed calls.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    service: CaptureService,
    timeout: Duration,
    max_wait: Duration,
    on_drop: OnDrop,
    background: Arc<Semaphore>,
}

impl Keeper {
    pub(super) fn new(service: CaptureService, policy: &ProtectPolicy) -> Self {
        Self {
            service,
            timeout: policy.capture_timeout,
            max_wait: policy.max_wait,
            on_drop: policy.on_drop,
            background: Arc::new(Semaphore::new(policy.background_captures)),
        }
    }

    /// Keeps a call that failed. The capture ends by itself, also when the caller goes away.
    pub(super) async fn keep(
        &self,
        op: NewFailedOp,
        failure: CallFailure,
        who: Who,
    ) -> Result<Captured, NotKept> {
        let task = tokio::spawn(self.clone().keep_in_time(op, failure, who));
        task.await.unwrap_or(Err(NotKept::Interrupted))
    }

    async fn keep_in_time(
        self,
        op: NewFailedOp,
        failure: CallFailure,
        who: Who,
    ) -> Result<Captured, NotKept> {
        let until = Instant::now() + self.timeout;
        let retry_after = failure.retry_after.unwrap_or_default().min(self.max_wait);
        let mut capture =
            self.service.prepare(described(op, failure), &who, Oversize::KeepUnreplayable)?;
        capture.next_attempt_in = capture.next_attempt_in.max(retry_after);
        let mut last = NotKept::TimedOut { after: self.timeout };
        match timeout_at(until, self.repeat(capture, &mut last)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(last),
        }
    }

    /// Repeats a capture that may work later: it is idempotent by its id. Leaves its last failure in `last`.
    async fn repeat(&self, capture: Capture, last: &mut NotKept) -> Result<Captured, NotKept> {
        let (base, cap) = (Duration::from_millis(50), Duration::from_secs(1));
        let backoff = BackoffPolicy::new(base, 2.0, cap, Jitter::None).unwrap_or_default();
        for attempt in 0.. {
            let answer = self.service.keep(vec![capture.clone()]).await.pop();
            match answer {
                Some(Ok(captured)) => return Ok(captured),
                Some(Err(failure)) if failure.retry() == Retry::Never => return Err(failure.into()),
                Some(Err(failure)) => *last = failure.into(),
                None => return Err(NotKept::Interrupted),
            }
            sleep(backoff.delay(attempt, 0.0)).await;
        }
        Err(NotKept::Interrupted)
    }

    /// Keeps a call whose future was dropped, if there is room and a runtime to do it.
    fn keep_in_background(&self, op: NewFailedOp, who: Who) {
        let id = op.id.map(|id| id.to_string());
        let room = Arc::clone(&self.background).try_acquire_owned();
        let (Ok(room), Ok(runtime)) = (room, Handle::try_current()) else {
            tracing::error!(id, "protect.dropped_call_lost");
            return;
        };
        let message = "the caller went away while the call was under way; it may have worked";
        let failure = CallFailure::transient(CALL_DROPPED, message);
        let keeping = self.clone().keep_in_time(op, failure, who);
        runtime.spawn(async move {
            if let Err(error) = keeping.await {
                tracing::error!(id, error = %error, "protect.dropped_call_lost");
            }
            drop(room);
        });
    }
}

/// The operation, with what is known of its failure.
fn described(mut op: NewFailedOp, failure: CallFailure) -> NewFailedOp {
    let CallFailure { failure_type, error_code, message, retry_after: _, kind: _ } = failure;
    op.failure_type = failure_type;
    op.error_code = error_code.or(op.error_code);
    op.error_message = Some(message);
    op
}

/// A call under way, to be captured if its future is dropped.
pub(super) struct UnderWay<'k> {
    keeper: &'k Keeper,
    op: NewFailedOp,
    who: Who,
    ended: bool,
}

impl<'k> UnderWay<'k> {
    pub(super) fn new(keeper: &'k Keeper, op: NewFailedOp, who: Who) -> Self {
        Self { keeper, op, who, ended: false }
    }

    /// The call ended; what becomes of it is the caller's to say.
    pub(super) fn ended(mut self) -> (NewFailedOp, Who) {
        self.ended = true;
        (mem::take(&mut self.op), self.who.clone())
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        match self.keeper.on_drop {
            OnDrop::Capture => {
                self.keeper.keep_in_background(mem::take(&mut self.op), self.who.clone());
            }
            OnDrop::Ignore => {}
        }
    }
}
