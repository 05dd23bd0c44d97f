//! One logical call: what it is given, and its way through the parts of a guard.

use std::{
    fmt,
    future::{Future, Ready, ready},
    sync::Arc,
    time::Duration,
};

use baldur_core::{EntryId, NewFailedOp, name::IdempotencyKey};
use tokio::time::{Instant, timeout_at};

use super::{
    CallFailure, ClassifyFailure, FailedCall, FailureKind, Guarded, OnFallback, OnPermanent,
    Protect, Protected, ValueFrom,
    capture::UnderWay,
    keys::{self, Keys},
    meter::Ended,
    tries::{Failed, Limits},
};
use crate::Who;

/// A call in the making: [`Protect::operation`].
///
/// ```
/// # use baldur_app::{CaptureService, protect::{CallFailure, FailedCall, Protect, ValueFrom}};
/// # use baldur_core::NewFailedOp;
/// # async fn charge(key: &str) -> Result<&'static str, CallFailure> { Ok("paid") }
/// # async fn doc(gateway: Protect) -> Result<(), Box<dyn std::error::Error>> {
/// let guarded = gateway
///     .operation(|| NewFailedOp::new("payment", "TIMEOUT").request_data(r#"{"amount": 1999}"#))
///     .fallback(|_failed: &FailedCall<CallFailure>| async { Some("will be paid later") })
///     .run(|attempt| async move { charge(attempt.key().as_str()).await })
///     .await?;
/// if guarded.from == ValueFrom::Fallback {
///     println!("kept as {:?}", guarded.captured.map(|captured| captured.id));
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a call is made by `run`"]
pub struct Operation<'g, B, C, R> {
    guard: &'g Protect,
    context: B,
    classify: C,
    fallback: R,
    /// Few say anything, and all move it.
    given: Option<Box<Given>>,
    tries: u32,
    deadline: Duration,
}

/// What a caller says of a call beforehand.
#[derive(Debug, Default)]
pub(super) struct Given {
    pub(super) id: Option<EntryId>,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) who: Option<Who>,
}

impl<B, C, R> fmt::Debug for Operation<'_, B, C, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("guard", self.guard.name()).finish_non_exhaustive()
    }
}

/// What a try is told.
#[derive(Clone, Debug)]
pub struct Try {
    keys: Arc<Keys>,
    number: u32,
}

impl Try {
    pub(super) fn new(keys: Arc<Keys>, number: u32) -> Self {
        Self { keys, number }
    }

    /// The idempotency key, the same for all tries of a call and for each replay of it.
    ///
    /// If the caller gave neither a key nor an id, it is made when a try asks for it first, or when the call is captured.
    pub fn key(&self) -> IdempotencyKey {
        self.keys.key()
    }

    /// Which try it is, from 1.
    pub fn number(&self) -> u32 {
        self.number
    }
}

/// Says what an error of type `E` means: what an [`Operation`] has for it.
pub trait Classify<E>: Send + Sync {
    /// What happened, in the terms of an entry.
    fn classify(&self, error: &E) -> CallFailure;
}

/// The error says itself what it means, by [`ClassifyFailure`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ByTrait;

/// A function says what an error means.
#[derive(Clone, Copy, Debug)]
pub struct By<F>(F);

impl<F> By<F> {
    #[cfg(feature = "tower")]
    pub(crate) fn function(function: F) -> Self {
        Self(function)
    }
}

impl<E: ClassifyFailure> Classify<E> for ByTrait {
    fn classify(&self, error: &E) -> CallFailure {
        error.classify()
    }
}

impl<E, F: Fn(&E) -> CallFailure + Send + Sync> Classify<E> for By<F> {
    fn classify(&self, error: &E) -> CallFailure {
        self.0(error)
    }
}

/// Gives a value in the place of a failed call: what an [`Operation`] has for it.
pub trait Rescue<T, E>: Send {
    /// Whether there is any.
    const GIVEN: bool;
    /// What becomes the value.
    type Answer: Future<Output = Option<T>> + Send;
    /// Begins to look for a value.
    fn rescue(self, failed: &FailedCall<E>) -> Self::Answer;
}

/// The call has no fallback.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFallback;

/// A function gives a value.
#[derive(Clone, Copy, Debug)]
pub struct Or<F>(F);

impl<T: Send, E> Rescue<T, E> for NoFallback {
    const GIVEN: bool = false;
    type Answer = Ready<Option<T>>;

    fn rescue(self, _: &FailedCall<E>) -> Self::Answer {
        ready(None)
    }
}

impl<T, E, F, Fut> Rescue<T, E> for Or<F>
where
    F: FnOnce(&FailedCall<E>) -> Fut + Send,
    Fut: Future<Output = Option<T>> + Send,
{
    const GIVEN: bool = true;
    type Answer = Fut;

    fn rescue(self, failed: &FailedCall<E>) -> Fut {
        self.0(failed)
    }
}

impl<'g, B> Operation<'g, B, ByTrait, NoFallback> {
    pub(super) fn new(guard: &'g Protect, context: B) -> Self {
        Self {
            guard,
            context,
            classify: ByTrait,
            fallback: NoFallback,
            given: None,
            tries: guard.policy().tries,
            deadline: guard.policy().deadline,
        }
    }
}

impl<'g, B, C, R> Operation<'g, B, C, R> {
    /// The entry's id, if it is to be captured; minted otherwise.
    pub fn id(mut self, id: EntryId) -> Self {
        self.given.get_or_insert_default().id = Some(id);
        self
    }

    /// The idempotency key of the call; the minted id otherwise.
    pub fn idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.given.get_or_insert_default().key = Some(key);
        self
    }

    /// Who calls; the system itself otherwise.
    pub fn who(mut self, who: Who) -> Self {
        self.given.get_or_insert_default().who = Some(who);
        self
    }

    /// Tries this call so often at most, and never more often than the policy says. At least once.
    pub fn most_tries(mut self, tries: u32) -> Self {
        self.tries = self.tries.min(tries).max(1);
        self
    }

    /// Gives this call so much time at most, and never more than the policy says.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = self.deadline.min(deadline);
        self
    }

    /// Says what the errors of this call mean, for those that don't implement [`ClassifyFailure`].
    pub fn classify<E, F>(self, classify: F) -> Operation<'g, B, By<F>, R>
    where
        F: Fn(&E) -> CallFailure + Send + Sync,
    {
        let Self { guard, context, classify: _, fallback, given, tries, deadline } = self;
        let classify = By(classify);
        Operation { guard, context, classify, fallback, given, tries, deadline }
    }

    /// Asks for a value when the call has failed: anything but a refusal on business grounds.
    ///
    /// The function borrows the failure, its future must not. It has what is left of the deadline, and at least the
    /// fallback's share of it; `None`, or no answer by then, leaves the call failed.
    pub fn fallback<T, E, F, Fut>(self, fallback: F) -> Operation<'g, B, C, Or<F>>
    where
        F: FnOnce(&FailedCall<E>) -> Fut + Send,
        Fut: Future<Output = Option<T>> + Send,
    {
        let Self { guard, context, classify, fallback: _, given, tries, deadline } = self;
        let fallback = Or(fallback);
        Operation { guard, context, classify, fallback, given, tries, deadline }
    }

    /// Makes the call, and keeps it if it fails.
    ///
    /// `call` makes one try. It must be cancel-safe: its future is dropped when its time is up. What dropping this
    /// future means stands in the [module's documentation](crate::protect).
    ///
    /// # Errors
    ///
    /// See [`Protected`]. Failure of the capture never hides the failure of the call.
    pub async fn run<T, E, F, Fut>(self, call: F) -> Result<Guarded<T>, Protected<E>>
    where
        B: FnOnce() -> NewFailedOp + Send,
        C: Classify<E>,
        R: Rescue<T, E>,
        T: Send,
        E: Send,
        F: FnMut(Try) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let Self { guard, context, classify, fallback, given, tries, deadline } = self;
        let inner = guard.inner();
        let begun = Instant::now();
        let keys = keys::lend(&inner.env, given.as_deref());
        let under_way = UnderWay::new(inner, &keys, context, given, begun);
        let reserved = if R::GIVEN { inner.policy.fallback_timeout } else { Duration::ZERO };
        let until = begun + deadline.saturating_sub(reserved);
        let limits = Limits { begun, until, tries, deadline };
        match inner.tried(&limits, &keys, &classify, call).await {
            Ok((value, at)) => {
                under_way.over(Ended::Success, at);
                keys::take_back(keys);
                Ok(Guarded::from_call(value))
            }
            // Boxed, so that the future of a good call is small.
            Err(failed) => Box::pin(failed.settled(under_way, fallback, begun + deadline)).await,
        }
    }
}

impl<E: Send> Failed<E> {
    /// What becomes of a failed call: a fallback's value, a capture, an error that says so.
    async fn settled<T, B, R>(
        self: Box<Self>,
        mut under_way: UnderWay<'_, B>,
        fallback: R,
        end: Instant,
    ) -> Result<Guarded<T>, Protected<E>>
    where
        T: Send,
        B: FnOnce() -> NewFailedOp + Send,
        R: Rescue<T, E>,
    {
        let Self { cause, failure, ended, .. } = *self;
        let policy = under_way.policy();
        under_way.failed(&failure, ended);
        let value = if R::GIVEN && failure.kind != FailureKind::Rejected {
            let answer = fallback.rescue(&cause);
            timeout_at(end, answer).await.ok().flatten()
        } else {
            None
        };
        let returned = match failure.kind {
            FailureKind::Transient => false,
            FailureKind::Permanent => policy.on_permanent == OnPermanent::Return,
            FailureKind::Rejected => true,
        };
        match (cause, value) {
            (FailedCall::Error(error), None) if returned => {
                under_way.forgotten();
                Err(Protected::Returned(error))
            }
            (_, Some(value)) if returned || policy.on_fallback == OnFallback::Skip => {
                under_way.forgotten();
                Ok(Guarded { from: ValueFrom::Fallback, ..Guarded::from_call(value) })
            }
            (_, Some(value)) => {
                let (captured, not_kept) = match under_way.kept(failure).await {
                    Ok(captured) => (Some(captured), None),
                    Err((_, error)) => (None, Some(error)),
                };
                Ok(Guarded { value, from: ValueFrom::Fallback, captured, not_kept })
            }
            (cause, None) => Err(match under_way.kept(failure).await {
                Ok(captured) => Protected::Captured { captured, cause },
                Err((id, error)) => Protected::NotCaptured { id, error, cause },
            }),
        }
    }
}
