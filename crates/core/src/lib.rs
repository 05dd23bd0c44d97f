//! Crate documentation.
