//! Tests on real servers.

mod capture;
mod claiming;
mod claims;
mod counters;
mod database;
mod enlisting;
mod group_commit;
mod heads;
mod lab;
mod migrations;
mod opening;
mod poolers;
mod reads;
mod settles;
mod support;
