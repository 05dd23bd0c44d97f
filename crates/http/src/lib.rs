//! Baldur over HTTP: capture, reading, health and metrics.
//!
//! [`router`] is mountable in a host's own server; [`serve()`] is a server with bounds on everything. What requests and
//! answers look like is in [`forms`], which the `baldur` command shares.
//!
//! | route | role | |
//! |---|---|---|
//! | `POST /api/v1/entries` | capture | keeps one operation (JSON) or many (NDJSON, streamed) |
//! | `GET /api/v1/entries` | read | lists entries |
//! | `GET /api/v1/entries/{id}` | read | one entry, whole |
//! | `GET /api/v1/facets` | read | counts |
//! | `GET /healthz`, `GET /readyz` | anybody | whether it lives, and whether to send it requests |
//! | `GET /metrics` | read | Prometheus text |
//!
//! Errors are problems of RFC 9457 with stable codes: [`PROBLEMS`]. No answer repeats a value that was sent.

mod body;
mod edge;
pub mod forms;
mod hosts;
mod keys;
mod params;
mod patient;
mod problem;
mod routes;
mod server;
mod state;

pub use hosts::Hosts;
pub use keys::{ApiKey, ApiKeys, KeyError, MIN_KEY_BYTES, Role};
pub use problem::{PROBLEM_TYPE, PROBLEMS, ProblemKind};
pub use routes::router;
pub use server::{Served, ServerConfig, serve};
pub use state::{ApiState, Limits, Parts, Render};
