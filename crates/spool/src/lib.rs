//! The fsynced local spool: captures wait here on a local disk until the store takes them.
//!
//! What was answered is synced: records that wait at the same time share one write and one sync. Each process appends to a lane of its own,
//! a directory with a lock; lanes of processes that died are taken over. Torn tails are cut, damaged and foreign files are kept aside and reported.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use baldur_core::{SystemClock, port::Spool as _};
//! use baldur_spool::{DiskSpool, SpoolConfig};
//!
//! # async fn example() -> Result<(), baldur_core::BackendError> {
//! let spool = DiskSpool::open(SpoolConfig::new("/var/lib/shop/spool"), Arc::new(SystemClock)).await?;
//! println!("{} records wait", spool.status().records);
//! spool.close().await;
//! # Ok(())
//! # }
//! ```

mod adopt;
mod aside;
mod batch;
mod config;
mod core;
mod disk;
mod error;
mod frame;
mod inspect;
mod keeper;
mod layout;
mod queue;
mod restore;
mod scan;
mod spool;
mod state;
mod writer;

pub use config::SpoolConfig;
pub use inspect::{Inspection, LaneReport, Problem, inspect};
pub use restore::Restored;
pub use spool::DiskSpool;

#[cfg(test)]
mod tests;
