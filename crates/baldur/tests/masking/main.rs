//! No secret gets past capture, replay and acts: a dictionary of planted secrets, looked for in every byte that is kept.

#![cfg(all(feature = "memory", feature = "sqlite", feature = "spool"))]

mod dictionary;
mod innocent;
mod logs;
mod places;
mod properties;
mod spooled;
mod twins;
mod world;
