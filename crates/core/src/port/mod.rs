//! Ports: what Baldur needs from the outside, one small trait each.
//!
//! Every method is one atomic step; a caller never observes half of one. Adapters prove it with
//! `baldur-contract`, whose cases hold the sentences of these comments.
//!
//! Common rules:
//! - A store handle serves one namespace and sees nothing of others.
//! - A batch answers in the order asked, one answer per item. One bad item fails alone.
//! - An empty batch is answered with an empty answer, without asking the backend.
//! - Dropping the future of a write leaves it applied or not; nothing else is possible.
//! - After `close`, every call fails with [`BackendKind::Closed`](crate::BackendKind::Closed).

mod capture_store;
mod circuit_breaker_store;
mod claim_store;
mod entry_reader;
mod evidence_log;
mod intake;
mod pace_store;
mod probe;
mod replay_handler;
mod spool;
mod store_admin;

pub use crate::policy::breaker::ForcedState;
pub use capture_store::{
    CaptureError, CaptureStore, Captured, Disposition, Durability, Evicted, LimitScope, LiveCounts,
};
pub use circuit_breaker_store::{
    BreakerStoreError, CircuitBreakerStore, ForcedBreaker, MAX_BREAKERS_LISTED, SaveBreaker,
    SharedBreaker, check_breaker_limit,
};
pub use claim_store::{ClaimBatchOutcome, ClaimError, ClaimStore, Lapsed, Settled};
pub use entry_reader::{EntryReader, ReadError};
pub use evidence_log::{EvidenceBacklog, EvidenceError, EvidenceLog};
pub use intake::{
    Enlisted, EnlistedForm, Finished, Intake, IntakeError, IntakeStatus, MAX_ENLISTED_TAKEN,
    TakeEnlisted,
};
pub use pace_store::{PaceError, PaceStore, TakePermits};
pub use probe::{Probe, ProbeFailure};
pub use replay_handler::{Gate, ReplayContext, ReplayHandler, ReplayOutcome};
pub use spool::{Spool, SpoolError, SpoolPosition, SpoolStatus, Spooled};
pub use store_admin::{AdminError, CheckDepth, CheckReport, ExportedEntry, Imported, StoreAdmin};

#[cfg(feature = "test-util")]
pub use capture_store::MockCaptureStore;
#[cfg(feature = "test-util")]
pub use circuit_breaker_store::MockCircuitBreakerStore;
#[cfg(feature = "test-util")]
pub use claim_store::MockClaimStore;
#[cfg(feature = "test-util")]
pub use entry_reader::MockEntryReader;
#[cfg(feature = "test-util")]
pub use evidence_log::MockEvidenceLog;
#[cfg(feature = "test-util")]
pub use intake::MockIntake;
#[cfg(feature = "test-util")]
pub use pace_store::MockPaceStore;
#[cfg(feature = "test-util")]
pub use probe::MockProbe;
#[cfg(feature = "test-util")]
pub use replay_handler::MockReplayHandler;
#[cfg(feature = "test-util")]
pub use spool::MockSpool;
#[cfg(feature = "test-util")]
pub use store_admin::MockStoreAdmin;
