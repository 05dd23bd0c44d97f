//! Tests on real servers.

mod capture;
mod database;
mod lab;
mod migrations;
mod poolers;
mod reads;
mod support;
