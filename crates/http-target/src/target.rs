//! The handler that sends an entry to its target.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use baldur_core::{
    Clock, FailedOp,
    port::{Gate, ReplayContext, ReplayHandler, ReplayOutcome},
};
use reqwest::{Client, Method, header::HeaderMap, redirect};

use crate::{
    answer,
    config::{HttpTargetConfig, HttpTargetMethod},
    endpoint::Endpoint,
    envelope::body,
    error::HttpTargetError,
    headers::{contract_headers, own_headers},
    tls::ensure_provider,
};

/// Idle connections that are kept for the next replays.
const MAX_IDLE_CONNECTIONS: usize = 16;

/// Replays entries by sending each as one HTTP request. Cheap to clone.
///
/// One call of `replay` sends at most one request: nothing is retried here, no redirect is followed, and proxies of
/// the environment are ignored. Memory per call is bounded by the entry's request data and 64 KiB of answer.
#[derive(Clone)]
pub struct HttpTarget(Arc<Inner>);

struct Inner {
    config: HttpTargetConfig,
    endpoint: Endpoint,
    headers: HeaderMap,
    client: Client,
    clock: Arc<dyn Clock>,
}

impl HttpTarget {
    /// Checks the settings and builds the client. Sends nothing.
    ///
    /// `clock` is what dates in `Retry-After` are compared with.
    ///
    /// # Errors
    ///
    /// The first setting that can't be used, in words that name it and what is allowed.
    pub fn new(config: HttpTargetConfig, clock: Arc<dyn Clock>) -> Result<Self, HttpTargetError> {
        config.check()?;
        let endpoint = Endpoint::new(&config)?;
        let headers = own_headers(&config.headers)?;
        let client = client(&config, &endpoint)?;
        Ok(Self(Arc::new(Inner { config, endpoint, headers, client, clock })))
    }

    /// Scheme, host and port of the target: what may be shown of its URL.
    pub fn origin(&self) -> &str {
        self.0.endpoint.origin()
    }

    async fn send(&self, op: &FailedOp, context: ReplayContext) -> ReplayOutcome {
        let Inner { config, endpoint, headers, client, clock } = &*self.0;
        let request = contract_headers(op, context).zip(body(config.body, op, context));
        let Some((contract, body)) = request else {
            return ReplayOutcome::Permanent { error: "the entry can't be sent".to_owned() };
        };
        if context.dry_run {
            return ReplayOutcome::Succeeded {
                note: format!(
                    "would send {} with {} bytes to {}",
                    config.method,
                    body.len(),
                    endpoint.origin()
                ),
            };
        }
        let timeout = config.timeout.min(context.timeout);
        let sent = client
            .request(method(config.method), endpoint.url())
            .headers(headers.clone())
            .headers(contract)
            .timeout(timeout)
            .body(body)
            .send()
            .await;
        match sent {
            Ok(response) => answer::read(response, config, clock.as_ref()).await,
            Err(error) => self.not_answered(&error, timeout),
        }
    }

    /// Nothing is charged where the target certainly saw nothing; else it may have acted.
    fn not_answered(&self, error: &reqwest::Error, timeout: Duration) -> ReplayOutcome {
        let origin = self.origin();
        if error.is_connect() {
            return ReplayOutcome::Deferred {
                reason: format!("{origin} was not reached: {}", innermost(error)),
                delay: self.0.config.defer_for,
            };
        }
        let error = if error.is_timeout() {
            format!("{origin} gave no answer within {timeout:?}; it may have acted")
        } else {
            format!("{origin} gave no answer: {}; it may have acted", innermost(error))
        };
        ReplayOutcome::Failed { error, retry_after: None }
    }
}

impl fmt::Debug for HttpTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTarget")
            .field("method", &self.0.config.method)
            .field("endpoint", &self.0.endpoint)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl ReplayHandler for HttpTarget {
    /// Always open: whether the target can be reached shows when it is asked.
    async fn can_replay(&self, _op: &FailedOp) -> Gate {
        Gate::Open
    }

    /// Sends the entry. In a dry run it sends nothing and says what it would send.
    async fn replay(&self, op: &FailedOp, context: ReplayContext) -> ReplayOutcome {
        self.send(op, context).await
    }
}

fn method(method: HttpTargetMethod) -> Method {
    match method {
        HttpTargetMethod::Post => Method::POST,
        HttpTargetMethod::Put => Method::PUT,
        HttpTargetMethod::Patch => Method::PATCH,
        HttpTargetMethod::Delete => Method::DELETE,
    }
}

pub(crate) fn client(
    config: &HttpTargetConfig,
    endpoint: &Endpoint,
) -> Result<Client, HttpTargetError> {
    ensure_provider();
    let builder = Client::builder()
        .user_agent(concat!("baldur/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(config.connect_timeout())
        .timeout(config.timeout)
        .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy();
    // Plain http must also work on a machine without any root certificates.
    let builder = if endpoint.is_tls() { builder } else { builder.tls_certs_only([]) };
    builder.build().map_err(|error| HttpTargetError::Client(Box::new(error)))
}

/// The last cause, which says what went wrong and, unlike the outer ones, never holds the URL.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    if cause.is::<reqwest::Error>() { "the request failed".to_owned() } else { cause.to_string() }
}
