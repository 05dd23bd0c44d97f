//! Use cases of Baldur's open edition, over the ports of `baldur-core`.

pub mod breakers;
pub mod capture;
pub mod drain;
pub mod entries;
pub mod env;
pub mod ledger;
pub mod metrics;
pub mod outbox;
pub mod protect;
mod range;
pub mod replay;
pub mod spooling;
#[cfg(feature = "tower")]
pub mod tower;

pub use breakers::{BreakerEvent, Breakers, ManagedBreaker};
pub use capture::{
    CaptureFailure, CaptureMode, CapturePolicy, CaptureRoutes, CaptureService, Oversize, Refusal,
};
pub use drain::Drainer;
pub use entries::EntryService;
pub use env::{Env, OsIdGen, Who};
pub use ledger::{Counted, Ledger, Sums};
pub use outbox::Outbox;
pub use protect::{CallContext, Protect, ProtectPolicy, Protected};
pub use replay::{HandlerRegistry, ReplayEngine, ReplayPolicy, ReplayReport, ReplayRequest};
pub use spooling::SpoolingStore;
