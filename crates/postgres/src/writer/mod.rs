//! Writes: each one a transaction in a task of its own, which no caller can cancel half-way.
//!
//! A caller that goes away drops its end of the answer and nothing else. Captures, heartbeats, settles and acts that
//! wait at the same time share a transaction (`group`); claims and the like have one of their own.
//!
//! # Locks
//!
//! Processes decide in Rust, by the rules of `baldur_core::decide`, on rows that nobody else may change meanwhile.
//! All take their locks in one order, so that they wait for one another instead of meeting in a deadlock:
//!
//! 1. limits of live entries, of the domain and then of all (`locks::Scope`);
//! 2. dedup keys and order keys, by number (`locks::keys`): who adds an entry with a key, or moves one of an order
//!    key into or out of the live ones, holds the key; where there are too many of them for one transaction, the
//!    items are spread over several (`heads` keeps the order without keys too);
//! 3. rows of `states`, by id; claims of due entries and lapses take those that nobody holds (`SKIP LOCKED`), and
//!    lapses then only those keys that nobody holds;
//! 4. new combinations of `facet_keys`.
//!
//! Where two orders can't be told apart beforehand, PostgreSQL ends one of the transactions, and it is done again from
//! its start: nothing of it was applied. So is one that met a row which another was faster to insert.

mod candidate;
mod capture;
mod claim;
mod coordinate;
mod counters;
mod due;
mod effects;
mod engine;
mod facet_keys;
mod fold;
mod gone;
mod group;
mod heads;
mod import;
mod insert;
mod lapse;
mod limits;
mod locks;
mod look;
mod marks;
mod merge;
mod room;
mod session;
mod settle;
mod trail;
mod update;
mod work;

pub(crate) use capture::Capturing;
pub(crate) use claim::Claiming;
pub(crate) use coordinate::{Saving, Taking};
pub(crate) use engine::{Engine, fail_all};
pub(crate) use fold::reset;
pub(crate) use group::{Queue, Queues};
pub(crate) use import::Importing;
pub(crate) use lapse::Lapsing;
pub(crate) use session::Session;
pub(crate) use settle::{Acting, Extending, Settling};
pub(crate) use work::{Answers, Work};
