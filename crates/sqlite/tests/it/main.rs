//! What this adapter promises beyond the contract that all adapters share.

mod check;
mod errors;
mod files;
mod group_commit;
mod migrations;
mod processes;
mod support;
