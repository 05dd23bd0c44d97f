//! The durable store for deployments: PostgreSQL 14 to 18, shared by any number of processes.
//!
//! What was answered is committed: captures, claims, settles and acts are in the server's log before anyone hears of
//! them, at the durability that the server really has. Writes that wait at the same time share a commit. No session
//! state outlives a transaction, so poolers in transaction mode work. See the crate's README for guarantees and
//! caveats.
//!
//! ```no_run
//! use baldur_core::name::Namespace;
//! use baldur_postgres::{PostgresConfig, PostgresStore};
//!
//! # async fn example() -> Result<(), baldur_core::BackendError> {
//! let url = "postgres://shop@db.internal/shop?sslmode=verify-full".parse()?;
//! let store = PostgresStore::open(PostgresConfig::new(url, Namespace::default_namespace())).await?;
//! store.close().await;
//! # Ok(())
//! # }
//! ```

mod check;
mod columns;
mod config;
mod connect;
#[cfg(test)]
#[path = "../tests/it/database.rs"]
mod database;
mod enlist;
mod error;
mod facets;
mod intake;
mod migrate;
mod outage;
mod ports;
mod probe;
mod reader;
mod rows;
mod sql;
mod store;
mod time;
mod writer;

/// The driver, in the version that [`PostgresStore::capture_in`] takes transactions of.
pub use sqlx;

pub use config::{PostgresConfig, PostgresUrl};
pub use outage::WriteLock;
pub use store::{PostgresStats, PostgresStore};
