//! The layer around HTTP clients.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use baldur_core::{
    Clock, NewFailedOp,
    name::{IdempotencyKey, NameError},
    policy::parse_retry_after,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, request::Parts};
use http_body::Body;
use tokio::time::timeout;
use tower::{Layer, Service};

use super::{
    Buffered, ClientPolicy, IDEMPOTENCY_KEY, NO_ANSWER, OnClientError, RequestForm, request::title,
};
use crate::protect::{By, CallFailure, Classify, Guarded, Protect, Protected};

type Describe = dyn Fn(&Parts, NewFailedOp) -> NewFailedOp + Send + Sync;

/// Protects the requests of an HTTP client.
///
/// Each request is one logical call of the guard: all that is told in [`protect`](crate::protect) holds for it. It gets an
/// `Idempotency-Key` if it has none, the same for all its tries, and waits for the client to be ready within each try.
///
/// | answer | means |
/// |---|---|
/// | 500 to 599, 408, 425, 429 | transient; `Retry-After` is honoured |
/// | other 400 to 499 | an answer, or permanent, by [`OnClientError`] |
/// | anything else | success |
/// | no answer | transient, or what [`classify_errors`](Self::classify_errors) says |
///
/// What failed comes as [`ClientError`], with the answer inside if there was one.
///
/// ```
/// use baldur_app::{protect::Protect, tower::ProtectLayer};
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use http_body_util::Full;
/// use tower::{Layer, Service, ServiceExt};
///
/// # async fn doc(gateway: Protect) -> Result<(), Box<dyn std::error::Error>> {
/// // Any client that is a tower service.
/// let client = tower::service_fn(|request: Request<Full<Bytes>>| async move {
///     Ok::<_, std::io::Error>(Response::new(request.into_body()))
/// });
/// let mut client = ProtectLayer::new("payment", gateway).layer(client);
/// let request = Request::post("/charges").body(Full::from(r#"{"amount": 1999}"#))?;
/// let answer = client.ready().await?.call(request).await?;
/// # let _ = answer;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ProtectLayer<C = Transport> {
    shared: Arc<Shared<C>>,
}

struct Shared<C> {
    guard: Protect,
    domain: String,
    policy: ClientPolicy,
    describe: Option<Arc<Describe>>,
    classify: C,
}

/// Every error of a client is transient: there was no answer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transport;

impl<E: fmt::Display> Classify<E> for Transport {
    fn classify(&self, error: &E) -> CallFailure {
        CallFailure::transient(NO_ANSWER, error.to_string())
    }
}

impl<C> fmt::Debug for ProtectLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectLayer").field("guard", &self.shared.guard).finish_non_exhaustive()
    }
}

impl ProtectLayer {
    /// Protects requests by this guard. Entries of failed ones are of this domain.
    pub fn new(domain: &str, guard: Protect) -> Self {
        let shared = Shared {
            guard,
            domain: domain.to_owned(),
            policy: ClientPolicy::default(),
            describe: None,
            classify: Transport,
        };
        Self { shared: Arc::new(shared) }
    }
}

impl<C: Clone> ProtectLayer<C> {
    /// Replaces the policy.
    #[must_use]
    pub fn policy(self, policy: ClientPolicy) -> Self {
        let Shared { guard, domain, policy: _, describe, classify } = self.owned();
        Self { shared: Arc::new(Shared { guard, domain, policy, describe, classify }) }
    }

    /// Completes each entry from its request: labels, an entity, an order key. Its id, idempotency key and failure stay as
    /// they are. Called only for requests that are captured.
    #[must_use]
    pub fn describe(
        self,
        describe: impl Fn(&Parts, NewFailedOp) -> NewFailedOp + Send + Sync + 'static,
    ) -> Self {
        let describe: Option<Arc<Describe>> = Some(Arc::new(describe));
        let Shared { guard, domain, policy, describe: _, classify } = self.owned();
        Self { shared: Arc::new(Shared { guard, domain, policy, describe, classify }) }
    }

    /// Says what the client's own errors mean.
    #[must_use]
    pub fn classify_errors<E, F>(self, classify: F) -> ProtectLayer<By<F>>
    where
        F: Fn(&E) -> CallFailure + Send + Sync,
    {
        let Shared { guard, domain, policy, describe, classify: _ } = self.owned();
        let classify = By::function(classify);
        ProtectLayer { shared: Arc::new(Shared { guard, domain, policy, describe, classify }) }
    }

    fn owned(self) -> Shared<C> {
        Arc::try_unwrap(self.shared).unwrap_or_else(|shared| Shared {
            guard: shared.guard.clone(),
            domain: shared.domain.clone(),
            policy: shared.policy.clone(),
            describe: shared.describe.clone(),
            classify: shared.classify.clone(),
        })
    }
}

impl<S, C> Layer<S> for ProtectLayer<C> {
    type Service = ProtectService<S, C>;

    fn layer(&self, inner: S) -> ProtectService<S, C> {
        ProtectService { inner, shared: Arc::clone(&self.shared) }
    }
}

/// A protected HTTP client: see [`ProtectLayer`].
pub struct ProtectService<S, C = Transport> {
    inner: S,
    shared: Arc<Shared<C>>,
}

impl<S: Clone, C> Clone for ProtectService<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S, C> fmt::Debug for ProtectService<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectService").field("guard", &self.shared.guard).finish_non_exhaustive()
    }
}

/// How a try of a request failed.
pub enum HttpFailure<R, E> {
    /// By this answer.
    Status(Response<R>),
    /// Without an answer.
    Client(E),
}

/// Why a request gave no good answer.
pub enum ClientError<R, E> {
    /// What became of the call.
    Call(Box<Protected<HttpFailure<R, E>>>),
    /// The request's own body could not be read to its end, so nothing was sent.
    Body,
    /// The request's own body is longer than the policy allows, so nothing was sent.
    BodyTooLong {
        /// How many bytes are allowed.
        max: usize,
    },
}

impl<R, E> fmt::Debug for HttpFailure<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(response) => f.debug_tuple("Status").field(&response.status()).finish(),
            Self::Client(_) => f.debug_tuple("Client").finish_non_exhaustive(),
        }
    }
}

impl<R, E> fmt::Debug for ClientError<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(protected) => f.debug_tuple("Call").field(protected).finish(),
            Self::Body => f.write_str("Body"),
            Self::BodyTooLong { max } => f.debug_struct("BodyTooLong").field("max", max).finish(),
        }
    }
}

impl<R, E: fmt::Display> fmt::Display for HttpFailure<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(response) => write!(f, "the answer was {}", response.status()),
            Self::Client(error) => write!(f, "there was no answer: {error}"),
        }
    }
}

impl<R, E: fmt::Display> Error for HttpFailure<R, E> {}

impl<R, E> fmt::Display for ClientError<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(protected) => protected.fmt(f),
            Self::Body => f.write_str("the request was not sent: its body could not be read"),
            Self::BodyTooLong { max } => {
                write!(f, "the request was not sent: its body is longer than {max} bytes")
            }
        }
    }
}

impl<R: 'static, E: fmt::Display + 'static> Error for ClientError<R, E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Call(protected) => protected.source(),
            Self::Body | Self::BodyTooLong { .. } => None,
        }
    }
}

impl<S, B, R, C> Service<Request<B>> for ProtectService<S, C>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    C: Classify<S::Error> + 'static,
    B: Body<Data = Bytes> + From<Bytes> + Unpin + Send + 'static,
    B::Error: Send,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = ClientError<R, S::Error>;
    type Future = BoxFuture<'static, Result<Response<R>, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Each try waits for a client of its own, within its time.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (inner, shared) = (self.inner.clone(), Arc::clone(&self.shared));
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let max = shared.policy.max_body;
            let reading = Buffered::read(body, max);
            let Ok(read) = timeout(shared.guard.policy().deadline, reading).await else {
                return Err(ClientError::Body);
            };
            let body = read.into_whole().map_err(|broken| match broken {
                Some(_) => ClientError::Body,
                None => ClientError::BodyTooLong { max },
            })?;
            shared.sent(inner, &parts, &body).await
        })
    }
}

impl<C> Shared<C> {
    async fn sent<S, B, R>(
        &self,
        inner: S,
        parts: &Parts,
        body: &Bytes,
    ) -> Result<Response<R>, ClientError<R, S::Error>>
    where
        S: Service<Request<B>, Response = Response<R>> + Clone + Send + Sync,
        S::Future: Send,
        S::Error: Send,
        C: Classify<S::Error>,
        B: From<Bytes> + Send,
        R: Send,
    {
        let given = given_key(&parts.headers);
        let given =
            given.map_err(|error| ClientError::Call(Box::new(Protected::InvalidKey(error))))?;
        let mut operation = self.guard.operation(|| self.described(parts, body));
        if let Some(key) = given {
            operation = operation.idempotency_key(key);
        }
        let classified = |failure: &HttpFailure<R, S::Error>| self.meaning(parts, failure);
        let outcome = operation
            .classify(classified)
            .run(|attempt| {
                let request = self::request(parts, body, &attempt.key());
                let mut client = inner.clone();
                async move {
                    poll_fn(|cx| client.poll_ready(cx)).await.map_err(HttpFailure::Client)?;
                    let response = client.call(request).await.map_err(HttpFailure::Client)?;
                    if self.is_failure(response.status()) {
                        return Err(HttpFailure::Status(response));
                    }
                    Ok(response)
                }
            })
            .await;
        match outcome {
            Ok(Guarded { value, .. }) => Ok(value),
            // Not to be kept, so it is an answer like any other.
            Err(Protected::Returned(HttpFailure::Status(response))) => Ok(response),
            Err(protected) => Err(ClientError::Call(Box::new(protected))),
        }
    }

    fn described(&self, parts: &Parts, body: &Bytes) -> NewFailedOp {
        let rules = self.guard.redaction();
        let form = RequestForm::new(parts, Some(body), &self.policy.headers, rules);
        let op = NewFailedOp::new(&self.domain, "").request_data(form.to_json());
        match &self.describe {
            Some(describe) => describe(parts, op),
            None => op,
        }
    }

    fn is_failure(&self, status: StatusCode) -> bool {
        is_transient(status)
            || (status.is_client_error() && self.policy.on_client_error == OnClientError::Permanent)
    }

    fn meaning<R, E>(&self, parts: &Parts, failure: &HttpFailure<R, E>) -> CallFailure
    where
        C: Classify<E>,
    {
        let response = match failure {
            HttpFailure::Client(error) => return self.classify.classify(error),
            HttpFailure::Status(response) => response,
        };
        let status = response.status();
        let message =
            format!("{} was answered with {status}", title(&parts.method, parts.uri.path()));
        let kind = format!("HTTP_{}", status.as_u16());
        let failure = if is_transient(status) {
            CallFailure::transient(kind, message)
        } else {
            CallFailure::permanent(kind, message)
        };
        let failure = failure.error_code(status.as_str());
        let clock = self.guard.clock();
        match retry_after(response.headers(), clock, self.policy.max_retry_after) {
            Some(wait) => failure.retry_after(wait),
            None => failure,
        }
    }
}

fn is_transient(status: StatusCode) -> bool {
    const LATER: [StatusCode; 3] =
        [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS];
    status.is_server_error() || LATER.contains(&status)
}

fn retry_after(headers: &HeaderMap, clock: &dyn Clock, max: Duration) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    let now = i64::try_from(clock.now().as_unix_millis() / 1000).unwrap_or(i64::MAX);
    parse_retry_after(value, now, max)
}

fn given_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, NameError> {
    let Some(value) = headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    // What is no text breaks the rules for keys as well, which the replacement shows.
    IdempotencyKey::parse(&String::from_utf8_lossy(value.as_bytes())).map(Some)
}

/// The request of one try.
fn request<B: From<Bytes>>(parts: &Parts, body: &Bytes, key: &IdempotencyKey) -> Request<B> {
    let mut request = Request::from_parts(parts.clone(), B::from(body.clone()));
    // A key is visible ASCII, so it is a header value, too.
    if let Ok(value) = HeaderValue::from_str(key.as_str()) {
        request.headers_mut().insert(IDEMPOTENCY_KEY, value);
    }
    request
}
