//! Tests on real servers.

mod capture;
mod counters;
mod lab;
mod poolers;
mod support;
