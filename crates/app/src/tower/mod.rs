//! Layers for tower: [`ProtectLayer`] around HTTP clients, [`CaptureLayer`] around HTTP servers.
//!
//! ```text
//! client:  request ─► ProtectLayer ─► guard (deadline, breaker, …, time of one try) ─► client ─► network
//! server:  network ─► CaptureLayer ─► handler ─► answer; captured where it is 5xx, an error or too late
//! ```
//!
//! Both make of a request what a replay needs ([`RequestForm`]), under the idempotency key that travels in the header
//! [`Idempotency-Key`](IDEMPOTENCY_KEY): that of the request, or else a new one that is put there. So a replay, the tries
//! of a client and what the handler saw are known to be one operation.
//!
//! Both know only `http` and `tower`, so they fit any client and any server that does.

mod buffered;
mod client;
mod pending;
mod policy;
mod request;
mod server;

pub use buffered::Buffered;
pub use client::{ClientError, HttpFailure, ProtectLayer, ProtectService, Transport};
use http::HeaderName;
pub use policy::{ClientPolicy, OnClientError, ServerPolicy};
pub use request::{RequestForm, RequestHeaders};
pub use server::{CaptureLayer, CapturingService};

/// The header with the key by which a target knows a repeated request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header of an answer to a request that was captured: the id of its entry. An answer that has it is not captured
/// once more.
pub const ENTRY_ID: HeaderName = HeaderName::from_static("baldur-entry-id");

/// The failure type of a request that got no answer at all, such as by a refused connection.
pub const NO_ANSWER: &str = "NO_ANSWER";

/// The failure type of a request whose handler returned an error.
pub const HANDLER_FAILED: &str = "HANDLER_FAILED";

/// The failure type of a request whose handler panicked.
pub const HANDLER_PANICKED: &str = "HANDLER_PANICKED";
