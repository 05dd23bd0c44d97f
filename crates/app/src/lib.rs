//! Use cases of Baldur's open edition, over the ports of `baldur-core`.

pub mod env;
pub mod replay;

pub use env::{Env, OsIdGen, Who};
