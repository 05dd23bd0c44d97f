//! Capture that loses nothing: ledger, spooling, drainer and outbox under every fault.

mod disk;
mod drained;
mod measured;
mod outage;
mod parked;
mod plant;
mod property;
mod queued;
mod shelf;
mod spooled;
mod twins;
mod unknown;
mod wire;
