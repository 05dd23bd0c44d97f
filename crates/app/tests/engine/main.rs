//! The replay engine and `protect` against the reference store, in virtual time.

mod faults;
mod lease;
mod lossless;
mod paced;
mod protected;
mod protected_faults;
mod recovery;
mod recovery_stops;
mod recovery_world;
mod replayed;
mod sums;
mod world;
