//! Domain types, pure policies and ports of Baldur.
//!
//! This crate performs no I/O and starts no task. It says what a failed operation is ([`FailedOp`]), how it may
//! move ([`TRANSITIONS`], [`decide`]), what is asked of stores ([`command`], [`query`]) and which traits they
//! implement ([`port`]).
//!
//! | port | what it is for |
//! |---|---|
//! | [`port::CaptureStore`] | keep failed operations |
//! | [`port::EntryReader`] | find, list, count |
//! | [`port::ClaimStore`] | claim, settle, move by hand |
//! | [`port::EvidenceLog`] | read what was done |
//! | [`port::StoreAdmin`] | check a store, import entries |
//! | [`port::CircuitBreakerStore`] | share the state of circuit breakers |
//! | [`port::PaceStore`] | share the pace of replays |
//! | [`port::ReplayHandler`] | run an operation again: the host's part |

pub mod admission;
pub mod command;
pub mod cursor;
pub mod decide;
pub mod error;
pub mod evidence;
pub mod failed_op;
pub mod id;
pub mod json;
pub mod name;
pub mod policy;
pub mod port;
pub mod query;
pub mod time;
pub mod wire;

pub use cursor::Cursor;
pub use error::{BackendError, BackendKind, Chain, Outcome, Retry};
pub use evidence::{Digest, Evidence, EvidenceEvent, EvidenceRecord};
pub use failed_op::{
    Attempt, AttemptOutcome, Attempts, Cause, FailedOp, Fingerprint, Hold, Labels, NewFailedOp,
    NotReplayable, OpState, RecommendedAction, ResolutionType, Status, TRANSITIONS, TraceContext,
    Transition, next_status,
};
pub use id::{ClaimToken, EntryId, IdGen, Route};
pub use json::Json;
pub use query::{
    Count, EntrySummary, FacetCell, FacetScope, Facets, Filter, ListOrder, ListQuery, Page,
    PageSize,
};
pub use time::{Clock, SystemClock, Timestamp};
