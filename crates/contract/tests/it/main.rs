//! The fault proxy between a client and an echo server, each fault as the client sees it.

mod door;
mod flows;
mod schedule;
mod support;
mod traps;
