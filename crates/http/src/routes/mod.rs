//! The routes.

mod capture;
mod entries;
mod health;
mod metrics;
mod ndjson;

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    middleware::from_fn_with_state,
    routing::{get, post},
};
use serde::Serialize;

use crate::{
    edge,
    problem::{self, Problem},
    state::ApiState,
};

/// The routes of a server, to be served by [`serve`](crate::serve()) or mounted in a host's own router.
///
/// A host that nests them under a path also decides where connections come from and how long heads may take.
///
/// ```
/// use std::sync::Arc;
///
/// use baldur_app::{CapturePolicy, CaptureService, EntryService, Env};
/// use baldur_core::{
///     SystemClock,
///     name::{Namespace, WorkerName},
///     policy::redact::RedactionRules,
/// };
/// use baldur_http::{ApiKey, ApiKeys, ApiState, Hosts, Limits, Parts, Role, router};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let namespace = Namespace::default_namespace();
/// let env = Env::system(namespace.clone(), WorkerName::parse("shop-1")?);
/// let store = Arc::new(baldur_memory::MemoryStore::new(namespace, Arc::new(SystemClock)));
/// let (reader, claims, evidence) = (Arc::clone(&store), Arc::clone(&store), Arc::clone(&store));
/// let rules = RedactionRules::default();
/// let key = "not-this-one-but-one-of-your-own".into();
/// let state = ApiState::new(Parts {
///     capture: CaptureService::new(store, env.clone(), CapturePolicy::default()),
///     entries: EntryService::new(reader, claims, evidence, env.clone(), rules),
///     env,
///     keys: ApiKeys::new(vec![ApiKey::new("checkout", &key, vec![Role::Capture])?])?,
///     hosts: Hosts::any(),
///     limits: Limits::default(),
///     metrics: None,
/// });
/// let app: axum::Router = axum::Router::new().nest("/baldur", router(state));
/// # Ok(())
/// # }
/// ```
pub fn router(state: ApiState) -> Router {
    Router::new()
        .route("/api/v1/entries", post(capture::post).get(entries::list))
        .route("/api/v1/entries/{id}", get(entries::show))
        .route("/api/v1/facets", get(entries::facets))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::scrape))
        .method_not_allowed_fallback(|| async {
            problem::METHOD_NOT_ALLOWED.because("the `Allow` header names those that it takes")
        })
        .fallback(|| async { problem::NO_ROUTE.because("see /api/v1/entries and /api/v1/facets") })
        .layer(from_fn_with_state(state.clone(), edge::guard))
        .layer(from_fn_with_state(state.clone(), edge::watch))
        .with_state(state)
}

/// An answer of JSON.
fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Problem> {
    let text = serde_json::to_string(value)
        .map_err(|_| problem::INTERNAL.because("the answer can't be written"))?;
    Ok(text_of(status, "application/json", text))
}

fn text_of(status: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
