//! What every request passes: who asks, for whom, and what is counted.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use baldur_app::metrics::{HTTP_IN_FLIGHT, HTTP_REQUESTS, HTTP_SECONDS};
use futures_util::FutureExt as _;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tracing::Instrument as _;

use crate::{
    problem::{self, Problem},
    state::ApiState,
};

/// What is answered to anybody: nothing of it is about entries.
const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Lets through who asks this machine for something, with a key where keys are set.
pub(crate) async fn guard(
    State(state): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let parts = state.parts();
    parts.hosts.check(request.uri(), request.headers())?;
    // A host may have mounted the routes below a path of its own.
    let open = matched(&request).is_some_and(|route| OPEN.iter().any(|it| route.ends_with(it)));
    if !open {
        let caller = parts.keys.caller(request.headers())?;
        request.extensions_mut().insert(caller);
    }
    Ok(next.run(request).await)
}

fn matched(request: &Request) -> Option<&str> {
    request.extensions().get::<MatchedPath>().map(MatchedPath::as_str)
}

/// Counts and logs requests, and answers for handlers that panic. Queries, headers and bodies are not logged.
pub(crate) async fn watch(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let route = matched(&request).unwrap_or("(none)").to_owned();
    let method = known(request.method());
    let span = tracing::info_span!("http.request", method, route);
    let mut seen = Seen::begin(state, method, route);
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span).await;
    let mut response = answered.unwrap_or_else(|_| {
        tracing::error!(method, route = seen.route, "http.handler_panicked");
        problem::INTERNAL.because("the request was not finished").into_response()
    });
    seen.status = Some(response.status());
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response.map(|inner| Body::new(Watched { inner, _seen: seen }))
}

/// A method as a label: there are only so many.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// A request that is under way until the last byte of its answer is written.
struct Seen {
    state: ApiState,
    method: &'static str,
    route: String,
    begun: Duration,
    /// `None` until there is an answer; it stays so when the caller goes away.
    status: Option<StatusCode>,
}

impl Seen {
    fn begin(state: ApiState, method: &'static str, route: String) -> Self {
        metrics::gauge!(HTTP_IN_FLIGHT.name).increment(1.0);
        let begun = state.parts().env.clock.mono();
        Self { state, method, route, begun, status: None }
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let Self { state, method, route, begun, status } = self;
        let took = state.parts().env.clock.mono().saturating_sub(*begun);
        let class = match status.map(|status| status.as_u16() / 100) {
            Some(2) => "2xx",
            Some(4) => "4xx",
            Some(5) => "5xx",
            Some(_) => "other",
            None => "gone",
        };
        metrics::gauge!(HTTP_IN_FLIGHT.name).decrement(1.0);
        metrics::counter!(HTTP_REQUESTS.name, "route" => route.clone(), "method" => *method, "status" => class)
            .increment(1);
        metrics::histogram!(HTTP_SECONDS.name, "route" => route.clone(), "method" => *method)
            .record(took.as_secs_f64());
        let status = status.map_or(0, |status| status.as_u16());
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if status >= 500 {
            tracing::warn!(method, route, status, took_ms, "http.request_failed");
        } else {
            tracing::debug!(method, route, status, took_ms, "http.request_served");
        }
    }
}

/// A body whose request counts as under way until it is dropped.
struct Watched {
    inner: Body,
    _seen: Seen,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
