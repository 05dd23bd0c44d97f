//! The durable embedded default store: one SQLite file, one writer per process, readers beside it.
//!
//! What was answered is on disk: captures, claims, settles and acts are committed with `synchronous=FULL` before
//! anyone hears of them, and writes that wait at the same time share one commit. Several processes of one
//! machine may work on one file. See the crate's README for guarantees and caveats.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use baldur_core::{SystemClock, name::Namespace};
//! use baldur_sqlite::{SqliteConfig, SqliteStore};
//!
//! # async fn example() -> Result<(), baldur_core::BackendError> {
//! let config = SqliteConfig::new("/var/lib/shop/baldur.db", Namespace::default_namespace());
//! let store = SqliteStore::open(config, Arc::new(SystemClock)).await?;
//! store.close().await;
//! # Ok(())
//! # }
//! ```

mod check;
mod columns;
mod config;
mod connect;
mod error;
mod files;
mod migrate;
mod outage;
mod ports;
mod reader;
mod rows;
mod sql;
mod store;
mod writer;

pub use config::SqliteConfig;
pub use outage::WriteLock;
pub use store::{SqliteStats, SqliteStore};

#[cfg(test)]
mod plans;
