//! Crate documentation.

pub mod policy;
