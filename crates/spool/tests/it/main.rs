//! The spool on a real file system.

#[cfg(unix)]
mod directory;
mod handles;
mod processes;
mod restored;
mod support;
