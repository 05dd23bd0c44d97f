//! The guard: what callers hold, and the way of one call through it.

use std::{future::Future, sync::Arc, time::Duration};

use baldur_core::{
    EntryId, NewFailedOp, id,
    name::{IdempotencyKey, NameError, ServiceName},
    policy::{BreakerState, CallOutcome, at_least},
};
use tokio::time::{sleep, timeout};

use super::{
    CALL_TIMEOUT, CIRCUIT_OPEN, CallFailure, ClassifyFailure, FailedCall, FailureKind, OnPermanent,
    ProtectError, ProtectPolicy, Protected,
    capture::{Keeper, UnderWay},
};
use crate::{
    Env, Who,
    breakers::{Breakers, ManagedBreaker, Permit, Rejection},
    capture::CaptureService,
};

/// Guards the calls to one dependency. Cheap to clone; clones share the breaker.
#[derive(Clone, Debug)]
pub struct Protect {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    name: ServiceName,
    policy: ProtectPolicy,
    env: Env,
    breaker: ManagedBreaker,
    keeper: Keeper,
}

/// What a call is about: all that a replay would need.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// The operation. Its failure type, code and message are those of the failure; `dependency` is the guard's
    /// name, `id` is minted, and `idempotency_key` is the id, where it names none.
    pub op: NewFailedOp,
    /// Who calls.
    pub who: Who,
}

impl CallContext {
    /// A call by the system itself.
    pub fn new(op: NewFailedOp) -> Self {
        Self { op, who: Who::system() }
    }

    /// Says who calls.
    #[must_use]
    pub fn who(mut self, who: Who) -> Self {
        self.who = who;
        self
    }
}

/// How one try ended badly.
struct Failed<E> {
    cause: FailedCall<E>,
    failure: CallFailure,
}

impl Protect {
    /// A guard for the dependency of this name, with a closed breaker of its own.
    ///
    /// # Errors
    ///
    /// When the name is none or a value of the policy is out of its range.
    pub fn new(
        name: &str,
        capture: CaptureService,
        policy: ProtectPolicy,
        env: Env,
    ) -> Result<Self, ProtectError> {
        let breakers = Breakers::new(&env);
        Self::with_breakers(name, capture, policy, env, &breakers)
    }

    /// As [`new`](Self::new), with the breaker of that name from `breakers`.
    ///
    /// # Errors
    ///
    /// When the name is none or a value of the policy is out of its range.
    pub fn with_breakers(
        name: &str,
        capture: CaptureService,
        policy: ProtectPolicy,
        env: Env,
        breakers: &Breakers,
    ) -> Result<Self, ProtectError> {
        policy.check()?;
        let name = ServiceName::parse(name)?;
        let breaker = breakers.get(&name, policy.breaker);
        let keeper = Keeper::new(capture, &policy);
        Ok(Self { inner: Arc::new(Inner { name, policy, env, breaker, keeper }) })
    }

    /// The dependency.
    pub fn name(&self) -> &ServiceName {
        &self.inner.name
    }

    /// How the breaker stood after the last call. An open one whose time is over lets the next call probe.
    pub fn state(&self) -> BreakerState {
        self.inner.breaker.state()
    }

    /// Makes a call, and keeps it if it fails.
    ///
    /// `call` gets the idempotency key, the same for all tries, and the number of the try from 1. It must be
    /// cancel-safe: its future is dropped when its time is up.
    ///
    /// What dropping this future means stands in the [module's documentation](crate::protect).
    ///
    /// # Errors
    ///
    /// See [`Protected`]. Failure of the capture never hides the failure of the call.
    pub async fn call<T, E, F, Fut>(&self, context: CallContext, call: F) -> Result<T, Protected<E>>
    where
        T: Send,
        E: ClassifyFailure + Send + Sync,
        F: FnMut(IdempotencyKey, u32) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        self.call_with(context, E::classify, call).await
    }

    /// As [`call`](Self::call), for errors that don't implement [`ClassifyFailure`].
    ///
    /// # Errors
    ///
    /// See [`Protected`].
    pub async fn call_with<T, E, C, F, Fut>(
        &self,
        context: CallContext,
        classify: C,
        call: F,
    ) -> Result<T, Protected<E>>
    where
        T: Send,
        E: Send + Sync,
        C: Fn(&E) -> CallFailure + Send + Sync,
        F: FnMut(IdempotencyKey, u32) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let Inner { policy, keeper, .. } = &*self.inner;
        let (op, id, key) = self.minted(context.op).map_err(Protected::InvalidKey)?;
        let under_way = UnderWay::new(keeper, op, context.who);
        let ended = self.tries(&key, classify, call).await;
        let (op, who) = under_way.ended();
        let Failed { cause, failure } = match ended {
            Ok(value) => return Ok(value),
            Err(failed) => failed,
        };
        let returned = match failure.kind {
            FailureKind::Transient => false,
            FailureKind::Permanent => policy.on_permanent == OnPermanent::Return,
            FailureKind::Rejected => true,
        };
        match cause {
            FailedCall::Error(error) if returned => Err(Protected::Returned(error)),
            cause @ (FailedCall::Error(_)
            | FailedCall::TimedOut { .. }
            | FailedCall::BreakerOpen { .. }) => Err(match keeper.keep(op, failure, who).await {
                Ok(captured) => Protected::Captured { captured, cause },
                Err(error) => {
                    tracing::error!(entry = %id, error = %error, "protect.capture_failed");
                    Protected::NotCaptured { id, error, cause }
                }
            }),
        }
    }

    /// Gives the operation the id and the key that its entry would have, before the first try.
    fn minted(
        &self,
        mut op: NewFailedOp,
    ) -> Result<(NewFailedOp, EntryId, IdempotencyKey), NameError> {
        let Env { clock, ids, .. } = &self.inner.env;
        let routed_by = op.order_key.as_deref().or(op.dedup_key.as_deref());
        let id = op.id.unwrap_or_else(|| id::mint(&**ids, clock.now(), routed_by));
        let key = match &op.idempotency_key {
            Some(key) => IdempotencyKey::parse(key)?,
            None => IdempotencyKey::of_entry(id),
        };
        op.id = Some(id);
        op.idempotency_key = Some(key.as_str().to_owned());
        op.dependency.get_or_insert_with(|| self.inner.name.as_str().to_owned());
        Ok((op, id, key))
    }

    async fn tries<T, E, C, F, Fut>(
        &self,
        key: &IdempotencyKey,
        classify: C,
        mut call: F,
    ) -> Result<T, Failed<E>>
    where
        T: Send,
        E: Send + Sync,
        C: Fn(&E) -> CallFailure + Send + Sync,
        F: FnMut(IdempotencyKey, u32) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let policy = &self.inner.policy;
        let mut last = None;
        let mut attempt = 1;
        loop {
            let permit = match self.inner.breaker.admit() {
                Ok(permit) => permit,
                // That the breaker is open now says less than why the call failed before.
                Err(Rejection { retry_in, .. }) => {
                    return Err(last.unwrap_or_else(|| self.rejected(retry_in)));
                }
            };
            let made = self.made(permit, &classify, call(key.clone(), attempt)).await;
            let failed = match made {
                Ok(value) => return Ok(value),
                Err(failed) => failed,
            };
            if failed.failure.kind != FailureKind::Transient || attempt == policy.tries {
                return Err(failed);
            }
            let delay = policy.backoff.delay(attempt - 1, self.unit());
            sleep(at_least(delay, failed.failure.retry_after, policy.backoff.cap())).await;
            last = Some(failed);
            attempt += 1;
        }
    }

    /// One try, within its time, with its outcome told to the breaker.
    async fn made<T, E>(
        &self,
        permit: Permit,
        classify: &(dyn Fn(&E) -> CallFailure + Send + Sync),
        call: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, Failed<E>> {
        let limit = self.inner.policy.timeout;
        match timeout(limit, call).await {
            Ok(Ok(value)) => {
                permit.end(CallOutcome::Success);
                Ok(value)
            }
            Ok(Err(error)) => {
                let failure = classify(&error);
                permit.end(match failure.kind {
                    FailureKind::Transient => CallOutcome::Failure,
                    FailureKind::Permanent => CallOutcome::Ignored,
                    FailureKind::Rejected => CallOutcome::Success,
                });
                Err(Failed { cause: FailedCall::Error(error), failure })
            }
            Err(_elapsed) => {
                permit.end(CallOutcome::Failure);
                let message = format!("no answer from {} within {limit:?}", self.inner.name);
                let failure = CallFailure::transient(CALL_TIMEOUT, message);
                Err(Failed { cause: FailedCall::TimedOut { after: limit }, failure })
            }
        }
    }

    fn rejected<E>(&self, retry_in: Duration) -> Failed<E> {
        let message = format!("the circuit to {} is open", self.inner.name);
        let failure = CallFailure::transient(CIRCUIT_OPEN, message).retry_after(retry_in);
        Failed { cause: FailedCall::BreakerOpen { retry_in }, failure }
    }

    fn unit(&self) -> f64 {
        crate::env::unit(self.inner.env.ids.entropy())
    }
}
