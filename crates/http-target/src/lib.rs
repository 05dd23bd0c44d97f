//! Replays failed operations to an HTTP endpoint.
//!
//! [`HttpTarget`] is a [`ReplayHandler`](baldur_core::port::ReplayHandler): one claimed entry becomes one HTTP
//! request, and the status code of the answer says how the replay ended. What goes over the wire is version 1 of
//! the contract in the book, chapter "HTTP target".
//!
//! ```
//! use std::sync::Arc;
//!
//! use baldur_core::SystemClock;
//! use baldur_http_target::{AllowedHost, HttpTarget, HttpTargetConfig};
//!
//! let allowed = vec![AllowedHost::parse("*.example.com")?];
//! let config = HttpTargetConfig::new("http://pay.example.com/replay", allowed);
//! let target = HttpTarget::new(config, Arc::new(SystemClock))?;
//! assert_eq!(target.origin(), "http://pay.example.com");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod allow;
mod answer;
mod codes;
mod config;
mod endpoint;
mod envelope;
mod error;
mod headers;
mod probe;
mod target;
mod tls;

pub use allow::{AllowedHost, AllowedHostError};
pub use codes::{CodeSet, CodeSetError};
pub use config::{AllowedHosts, HttpTargetBody, HttpTargetConfig, HttpTargetMethod, UnknownWord};
pub use error::HttpTargetError;
pub use probe::{HttpProbe, HttpProbeConfig};
pub use target::HttpTarget;
pub use tls::ensure_provider;

/// The version of the wire contract, sent as `Baldur-Wire-Version`.
pub const WIRE_VERSION: u16 = 1;
