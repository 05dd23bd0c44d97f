//! Tests on real servers.

mod capture;
mod claiming;
mod claims;
mod heads;
mod lab;
mod poolers;
mod settles;
mod support;
