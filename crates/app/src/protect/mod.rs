//! Protect: a call to a dependency, with everything around it that keeps a failure from being lost.
//!
//! ```text
//! mint id and idempotency key → breaker → call, within its time → … → result
//!                                  └ open, failed, timed out ──────→ one capture → error that says so
//! ```
//!
//! - The idempotency key exists before the first try and is handed to it. A replay uses the same key, so a target that
//!   did the work without being heard recognises it.
//! - One logical call makes at most one capture, however often it is tried.
//! - A fault inside Baldur never changes a successful result, and never hides the error of the call.
//! - What the dependency refuses on business grounds ([`FailureKind::Rejected`]) is an answer: it is returned, not
//!   captured, and counts as a success of the dependency.
//!
//! # A dropped future
//!
//! Whoever drops the future of [`Protect::call`] (a client hung up, an outer timeout) leaves it in one of these states:
//!
//! | dropped | what happens |
//! |---|---|
//! | before it was polled | nothing: no call was made |
//! | while the call, or a pause between tries, was under way | by [`OnDrop`]: captured in the background as [`CALL_DROPPED`], or nothing |
//! | while the capture was under way | the capture goes on in a task of its own |
//!
//! The permit of the breaker is returned in each case, and counts for nothing. A panic of the call is a drop, too.
//! Captures in the background are bounded in number and time; what finds no room is logged as lost.

mod budget;
mod builder;
mod bulkhead;
pub(crate) mod capture;
mod error;
mod guard;
mod meter;
mod operation;
mod policy;
mod tries;

pub use budget::RetryBudget;
pub use builder::ProtectBuilder;
pub use error::{
    CallFailure, ClassifyFailure, FailedCall, FailureKind, Guarded, NotKept, ProtectError,
    Protected, ValueFrom,
};
pub use guard::{CallContext, Protect};
pub use operation::{By, ByTrait, Classify, NoFallback, Operation, Or, Rescue, Try};
pub use policy::{
    ConcurrencyPolicy, OnDrop, OnFallback, OnPermanent, ProtectPolicy, RetryBudgetPolicy,
};

/// The failure type of a try that took longer than its time.
pub const CALL_TIMEOUT: &str = "TIMEOUT";

/// The failure type of a call whose time was up while a try was under way. It may have worked.
pub const DEADLINE_PASSED: &str = "DEADLINE_PASSED";

/// The failure type of a call that was not made because the breaker was open.
pub const CIRCUIT_OPEN: &str = "CIRCUIT_OPEN";

/// The failure type of a call that was not made because too many were under way.
pub const BULKHEAD_FULL: &str = "BULKHEAD_FULL";

/// The failure type of a call whose future was dropped while it was under way. It may have worked.
pub const CALL_DROPPED: &str = "CALL_DROPPED";

/// The failure type of a call with an error whose classification panicked.
pub const UNCLASSIFIED: &str = "UNCLASSIFIED";
