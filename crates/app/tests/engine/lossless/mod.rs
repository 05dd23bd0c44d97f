//! Capture that loses nothing: ledger, spooling, drainer and outbox under every fault.

mod outage;
mod plant;
mod property;
mod shelf;
mod wire;
