//! The spool on a simulated disk, and the properties that it keeps there.

mod adoption;
mod appending;
mod crashes;
mod damage;
mod reading;
mod support;
