//! A request that a handler works on.

use std::panic::{AssertUnwindSafe, catch_unwind};

use baldur_core::{EntryId, NewFailedOp, NotReplayable, id, name::IdempotencyKey, port::Captured};
use bytes::Bytes;
use http::{HeaderValue, request::Parts};

use super::{HANDLER_PANICKED, IDEMPOTENCY_KEY, RequestForm, server::Shared};
use crate::{
    Env, Who,
    protect::{CALL_DROPPED, CallFailure, NotKept, OnDrop, capture::ToKeep},
};

/// A request, to be captured if its handler fails, or if its future is dropped.
pub(super) struct Pending<'s> {
    shared: &'s Shared,
    parts: Parts,
    /// `None` for one that is too long to be kept.
    body: Option<Bytes>,
    id: EntryId,
    key: IdempotencyKey,
    over: bool,
}

impl<'s> Pending<'s> {
    /// Gives the request its key.
    pub(super) fn new(shared: &'s Shared, parts: &mut Parts, body: Option<Bytes>) -> Self {
        let Env { clock, ids, .. } = &shared.env;
        let id = id::mint(&**ids, clock.now(), None);
        let given = parts.headers.get(&IDEMPOTENCY_KEY).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| IdempotencyKey::parse(value).ok());
        let key = given.unwrap_or_else(|| {
            let key = IdempotencyKey::of_entry(id);
            // A key is visible ASCII, so it is a header value, too.
            if let Ok(value) = HeaderValue::from_str(key.as_str()) {
                parts.headers.insert(IDEMPOTENCY_KEY, value);
            }
            key
        });
        Self { shared, parts: parts.clone(), body, id, key, over: false }
    }

    /// The handler answered, and nothing is to be kept.
    pub(super) fn over(mut self) {
        self.over = true;
    }

    /// Keeps the request.
    pub(super) async fn kept(mut self, failure: CallFailure) -> Result<Captured, NotKept> {
        self.over = true;
        let kept = self.shared.keeper.keep(self.to_keep(failure)).await;
        if let Err(error) = &kept {
            tracing::error!(entry = %self.id, error = %error, "tower.capture_failed");
        }
        kept
    }

    fn to_keep(&self, failure: CallFailure) -> ToKeep {
        let Shared { policy, domain, dependency, describe, rules, .. } = self.shared;
        let form = RequestForm::new(&self.parts, self.body.as_ref(), &policy.headers, rules);
        let op = NewFailedOp::new(domain, "").request_data(form.to_json());
        let mut op = match describe {
            // It may run while a panic of the handler unwinds, where a second one would end the process.
            Some(describe) => {
                let plain = op.clone();
                catch_unwind(AssertUnwindSafe(|| describe(&self.parts, op))).unwrap_or_else(|_| {
                    tracing::error!(entry = %self.id, "tower.describe_panicked");
                    plain
                })
            }
            None => op,
        };
        if op.dependency.is_none() {
            op.dependency.clone_from(dependency);
        }
        op.id = Some(self.id);
        op.idempotency_key = Some(self.key.as_str().to_owned());
        let not_replayable = self.body.is_none().then_some(NotReplayable::RequestTooLarge);
        ToKeep { not_replayable, ..ToKeep::new(op, failure, Who::system()) }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let failure = if std::thread::panicking() {
            CallFailure::transient(HANDLER_PANICKED, "the handler panicked")
        } else if self.shared.policy.on_drop == OnDrop::Capture {
            let message = "the client went away while the handler was at work; it may have worked";
            CallFailure::transient(CALL_DROPPED, message)
        } else {
            return;
        };
        self.shared.keeper.keep_in_background(self.to_keep(failure));
    }
}
