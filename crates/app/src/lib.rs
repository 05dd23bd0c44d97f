//! Use cases of Baldur's open edition, over the ports of `baldur-core`.

pub mod breakers;
pub mod capture;
pub mod entries;
pub mod env;
pub mod housekeeping;
pub mod metrics;
pub mod protect;
mod range;
pub mod recovery;
pub mod replay;
mod tasks;

pub use breakers::{BreakerEvent, Breakers, ManagedBreaker};
pub use capture::{CaptureFailure, CapturePolicy, CaptureService, Oversize, Refusal};
pub use entries::EntryService;
pub use env::{Env, OsIdGen, Who};
pub use housekeeping::{Housekeeping, HousekeepingPolicy};
pub use protect::{CallContext, Protect, ProtectPolicy, Protected};
pub use recovery::{Recovery, RecoveryPolicy};
pub use replay::{HandlerRegistry, ReplayEngine, ReplayPolicy, ReplayReport, ReplayRequest};
pub use tasks::{CloseTimeout, StartError};
