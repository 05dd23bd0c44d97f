//! Protect: a call to a dependency, with everything around it that keeps a failure from being lost.
//!
//! One logical call goes through the parts of a guard in this order, whatever the order in which they were set:
//!
//! ```text
//! id and idempotency key ─ the same for all that follows, made when first asked for
//! └ deadline ─ of the whole call, waits included; its end is left to the fallback
//!   └ fallback ─ asked for a value when all below has failed
//!     └ breaker ─ admits the call, or not; hears how it ended
//!       └ concurrency limit ─ a slot, after a bounded wait in a bounded queue
//!         └ retry ─ transient failures, while tries, breaker, deadline and retry budget allow
//!           └ time of one try
//!             └ the call
//! one capture, of what has failed in the end ─ an error, or a fallback's value, that says so
//! ```
//!
//! - Each try is handed the idempotency key, which is the same for all of them. A replay uses the same key, so a target
//!   that did the work without being heard recognises it.
//! - One logical call makes at most one capture, however often it is tried. It comes after the deadline and has a time of
//!   its own: nothing of it is ever taken from the call.
//! - A fault inside Baldur never changes a successful result, and never hides the error of the call.
//! - What the dependency refuses on business grounds ([`FailureKind::Rejected`]) is an answer: it is returned, not
//!   captured, and counts as a success of the dependency.
//!
//! # The breaker and the retries
//!
//! The breaker stands outside of the retries: it admits a logical call once, and is told how that ended in the end. A call
//! that worked at its third try is a success, since that is what its caller has. So the breaker opens for outages, and
//! not for what retries can cure. Whoever wants it to see each try makes single tries.
//!
//! It also ends retries. Before a try is repeated, and again after the pause, the breaker is looked at; if it is not
//! closed, the call ends with the failure that it had. Were it otherwise, all calls under way would go on against a
//! dependency that is known to be down, each with all its tries, at the very moment when it should be left alone. Their
//! late outcomes would count for nothing besides. For the same reason a probe of a half-open breaker is a single try:
//! `max_probes` is then the number of requests that the dependency gets, and not a third of it.
//!
//! What the breaker is told: success for a result or a refusal on business grounds; failure for a transient failure, a
//! timeout or a passed deadline; nothing for a permanent failure, a call that got no slot, and one whose first try was cut
//! short because it had waited for its slot. The time of a call, for a breaker that looks for slow ones, is that of its last
//! try.
//!
//! # Limits of retries
//!
//! Only [`FailureKind::Transient`] and tries out of time are repeated. Each retry is paid for out of a [`RetryBudget`]
//! that calls fill: over any stretch of time, retries are at most `burst + ratio · calls + per_second · seconds`. So
//! an outage is met with a little more than the usual load, and not with a multiple of it. A retry that is not made, because
//! the caller goes away or the breaker opens in the pause, is put back.
//!
//! The pause is the backoff, or what the dependency asked for by `Retry-After` if that is longer. If it asked for more than
//! the backoff's cap, it is not asked again at all, and the entry waits as asked. A pause that would reach the deadline isn't
//! begun.
//!
//! # A dropped future
//!
//! Whoever drops the future of a call (a client hung up, an outer timeout) leaves it in one of these states:
//!
//! | dropped | what happens |
//! |---|---|
//! | before it was polled | nothing: no call was made |
//! | while it waited for a slot, in a try, or in a pause between tries | by [`OnDrop`]: captured in the background as [`CALL_DROPPED`], or nothing |
//! | while its fallback was under way | by [`OnDrop`]: captured in the background as what had failed, or nothing |
//! | while the capture was under way | the capture goes on in a task of its own |
//!
//! The breaker's permit, the slot, the place in the queue and a retry that was not made are returned in each case, and
//! count for nothing. A panic of the call or of its fallback is a drop, too. Captures in the background are bounded in
//! number and time; what finds no room is logged as lost.
//!
//! # Faults of what surrounds a call
//!
//! | fault | what happens |
//! |---|---|
//! | the store is down, hangs or panics | good calls don't notice; failed ones say [`Protected::NotCaptured`] after at most the capture timeout; fallbacks give their value |
//! | the shared states of breakers can't be reached | each process goes on with its own |
//! | the host's function that classifies an error panics | the error is returned and captured as [`UNCLASSIFIED`]; neither tried again nor counted |
//! | the host's function that makes the context panics | an entry without the request is kept, under the key of the call |

mod budget;
mod builder;
mod bulkhead;
pub(crate) mod capture;
mod error;
mod guard;
mod keys;
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
