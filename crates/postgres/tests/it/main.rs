//! Tests on real servers.

mod capture;
mod counters;
mod database;
mod lab;
mod migrations;
mod poolers;
mod reads;
mod support;
