//! Tests on real servers.

mod poolers;
mod support;
