//! The replay engine and `protect` against the reference store, in virtual time.

mod faults;
mod lease;
mod paced;
mod protected;
mod protected_faults;
mod replayed;
mod shared_breakers;
mod sums;
mod world;
