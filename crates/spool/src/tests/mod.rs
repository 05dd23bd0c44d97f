//! The spool on a simulated disk, and the properties that it keeps there.

mod adoption;
mod appending;
mod crashes;
mod damage;
mod queueing;
mod reading;
mod support;
