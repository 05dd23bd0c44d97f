//! `/healthz` and `/readyz`: for whoever starts and stops processes, and sends them requests.

use axum::{
    body::Body,
    extract::State,
    http::{Request, Response, StatusCode},
};
use serde_json::json;

use super::json;
use crate::{
    params::Params,
    problem::{self, Problem},
    state::ApiState,
};

/// The process lives.
pub(super) async fn alive(request: Request<Body>) -> Result<Response<Body>, Problem> {
    Params::read(request.uri().query(), &[])?;
    json(StatusCode::OK, &json!({"alive": true}))
}

/// The server takes requests, and captures can be kept.
pub(super) async fn ready(
    State(state): State<ApiState>,
    request: Request<Body>,
) -> Result<Response<Body>, Problem> {
    Params::read(request.uri().query(), &[])?;
    let (health, well) = state.health().await;
    if well {
        return json(StatusCode::OK, &json!({"ready": true, "parts": health}));
    }
    Err(problem::NOT_READY.because(health.to_string()).parts(health).retry_after(1))
}
