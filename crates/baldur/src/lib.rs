//! Keeps failed operations and brings them back.
//!
//! An operation that failed because something it depends on was down is captured durably, looked at, and run again
//! once the dependency recovers. This crate is all that a host needs: it opens a store by its URL and builds the
//! services over it.
//!
//! ```
//! use baldur::{Baldur, NewFailedOp, Settings, Who};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let baldur = Baldur::open(Settings::at("memory:")).await?;
//! let op = NewFailedOp::new("payment", "TIMEOUT").request_data(r#"{"amount": 1999}"#);
//! let captured = baldur.capture().capture(op, &Who::system()).await?;
//! assert!(baldur.entries().get(captured.id).await?.is_some());
//! baldur.shutdown(std::time::Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! With `sqlite:///var/lib/shop/baldur.db` instead of `memory:`, the same code keeps entries on disk.
//!
//! | feature | what it brings |
//! |---|---|
//! | `sqlite` (default) | stores at `sqlite:///absolute/path.db` |
//! | `memory` (default) | stores at `memory:`, which end with the process |
//! | `spool` (default) | a spool on a local disk, for captures that the store can't take |
//! | `postgres` | stores at `postgres://user@host/database` |
//! | `http-target` (default) | replay to HTTP endpoints, by settings |
//! | `tower` | layers that protect HTTP clients and capture what HTTP servers fail to do |

mod builder;
mod handlers;
mod open;
mod outage;
mod pipeline;
mod policies;
mod recovering;
mod settings;
mod stores;

#[cfg(test)]
mod tests;

#[cfg(feature = "tower")]
pub use baldur_app::tower;
pub use baldur_app::{
    Breakers, CaptureFailure, CaptureMode, CapturePolicy, CaptureRoutes, CaptureService,
    CloseTimeout, Drainer, EntryService, Env, Housekeeping, HousekeepingPolicy, Intaker, Ledger,
    OsIdGen, Outbox, Oversize, Recovery, RecoveryPolicy, Refusal, StartError, Sums, Who, breakers,
    drain, intake, ledger, metrics, outbox, protect, recovery, replay, spooling,
};
pub use baldur_core::{
    Attempt, AttemptOutcome, Attempts, BackendError, BackendKind, Cause, Chain, ClaimToken, Clock,
    Count, Cursor, Digest, EntryId, EntrySummary, Evidence, EvidenceEvent, EvidenceRecord,
    FacetScope, Facets, FailedOp, Filter, Fingerprint, Hold, IdGen, Json, Labels, ListOrder,
    ListQuery, NewFailedOp, NotReplayable, OpState, Outcome, Page, PageSize, RecommendedAction,
    ResolutionType, Retry, Status, SystemClock, Timestamp, TraceContext, command, name, policy,
    port, wire,
};
#[cfg(feature = "http-target")]
pub use baldur_http_target as http_target;
#[cfg(feature = "postgres")]
pub use baldur_postgres as postgres;
#[cfg(feature = "spool")]
pub use baldur_spool as spool;
pub use builder::Builder;
pub use open::{Baldur, OpenError, ShutdownError};
pub use outage::StoreOutage;
pub use secrecy::{ExposeSecret, SecretString};
pub use settings::{
    ApiKeySettings, BackoffSettings, BreakersSettings, CaptureSettings, CardSettings,
    DedupSettings, DependencySettings, DomainOverflowSettings, ENV_PREFIX, HandlerSettings,
    JitterSettings, KeepSettings, MAX_FILE_BYTES, ModeSettings, OutboxSettings, OverflowSettings,
    RecoverySettings, RedactionSettings, ReplaySettings, ServeSettings, Settings, SettingsError,
    SpoolSettings, StoreSettings, WhenFullSettings, WhenOutboxFullSettings,
};
pub use stores::{SCHEMES, Scheme};
