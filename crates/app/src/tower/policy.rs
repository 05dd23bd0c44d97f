//! What the layers look at and what they keep.

use std::time::Duration;

use http::{HeaderName, Method, header};

use super::RequestHeaders;
use crate::{protect::OnDrop, protect::ProtectPolicy};

/// The longest body that is kept unless said otherwise: as long as capture keeps a request whole.
const MAX_BODY: usize = 1 << 20;

/// What [`ProtectLayer`](super::ProtectLayer) does with requests and answers.
#[derive(Clone, Debug)]
pub struct ClientPolicy {
    /// The headers that are kept with a request.
    pub headers: RequestHeaders,
    /// The longest body, in bytes. A request with a longer one is not sent: it could be neither tried again nor kept.
    pub max_body: usize,
    /// What an answer from 400 to 499 means, but 408, 425 and 429, which are transient.
    pub on_client_error: OnClientError,
    /// The longest wait that `Retry-After` may ask for.
    pub max_retry_after: Duration,
}

impl Default for ClientPolicy {
    fn default() -> Self {
        Self {
            headers: RequestHeaders::default(),
            max_body: MAX_BODY,
            on_client_error: OnClientError::default(),
            max_retry_after: Duration::from_hours(1),
        }
    }
}

/// What an answer from 400 to 499 means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnClientError {
    /// It is an answer: returned as such, and good for the breaker.
    #[default]
    Answer,
    /// The request will never work: the guard's policy says whether it is kept.
    Permanent,
}

/// What [`CaptureLayer`](super::CaptureLayer) does with requests.
#[derive(Clone, Debug)]
pub struct ServerPolicy {
    /// The methods whose requests are kept when they fail. Others pass untouched.
    pub methods: Vec<Method>,
    /// The headers that are kept with a request.
    pub headers: RequestHeaders,
    /// The longest body that is kept, in bytes. A longer one reaches the handler all the same; if that fails, the entry
    /// is kept without the body, for a person.
    pub max_body: usize,
    /// How long a handler may take; for ever when absent. Then the answer is 504.
    pub timeout: Option<Duration>,
    /// What to do when the future of a request is dropped, as servers do when the client hangs up.
    pub on_drop: OnDrop,
    /// How long a capture may take, repetitions included.
    pub capture_timeout: Duration,
}

impl Default for ServerPolicy {
    /// Requests that change things. A client that hangs up knows that it got no answer, so nothing is kept for it.
    fn default() -> Self {
        Self {
            methods: vec![Method::POST, Method::PUT, Method::PATCH, Method::DELETE],
            headers: RequestHeaders::default(),
            max_body: MAX_BODY,
            timeout: None,
            on_drop: OnDrop::Ignore,
            capture_timeout: Duration::from_secs(5),
        }
    }
}

impl ServerPolicy {
    /// As the part of a guard that keeps things sees it.
    pub(super) fn keeping(&self) -> ProtectPolicy {
        let Self { on_drop, capture_timeout, .. } = *self;
        ProtectPolicy { capture_timeout, on_drop, ..ProtectPolicy::default() }
    }
}

impl Default for RequestHeaders {
    /// What tells how to read the request, and nothing that tells who sent it.
    fn default() -> Self {
        Self::of([
            header::ACCEPT,
            header::ACCEPT_LANGUAGE,
            header::CONTENT_ENCODING,
            header::CONTENT_LANGUAGE,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("prefer"),
        ])
    }
}
