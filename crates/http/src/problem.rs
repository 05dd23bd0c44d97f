//! What goes wrong, as RFC 9457 problems: a status, a stable code, and words that repeat no value.

use std::{borrow::Cow, fmt};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use baldur_app::CaptureFailure;
use baldur_core::{
    BackendError, BackendKind, EntryId, Outcome,
    port::{CaptureError, EvidenceError, ReadError},
};
use serde::Serialize;

/// The content type of problems.
pub const PROBLEM_TYPE: &str = "application/problem+json";

/// A kind of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProblemKind {
    /// The stable name for programs; the `type` is `urn:baldur:problem:` and this.
    pub code: &'static str,
    /// The status.
    pub status: u16,
    /// What it is, in words that are the same for every problem of the kind.
    pub title: &'static str,
}

macro_rules! kinds {
    ($($name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        $(pub(crate) const $name: ProblemKind = ProblemKind { code: $code, status: $status, title: $title };)*

        /// Every kind of problem that is about the request as a whole. Problems about an operation have the codes of
        /// capture: [`OP_CODES`](crate::forms::OP_CODES), those of [`Refusal`](baldur_app::Refusal), and `store_refused`.
        pub const PROBLEMS: &[ProblemKind] = &[$($name),*];
    };
}

kinds! {
    BAD_REQUEST = "bad_request", 400, "The request is malformed";
    BAD_QUERY = "bad_query", 400, "A query parameter is not usable";
    BAD_ID = "bad_id", 400, "The id is not an entry id";
    EMPTY_BODY = "empty_body", 400, "The request holds no operation";
    NOT_UTF8 = "not_utf8", 400, "The body is not UTF-8";
    REFUSED = "refused", 400, "The store can't hold this";
    UNAUTHORIZED = "unauthorized", 401, "A key is needed";
    FORBIDDEN = "forbidden", 403, "The key may not do this";
    HOST_NOT_ALLOWED = "host_not_allowed", 403, "The server does not answer to this name";
    NOT_FOUND = "not_found", 404, "There is no such entry";
    NO_ROUTE = "no_route", 404, "There is nothing at this path";
    NO_METRICS = "no_metrics", 404, "This process records no metrics";
    METHOD_NOT_ALLOWED = "method_not_allowed", 405, "The path does not take this method";
    REQUEST_TIMEOUT = "request_timeout", 408, "The request did not come in time";
    BODY_TOO_LARGE = "body_too_large", 413, "The body is too large";
    UNSUPPORTED_TYPE = "unsupported_media_type", 415, "The body is of a kind that is not taken";
    TOO_MANY_STREAMS = "too_many_streams", 429, "Too many streams are captured at once";
    INTERNAL = "internal", 500, "The server failed";
    OVERLOADED = "overloaded", 503, "The server has no room for this at present";
    NOT_READY = "not_ready", 503, "The server is not ready";
    UNAVAILABLE = "unavailable", 503, "The store can't be reached";
    BUSY = "busy", 503, "The store is busy";
    TIMEOUT = "timeout", 503, "The store did not answer in time";
    READ_ONLY = "read_only", 503, "The store takes no writes at present";
    CORRUPT = "corrupt", 503, "The store is damaged";
    CLOSED = "closed", 503, "The store is closed";
    OTHER = "other", 503, "The store failed";
    FULL = "full", 507, "The store has no room left";
}

impl ProblemKind {
    /// A problem of this kind.
    pub(crate) fn because(self, detail: impl Into<Cow<'static, str>>) -> Problem {
        let Self { code, status, title } = self;
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Problem(Box::new(Parts {
            status,
            code,
            title,
            detail: detail.into(),
            outcome: None,
            id: None,
            health: None,
            headers: Vec::new(),
        }))
    }
}

/// Why a request was not done.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    status: StatusCode,
    code: &'static str,
    title: &'static str,
    detail: Cow<'static, str>,
    outcome: Option<&'static str>,
    id: Option<String>,
    health: Option<Health>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What the parts of a server say of themselves.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Health {
    pub(crate) server: &'static str,
    pub(crate) store: &'static str,
    /// Absent where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spool: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outbox: Option<&'static str>,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, store, spool, outbox } = self;
        write!(f, "server: {server}, store: {store}")?;
        for (part, word) in [("spool", spool), ("outbox", outbox)] {
            if let Some(word) = word {
                write!(f, ", {part}: {word}")?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Form<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    code: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<&'a Health>,
}

impl Problem {
    /// What happened in this case.
    #[cfg(test)]
    pub(crate) fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Says when to come again.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Says how the parts of the server are.
    pub(crate) fn parts(mut self, health: Health) -> Self {
        self.0.health = Some(health);
        self
    }

    /// A capture that failed: with its id, it can be sent again and is kept once.
    pub(crate) fn of_capture(failure: &CaptureFailure, id: Option<EntryId>) -> Self {
        let mut problem = match failure {
            CaptureFailure::Store(CaptureError::Backend(error)) => Self::of_store(error),
            CaptureFailure::Store(CaptureError::LimitReached { .. }) => {
                let kind = ProblemKind { code: failure.code(), ..FULL };
                kind.because(failure.to_string()).retry_after(RETRY_FULL)
            }
            CaptureFailure::Refused(_) | CaptureFailure::Store(_) | _ => {
                operation(failure.code(), failure.to_string())
            }
        };
        problem.0.outcome = Some(outcome_word(failure.outcome()));
        problem.0.id = id.map(|id| id.to_string());
        problem
    }

    /// A store in trouble. Its driver's words stay in the log: they may name places.
    pub(crate) fn of_store(error: &BackendError) -> Self {
        let (kind, seconds) = match error.kind() {
            BackendKind::Unavailable => (UNAVAILABLE, RETRY_SOON),
            BackendKind::Busy => (BUSY, 1),
            BackendKind::Timeout => (TIMEOUT, 1),
            BackendKind::Full => (FULL, RETRY_FULL),
            BackendKind::ReadOnly => (READ_ONLY, RETRY_FULL),
            BackendKind::Corrupt => (CORRUPT, RETRY_FULL),
            BackendKind::Closed => (CLOSED, RETRY_SOON),
            BackendKind::Refused => return REFUSED.because(error.to_string()),
            BackendKind::Other | _ => (OTHER, RETRY_SOON),
        };
        kind.because(error.to_string()).retry_after(seconds)
    }
}

/// Seconds after which a store may be back.
const RETRY_SOON: u32 = 5;

/// Seconds after which a person may have made room.
const RETRY_FULL: u32 = 30;

/// What is known of an effect, as answers say it.
pub(crate) const fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotApplied => "not_applied",
        Outcome::Unknown => "unknown",
    }
}

/// A problem with an operation, under the code that capture has for it.
pub(crate) fn operation(code: &'static str, detail: String) -> Problem {
    let too_large = matches!(code, "input_too_large" | "request_too_large" | "line_too_long");
    let status = if too_large { 413 } else { 400 };
    ProblemKind { code, status, title: "The operation can't be accepted" }.because(detail)
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Backend(error) => Self::of_store(&error),
            ReadError::Invalid(problem) => BAD_QUERY.because(problem),
            other => OTHER.because(other.to_string()).retry_after(RETRY_SOON),
        }
    }
}

impl From<EvidenceError> for Problem {
    fn from(error: EvidenceError) -> Self {
        match error {
            EvidenceError::Backend(error) => Self::of_store(&error),
            other => OTHER.because(other.to_string()).retry_after(RETRY_SOON),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Parts { status, code, title, detail, outcome, id, health, headers } = *self.0;
        let form = Form {
            r#type: format!("urn:baldur:problem:{code}"),
            title,
            status: status.as_u16(),
            code,
            detail: &detail,
            outcome,
            id: id.as_deref(),
            parts: health.as_ref(),
        };
        let body = serde_json::to_vec(&form).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let answer = response.headers_mut();
        answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_TYPE));
        for (name, value) in headers {
            answer.insert(name, value);
        }
        // The rest of a body that is not wanted is not waited for.
        if matches!(status, StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT) {
            answer.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}
