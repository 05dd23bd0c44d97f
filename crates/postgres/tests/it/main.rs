//! Tests on real servers.

mod database;
mod migrations;
mod poolers;
mod reads;
mod support;
