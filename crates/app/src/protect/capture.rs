//! The one capture of a failed call: in a task of its own, within its time.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

#[cfg(feature = "tower")]
use baldur_core::policy::redact::RedactionRules;
use baldur_core::{
    EntryId, NewFailedOp, NotReplayable, OpState, Retry,
    command::Capture,
    policy::{
        BackoffPolicy, Jitter,
        domain::{OTHER_DOMAIN, UNKNOWN_NAME},
    },
    port::Captured,
};
use tokio::{
    runtime::Handle,
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};

use super::{
    CALL_DROPPED, CallFailure, NotKept, OnDrop, ProtectPolicy, guard::Inner, keys::Keys,
    meter::Ended, operation::Given,
};
use crate::{
    Who,
    capture::{CaptureService, Oversize},
};

/// A failed call, as it is handed over.
#[derive(Debug)]
pub(crate) struct ToKeep {
    pub(crate) op: NewFailedOp,
    pub(crate) failure: CallFailure,
    pub(crate) who: Who,
    /// Why it can't be replayed, for what the operation itself doesn't show.
    pub(crate) not_replayable: Option<NotReplayable>,
}

impl ToKeep {
    pub(crate) fn new(op: NewFailedOp, failure: CallFailure, who: Who) -> Self {
        Self { op, failure, who, not_replayable: None }
    }
}

/// Keeps failed calls.
#[derive(Clone, Debug)]
pub(crate) struct Keeper {
    service: CaptureService,
    timeout: Duration,
    max_wait: Duration,
    on_drop: OnDrop,
    background: Arc<Semaphore>,
}

impl Keeper {
    pub(crate) fn new(service: CaptureService, policy: &ProtectPolicy) -> Self {
        Self {
            service,
            timeout: policy.capture_timeout,
            max_wait: policy.max_wait,
            on_drop: policy.on_drop,
            background: Arc::new(Semaphore::new(policy.background_captures)),
        }
    }

    #[cfg(feature = "tower")]
    pub(super) fn redaction(&self) -> &RedactionRules {
        &self.service.policy().redaction
    }

    /// Keeps a call that failed. The capture ends by itself, also when the caller goes away.
    pub(crate) async fn keep(&self, call: ToKeep) -> Result<Captured, NotKept> {
        let task = tokio::spawn(self.clone().keep_in_time(call));
        task.await.unwrap_or(Err(NotKept::Interrupted))
    }

    async fn keep_in_time(self, call: ToKeep) -> Result<Captured, NotKept> {
        let ToKeep { op, failure, who, not_replayable } = call;
        let until = Instant::now() + self.timeout;
        let retry_after = failure.retry_after.unwrap_or_default().min(self.max_wait);
        let mut capture =
            self.service.prepare(described(op, failure), &who, Oversize::KeepUnreplayable)?;
        let state = &capture.op.state;
        if not_replayable.is_some() && state.not_replayable.is_none() {
            let fresh = OpState::captured(state.max_retries, not_replayable, capture.op.created_at);
            capture.op.state = fresh;
        }
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
    pub(crate) fn keep_in_background(&self, call: ToKeep) {
        let id = call.op.id.map(|id| id.to_string());
        let room = Arc::clone(&self.background).try_acquire_owned();
        let (Ok(room), Ok(runtime)) = (room, Handle::try_current()) else {
            tracing::error!(id, "protect.dropped_call_lost");
            return;
        };
        let keeping = self.clone().keep_in_time(call);
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

/// What a call is about, as far as it is known before it fails.
struct Subject<B> {
    context: B,
    given: Option<Box<Given>>,
}

impl<B: FnOnce() -> NewFailedOp> Subject<B> {
    /// The operation to capture, under the key that its tries had.
    fn made(self, guard: &Inner, keys: &Keys) -> (NewFailedOp, EntryId, Who) {
        let Self { context, given } = self;
        let mut op = catch_unwind(AssertUnwindSafe(context)).unwrap_or_else(|_| {
            // An entry that tells little can be asked about; a lost one can't.
            tracing::error!(dependency = %guard.name, "protect.context_panicked");
            NewFailedOp::new(OTHER_DOMAIN, UNKNOWN_NAME)
        });
        let Given { id, who, key: _ } = given.map(|given| *given).unwrap_or_default();
        let routed_by = op.order_key.as_deref().or(op.dedup_key.as_deref());
        let id = match (id, routed_by) {
            (None, Some(_)) => guard.mint(routed_by),
            (Some(id), _) => id,
            (None, None) => keys.id(),
        };
        op.id = Some(id);
        op.idempotency_key = Some(keys.key().as_str().to_owned());
        op.dependency.get_or_insert_with(|| guard.name.as_str().to_owned());
        (op, id, who.unwrap_or_else(Who::system))
    }
}

/// A call under way, to be captured if its future is dropped.
pub(super) struct UnderWay<'g, B: FnOnce() -> NewFailedOp> {
    guard: &'g Inner,
    keys: &'g Keys,
    subject: Option<Subject<B>>,
    begun: Instant,
    /// Why the call failed, once it has.
    failure: Option<Box<CallFailure>>,
}

impl<'g, B: FnOnce() -> NewFailedOp> UnderWay<'g, B> {
    pub(super) fn new(
        guard: &'g Inner,
        keys: &'g Keys,
        context: B,
        given: Option<Box<Given>>,
        begun: Instant,
    ) -> Self {
        Self { guard, keys, subject: Some(Subject { context, given }), begun, failure: None }
    }

    pub(super) fn policy(&self) -> &'g ProtectPolicy {
        &self.guard.policy
    }

    /// The call worked, at this time.
    pub(super) fn over(mut self, ended: Ended, at: Instant) {
        self.count(ended, at);
        self.subject = None;
    }

    /// The call failed. Dropped from here on, it is captured as what it is.
    pub(super) fn failed(&mut self, failure: &CallFailure, ended: Ended) {
        self.count(ended, Instant::now());
        self.failure = Some(Box::new(failure.clone()));
    }

    /// The failure is not to be captured.
    pub(super) fn forgotten(mut self) {
        self.subject = None;
    }

    /// Captures the call.
    pub(super) async fn kept(
        mut self,
        failure: CallFailure,
    ) -> Result<Captured, (EntryId, NotKept)> {
        let guard = self.guard;
        let made = self.subject.take().map(|subject| subject.made(guard, self.keys));
        let Some((op, id, who)) = made else {
            return Err((self.keys.id(), NotKept::Interrupted));
        };
        drop(self);
        guard.keeper.keep(ToKeep::new(op, failure, who)).await.map_err(|error| {
            tracing::error!(entry = %id, error = %error, "protect.capture_failed");
            (id, error)
        })
    }

    fn count(&self, ended: Ended, at: Instant) {
        self.guard.meter.call(ended, at.saturating_duration_since(self.begun));
    }
}

impl<B: FnOnce() -> NewFailedOp> Drop for UnderWay<'_, B> {
    fn drop(&mut self) {
        let Some(subject) = self.subject.take() else { return };
        if self.failure.is_none() {
            self.count(Ended::Dropped, Instant::now());
        }
        match self.guard.keeper.on_drop {
            OnDrop::Capture => {
                let failure = self.failure.take().map_or_else(dropped, |failure| *failure);
                let (op, _, who) = subject.made(self.guard, self.keys);
                self.guard.keeper.keep_in_background(ToKeep::new(op, failure, who));
            }
            OnDrop::Ignore => {}
        }
    }
}

fn dropped() -> CallFailure {
    let message = "the caller went away while the call was under way; it may have worked";
    CallFailure::transient(CALL_DROPPED, message)
}
