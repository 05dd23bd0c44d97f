//! Replay: running failed operations again.
//!
//! A run claims due entries, asks the handler of each one's domain, and settles what came of it:
//!
//! ```text
//! claim (token, lease) → gate (`can_replay`) → handler → settle (token checked)
//!          └──────────── heartbeat: extends the claims ────────────┘
//! ```
//!
//! - No more is claimed than can start at once, so no lease is spent waiting. An entry counts as taken up, for rate and
//!   limit, when it is claimed.
//! - The gate is asked on every path: due or by id, forced or not, dry run too. A closed gate charges nothing.
//! - A claim is measured on tokio's monotonic clock from before it was asked for. When the store refuses to
//!   extend it, or could not be asked until it ran out, the handler is dropped and its entry reported as stale.
//! - What handlers say is redacted, freed of NUL and bounded before anything else sees it.
//! - Failed entries wait by back-off, deferred ones by a back-off over their deferrals in a row; both wait longer where
//!   the target asked for it.
//! - A settle that the store did not answer is repeated while the claim lasts: it is idempotent by its token.

mod attempt;
mod calls;
mod dry;
mod engine;
mod governor;
mod listener;
mod policy;
mod registry;
mod report;
mod run;
mod selection;
mod settle;
mod work;

pub use engine::ReplayEngine;
pub use governor::Governor;
pub use policy::{MAX_BATCH, MAX_CONCURRENCY, Ramp, RateLimit, ReplayPolicy};
pub use registry::{AlreadyRegistered, HandlerRegistry};
pub use report::{
    ItemOutcome, ItemResult, MAX_IDS, ReplayError, ReplayEvent, ReplayReport, ReplayRequest,
    ReplaySelect, StopReason, WaitReason,
};
pub(crate) use settle::says_down;
