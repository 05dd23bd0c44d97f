//! Keeps failed operations and brings them back: what a host depends on.

pub use baldur_core::Chain;
