//! The use cases over the memory store.

mod breakers;
mod capture;
mod capture_keep;
mod capture_properties;
mod capture_setup;
mod entries;
mod overflow;
mod seen;
