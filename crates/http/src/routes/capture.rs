//! `POST /api/v1/entries`: one operation, or a stream of them.

use axum::{
    Extension,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header},
};
use baldur_app::{CaptureFailure, CaptureMode, Oversize, Who};
use baldur_core::{
    TraceContext,
    port::{CaptureError, Captured, Disposition, Durability},
};
use tokio::time::timeout;

use super::{json, ndjson};
use crate::{
    body,
    forms::{CaptureAnswer, parse_op},
    keys::{Caller, Role},
    params::{Param, Params},
    problem::{self, Problem},
    state::{ApiState, late},
};

/// For what the capture is to wait; what the service is set to when the request doesn't say.
fn mode(state: &ApiState, query: Option<&str>) -> Result<CaptureMode, Problem> {
    let mode = Params::read(query, &[Param::Once("mode")])?.one("mode", |text| {
        let known = CaptureMode::ALL.into_iter().find(|mode| mode.as_str() == text);
        known.ok_or("it must be sync, async or durable")
    })?;
    Ok(mode.unwrap_or(state.parts().capture.routes().mode))
}

/// What a body holds.
enum Kind {
    One,
    Lines,
}

/// Keeps what the body describes.
pub(super) async fn post(
    State(state): State<ApiState>,
    Extension(caller): Extension<Caller>,
    request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    caller.must(Role::Capture)?;
    let (head, body) = request.into_parts();
    let mode = mode(&state, head.uri.query())?;
    let who = who(caller, &head.headers);
    match kind(&head.headers)? {
        Kind::One => one(&state, &head.headers, body, &who, mode).await,
        Kind::Lines => ndjson::answer(&state, body, who, mode).await,
    }
}

fn who(caller: Caller, headers: &HeaderMap) -> Who {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    // A trace that can't be read says nothing; the operation is kept all the same.
    let trace =
        text("traceparent").and_then(|parent| TraceContext::parse(parent, text("tracestate")).ok());
    Who { trace, ..Who::new(caller.name) }
}

fn kind(headers: &HeaderMap) -> Result<Kind, Problem> {
    let refuse = |what: &'static str| {
        let problem = problem::UNSUPPORTED_TYPE.because(what);
        let taken = HeaderValue::from_static("application/json, application/x-ndjson");
        Err(problem.header(header::ACCEPT, taken))
    };
    if headers.contains_key(header::CONTENT_ENCODING) {
        return refuse("send the body as it is, without `Content-Encoding`");
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).into_iter();
    let (Some(Ok(given)), None) = (types.next().map(HeaderValue::to_str), types.next()) else {
        return refuse("say once in `Content-Type` what the body is");
    };
    let (name, rest) = given.split_once(';').unwrap_or((given, ""));
    let foreign =
        rest.split(';').filter_map(|param| param.trim().split_once('=')).any(|(name, value)| {
            name.eq_ignore_ascii_case("charset")
                && !value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        });
    if foreign {
        return refuse("the body must be UTF-8");
    }
    match name.trim().to_ascii_lowercase().as_str() {
        "application/json" => Ok(Kind::One),
        "application/x-ndjson" | "application/ndjson" => Ok(Kind::Lines),
        _ => refuse("send application/json for one operation, application/x-ndjson for many"),
    }
}

async fn one(
    state: &ApiState,
    headers: &HeaderMap,
    body: Body,
    who: &Who,
    mode: CaptureMode,
) -> Result<Response<Body>, Problem> {
    let held = body::read(state, headers, body).await?;
    if held.bytes.trim_ascii().is_empty() {
        return Err(problem::EMPTY_BODY.because("send one JSON object"));
    }
    let service = state.parts().capture.clone();
    let who = who.clone();
    // Redaction of a large payload takes its time; other requests go on meanwhile.
    let prepared = tokio::task::spawn_blocking(move || {
        let text = std::str::from_utf8(&held.bytes)
            .map_err(|_| problem::NOT_UTF8.because("the body must be UTF-8"))?;
        let op = parse_op(text).map_err(|error| problem::operation(error.code, error.message))?;
        service
            .prepare(op, &who, Oversize::Refuse)
            .map_err(|failure| Problem::of_capture(&failure, None))
    });
    let capture = prepared
        .await
        .map_err(|_| problem::INTERNAL.because("the operation could not be prepared"))??;
    let id = capture.op.id;
    let keeping = state.parts().capture.keep_as(vec![capture], mode);
    let unknown = || Err(CaptureFailure::Store(CaptureError::Backend(late("capture"))));
    let kept = match timeout(state.limits().request_timeout, keeping).await {
        Ok(answers) => answers.into_iter().next().unwrap_or_else(unknown),
        Err(_) => unknown(),
    };
    let captured = kept.map_err(|failure| Problem::of_capture(&failure, Some(id)))?;
    let mut response = json(status(&captured), &CaptureAnswer::of(None, &captured))?;
    // What is not in the store yet has no place there, and may merge into another entry.
    if matches!(captured.durability, Durability::Stored { .. }) {
        // Relative to the request, so that it holds wherever a host mounts the routes.
        let place = format!("entries/{}", captured.id);
        if let Ok(place) = HeaderValue::try_from(place) {
            response.headers_mut().insert(header::LOCATION, place);
        }
    }
    Ok(response)
}

/// The status that says how safe the operation is.
fn status(captured: &Captured) -> StatusCode {
    match (&captured.durability, captured.disposition) {
        (Durability::Stored { .. }, Disposition::New) => StatusCode::CREATED,
        (Durability::Stored { .. }, Disposition::Repeated | Disposition::Merged) => StatusCode::OK,
        (Durability::Spooled | Durability::Queued | Durability::Enlisted, _) => {
            StatusCode::ACCEPTED
        }
    }
}
