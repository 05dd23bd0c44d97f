//! The layer around HTTP servers.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use baldur_core::{
    NewFailedOp, policy::BreakerState, policy::redact::RedactionRules, port::Captured,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body::Body;
use tokio::time::timeout;
use tower::{Layer, Service};

use super::{Buffered, ENTRY_ID, HANDLER_FAILED, ServerPolicy, pending::Pending, request::title};
use crate::{
    Env,
    breakers::ManagedBreaker,
    capture::CaptureService,
    protect::{CALL_TIMEOUT, CIRCUIT_OPEN, CallFailure, capture::Keeper},
};

type Describe = dyn Fn(&Parts, NewFailedOp) -> NewFailedOp + Send + Sync;

/// What the services of one layer share.
pub(super) struct Shared {
    pub(super) policy: ServerPolicy,
    pub(super) domain: String,
    pub(super) dependency: Option<String>,
    pub(super) describe: Option<Arc<Describe>>,
    pub(super) rules: RedactionRules,
    pub(super) env: Env,
    pub(super) keeper: Keeper,
    breaker: Option<ManagedBreaker>,
}

/// Captures the requests that a server failed to do.
///
/// A request is captured when its handler answers with 500 to 599, returns an error, takes longer than the policy's
/// timeout, or panics. The answer then carries the entry's id in [`Baldur-Entry-Id`](ENTRY_ID), so that the client knows
/// that it need not repeat. An answer that has the header already, because the handler has captured what failed, is left
/// alone.
///
/// The capture is made before the answer is given. If it fails, the answer is the handler's own, without the header.
///
/// ```
/// use baldur_app::{CaptureService, protect::Protect, tower::CaptureLayer};
///
/// # fn doc(capture: CaptureService, gateway: &Protect) {
/// let layer = CaptureLayer::new("checkout", capture)
///     .refuse_while_open(gateway.breaker().clone());
/// # let _ = layer;
/// # }
/// ```
#[derive(Clone)]
pub struct CaptureLayer {
    shared: Arc<Shared>,
}

impl fmt::Debug for CaptureLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureLayer").field("domain", &self.shared.domain).finish_non_exhaustive()
    }
}

impl CaptureLayer {
    /// Captures failed requests in this domain.
    pub fn new(domain: &str, capture: CaptureService) -> Self {
        Self::with_policy(domain, capture, ServerPolicy::default())
    }

    /// As [`new`](Self::new), with a policy.
    pub fn with_policy(domain: &str, capture: CaptureService, policy: ServerPolicy) -> Self {
        let shared = Shared {
            domain: domain.to_owned(),
            dependency: None,
            describe: None,
            rules: capture.policy().redaction.clone(),
            env: capture.env().clone(),
            keeper: Keeper::new(capture, &policy.keeping()),
            breaker: None,
            policy,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Refuses requests of the policy's methods as long as the breaker of a dependency that their handlers need is
    /// open: they are captured and answered with 503, `Retry-After` and the entry's id, without asking the handler.
    ///
    /// When the breaker's time is over, requests pass again, so that one of them can probe.
    #[must_use]
    pub fn refuse_while_open(self, breaker: ManagedBreaker) -> Self {
        let dependency = Some(breaker.name().as_str().to_owned());
        self.with(|shared| Shared { breaker: Some(breaker), dependency, ..shared })
    }

    /// Completes each entry from its request: labels, an entity, an order key. Its id, idempotency key and failure stay as
    /// they are.
    #[must_use]
    pub fn describe(
        self,
        describe: impl Fn(&Parts, NewFailedOp) -> NewFailedOp + Send + Sync + 'static,
    ) -> Self {
        self.with(|shared| Shared { describe: Some(Arc::new(describe)), ..shared })
    }

    fn with(self, change: impl FnOnce(Shared) -> Shared) -> Self {
        let shared = Arc::try_unwrap(self.shared).unwrap_or_else(|shared| shared.copied());
        Self { shared: Arc::new(change(shared)) }
    }
}

impl Shared {
    fn copied(&self) -> Self {
        let Self { policy, domain, dependency, describe, rules, env, keeper, breaker } = self;
        Self {
            policy: policy.clone(),
            domain: domain.clone(),
            dependency: dependency.clone(),
            describe: describe.clone(),
            rules: rules.clone(),
            env: env.clone(),
            keeper: keeper.clone(),
            breaker: breaker.clone(),
        }
    }

    /// For how long requests are to be refused; `None` where they are not.
    fn refused_for(&self) -> Option<Duration> {
        let status = self.breaker.as_ref()?.status();
        if status.state != BreakerState::Open {
            return None;
        }
        let left = match status.forced {
            // Without an end it is asked again in a minute.
            Some(order) => order.lasts.unwrap_or(Duration::from_mins(1)),
            None => status.open_for.unwrap_or_default(),
        };
        (!left.is_zero()).then_some(left)
    }
}

impl<S> Layer<S> for CaptureLayer {
    type Service = CapturingService<S>;

    fn layer(&self, inner: S) -> CapturingService<S> {
        CapturingService { inner, shared: Arc::clone(&self.shared) }
    }
}

/// A server whose failed requests are captured: see [`CaptureLayer`].
#[derive(Clone)]
pub struct CapturingService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> fmt::Debug for CapturingService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapturingService").finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for CapturingService<S>
where
    S: Service<Request<Buffered<B>>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: fmt::Display + Send,
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Send,
    R: Default + Send,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Response<R>, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The one that was polled is ready, the clone need not be.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            if !shared.policy.methods.contains(request.method()) {
                return inner.call(request.map(Buffered::unread)).await;
            }
            let (mut parts, body) = request.into_parts();
            let body = Buffered::read(body, shared.policy.max_body).await;
            let pending = Pending::new(&shared, &mut parts, body.whole().cloned());
            if let Some(left) = shared.refused_for() {
                return Ok(shared.refuse(pending, left).await);
            }
            let title = title(&parts.method, parts.uri.path());
            let answer = inner.call(Request::from_parts(parts, body));
            let answer = match shared.policy.timeout {
                None => answer.await,
                Some(limit) => match timeout(limit, answer).await {
                    Ok(answer) => answer,
                    Err(_elapsed) => {
                        let message = format!("{title} was not done within {limit:?}");
                        let failure = CallFailure::transient(CALL_TIMEOUT, message);
                        let captured = pending.kept(failure).await;
                        return Ok(told(StatusCode::GATEWAY_TIMEOUT, captured.ok().as_ref()));
                    }
                },
            };
            settled(answer, pending, &title).await
        })
    }
}

impl Shared {
    async fn refuse<R: Default>(&self, pending: Pending<'_>, left: Duration) -> Response<R> {
        let name = self.dependency.as_deref().unwrap_or_default();
        let failure =
            CallFailure::transient(CIRCUIT_OPEN, format!("the circuit to {name} is open"));
        let captured = pending.kept(failure.retry_after(left)).await;
        let mut response = told(StatusCode::SERVICE_UNAVAILABLE, captured.ok().as_ref());
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        response
    }
}

/// The handler's answer, captured if it is a failure.
async fn settled<R, E: fmt::Display>(
    answer: Result<Response<R>, E>,
    pending: Pending<'_>,
    title: &str,
) -> Result<Response<R>, E> {
    match answer {
        Ok(mut response) => {
            let status = response.status();
            if !status.is_server_error() || response.headers().contains_key(&ENTRY_ID) {
                pending.over();
                return Ok(response);
            }
            let failure = CallFailure::transient(
                format!("HTTP_{}", status.as_u16()),
                format!("{title} was answered with {status}"),
            );
            if let Ok(captured) = pending.kept(failure.error_code(status.as_str())).await {
                note(&mut response, &captured);
            }
            Ok(response)
        }
        Err(error) => {
            let failure =
                CallFailure::transient(HANDLER_FAILED, format!("{title} failed: {error}"));
            // Its failure is logged, and the error is the caller's in any case.
            let _ = pending.kept(failure).await;
            Err(error)
        }
    }
}

/// An answer of our own.
fn told<R: Default>(status: StatusCode, captured: Option<&Captured>) -> Response<R> {
    let mut response = Response::new(R::default());
    *response.status_mut() = status;
    if let Some(captured) = captured {
        note(&mut response, captured);
    }
    response
}

fn note<R>(response: &mut Response<R>, captured: &Captured) {
    // An id is visible ASCII.
    if let Ok(value) = HeaderValue::from_str(&captured.id.to_string()) {
        response.headers_mut().insert(ENTRY_ID, value);
    }
}
