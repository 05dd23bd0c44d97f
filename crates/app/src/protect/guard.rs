//! The guard: what callers hold.

use std::{future::Future, sync::Arc};

use baldur_core::{
    EntryId, NewFailedOp, id,
    name::{IdempotencyKey, ServiceName},
    policy::BreakerState,
};

#[cfg(feature = "tower")]
use baldur_core::{Clock, policy::redact::RedactionRules};

use super::{
    CallFailure, ClassifyFailure, Operation, ProtectBuilder, ProtectError, ProtectPolicy,
    Protected, RetryBudget,
    bulkhead::Bulkhead,
    capture::Keeper,
    meter::Meter,
    operation::{ByTrait, NoFallback},
};
use crate::{Env, Who, breakers::ManagedBreaker, capture::CaptureService};

/// Guards the calls to one dependency. Cheap to clone; clones share breaker, budget and concurrency limit.
#[derive(Clone, Debug)]
pub struct Protect {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) name: ServiceName,
    pub(super) policy: ProtectPolicy,
    pub(super) env: Env,
    pub(super) breaker: ManagedBreaker,
    pub(super) budget: RetryBudget,
    pub(super) bulkhead: Option<Bulkhead>,
    pub(super) keeper: Keeper,
    pub(super) meter: Meter,
}

impl Inner {
    /// The id of an entry that goes where its own keys say.
    pub(super) fn mint(&self, routed_by: Option<&str>) -> EntryId {
        let Env { clock, ids, .. } = &self.env;
        id::mint(&**ids, clock.now(), routed_by)
    }
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

impl Protect {
    /// Begins a guard for the dependency of this name, whose failed calls `capture` keeps.
    pub fn builder(name: &str, capture: CaptureService) -> ProtectBuilder {
        ProtectBuilder::new(name, capture)
    }

    /// A guard by this policy: the builder in one step.
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
        Self::builder(name, capture).policy(policy).env(env).build()
    }

    pub(super) fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner) }
    }

    pub(super) fn inner(&self) -> &Inner {
        &self.inner
    }

    /// What the entries of failed calls are cleaned by.
    #[cfg(feature = "tower")]
    pub(crate) fn redaction(&self) -> &RedactionRules {
        self.inner.keeper.redaction()
    }

    #[cfg(feature = "tower")]
    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.inner.env.clock
    }

    /// The dependency.
    pub fn name(&self) -> &ServiceName {
        &self.inner.name
    }

    /// How its calls are protected.
    pub fn policy(&self) -> &ProtectPolicy {
        &self.inner.policy
    }

    /// How the breaker stood after the last call. An open one whose time is over lets the next call probe.
    pub fn state(&self) -> BreakerState {
        self.inner.breaker.state()
    }

    /// Its breaker.
    pub fn breaker(&self) -> &ManagedBreaker {
        &self.inner.breaker
    }

    /// The retries that are left, to be looked at or shared with other guards.
    pub fn retry_budget(&self) -> &RetryBudget {
        &self.inner.budget
    }

    /// Makes a call, and keeps it if it fails.
    ///
    /// `call` gets the idempotency key, the same for all tries, and the number of the try from 1. It must be
    /// cancel-safe: its future is dropped when its time is up. What dropping this future means stands in the
    /// [module's documentation](crate::protect).
    ///
    /// [`operation`](Self::operation) does the same without having the context made for calls that work, and takes a
    /// fallback.
    ///
    /// # Errors
    ///
    /// See [`Protected`]. Failure of the capture never hides the failure of the call.
    pub async fn call<T, E, F, Fut>(&self, context: CallContext, call: F) -> Result<T, Protected<E>>
    where
        T: Send,
        E: ClassifyFailure + Send,
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
        mut call: F,
    ) -> Result<T, Protected<E>>
    where
        T: Send,
        E: Send,
        C: Fn(&E) -> CallFailure + Send + Sync,
        F: FnMut(IdempotencyKey, u32) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let CallContext { op, who } = context;
        let given = op.idempotency_key.as_deref().map(IdempotencyKey::parse).transpose();
        let given = given.map_err(Protected::InvalidKey)?;
        let routed_by = op.order_key.as_deref().or(op.dedup_key.as_deref());
        let id = op.id.unwrap_or_else(|| self.inner.mint(routed_by));
        let key = given.unwrap_or_else(|| IdempotencyKey::of_entry(id));
        let operation = self.operation(move || op).id(id).idempotency_key(key).who(who);
        let guarded = operation
            .classify(classify)
            .run(|attempt| call(attempt.key(), attempt.number()))
            .await?;
        Ok(guarded.value)
    }

    /// Begins a call whose context is made only if it fails.
    ///
    /// `context` is called at most once: when the call is to be captured, be it failed or dropped. It must neither
    /// block nor depend on what the call changes. The `id` and `idempotency_key` that it names come too late and are
    /// not looked at: give them to the [`Operation`].
    pub fn operation<B>(&self, context: B) -> Operation<'_, B, ByTrait, NoFallback>
    where
        B: FnOnce() -> NewFailedOp + Send,
    {
        Operation::new(self, context)
    }
}
