//! Tests on real servers.

mod capture;
mod lab;
mod poolers;
mod support;
