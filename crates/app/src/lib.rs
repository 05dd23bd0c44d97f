//! Use cases of Baldur's open edition, over the ports of `baldur-core`.

pub mod breakers;
pub mod capture;
pub mod describe;
pub mod drain;
pub mod entries;
pub mod env;
pub mod housekeeping;
pub mod intake;
mod labels;
pub mod ledger;
pub mod metrics;
pub mod outbox;
pub mod protect;
mod range;
pub mod recovery;
pub mod replay;
pub mod spooling;
mod tasks;
#[cfg(feature = "tower")]
pub mod tower;

pub use breakers::{BreakerEvent, Breakers, ManagedBreaker};
pub use capture::{
    CaptureFailure, CaptureMode, CapturePolicy, CaptureRoutes, CaptureService, Oversize, Refusal,
};
pub use drain::Drainer;
pub use entries::EntryService;
pub use env::{Env, OsIdGen, Who};
pub use housekeeping::{Housekeeping, HousekeepingPolicy};
pub use intake::Intaker;
pub use ledger::{Counted, Ledger, Sums};
pub use outbox::Outbox;
pub use protect::{CallContext, Protect, ProtectPolicy, Protected};
pub use recovery::{Recovery, RecoveryPolicy};
pub use replay::{HandlerRegistry, ReplayEngine, ReplayPolicy, ReplayReport, ReplayRequest};
pub use spooling::SpoolingStore;
pub use tasks::{CloseTimeout, StartError};
