//! The conformance suite that every adapter of Baldur passes.
//!
//! A store is what the ports of [`baldur_core::port`] promise, sentence by sentence. This crate holds a case for
//! each sentence and runs them all against an adapter; third parties prove theirs in the same way.
//!
//! ```no_run
//! // tests/contract.rs of an adapter, with `harness = false` in its manifest
//! use baldur_contract::{Harness, ManualClock, StoreUnderTest};
//! # use std::sync::Arc;
//! # async fn open(_: Arc<ManualClock>) -> StoreUnderTest { std::future::pending().await }
//!
//! fn main() -> std::process::ExitCode {
//!     Harness::new("mine", || async {
//!         let clock = Arc::new(ManualClock::default());
//!         open(clock).await // an empty store that takes its time from `clock`
//!     })
//!     .run()
//! }
//! ```
//!
//! See [`Harness`] for what can be declined and how the suite is scaled.
//!
//! With the feature `proxy` there is also a TCP proxy, which breaks connections to a real server on demand.

mod answer;
mod build;
mod case;
mod cases;
mod clock;
mod compare;
mod differential;
mod drive;
mod harness;
mod model;
#[cfg(feature = "proxy")]
pub mod proxy;
mod script;
mod store;

pub use build::{Captures, OpBuilder, evidence};
pub use case::{Failure, Topic, Verdict};
pub use clock::{ManualClock, SeededIdGen};
pub use harness::Harness;
pub use store::{BoxFuture, StoreUnderTest};
