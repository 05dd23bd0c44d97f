//! Tests on real servers.

mod capture;
mod claiming;
mod claims;
mod counters;
mod database;
mod durability;
mod enlisting;
mod faults_cancel;
mod faults_cuts;
mod faults_hangs;
mod faults_lab;
mod faults_load;
mod faults_silence;
mod faults_storm;
mod faults_trial;
mod group_commit;
mod heads;
mod intake;
mod lab;
mod migrations;
mod opening;
mod poolers;
mod reads;
mod settles;
mod support;
mod transactions;
