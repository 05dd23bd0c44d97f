//! The replay engine and `protect` against the reference store, in virtual time.

mod faults;
mod lease;
mod lossless;
mod paced;
mod protected;
mod protected_bulkhead;
mod protected_fallback;
mod protected_faults;
mod protected_measured;
mod protected_model;
mod protected_order;
mod protected_panics;
mod recovery;
mod recovery_followed;
mod recovery_missed;
mod recovery_stops;
mod recovery_world;
mod replayed;
mod shared_breakers;
mod shared_breakers_followed;
mod sums;
#[cfg(feature = "tower")]
mod tower_client;
#[cfg(feature = "tower")]
mod tower_server;
mod world;
