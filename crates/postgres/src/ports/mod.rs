//! The ports, each method handed to a writer or to a reader.

mod capture;
mod read;
