//! Tests on real servers.

mod capture;
mod durability;
mod faults_cancel;
mod faults_cuts;
mod faults_hangs;
mod faults_lab;
mod faults_load;
mod faults_silence;
mod faults_storm;
mod faults_trial;
mod lab;
mod poolers;
mod support;
