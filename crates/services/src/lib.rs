//! Private servers for tests and benches: real ones, each on a free port, with its files in a
//! temporary folder, and ended by process id whatever happens to who started it.
//!
//! ```no_run
//! use baldur_services::{PostgresOptions, PostgresServer, ServiceError};
//!
//! fn main() -> Result<(), ServiceError> {
//!     let mut server = PostgresServer::start(PostgresOptions::default())?;
//!     let _url = server.url(); // a secret: it holds a password
//!     server.kill()?; // SIGKILL, as a crash
//!     server.start_again()?; // the same data, the same port
//!     Ok(()) // dropped: the processes are gone, and so is the folder
//! }
//! ```
//!
//! **Guaranteed.** When a server's value is dropped, and when the process that holds it ends in any other
//! way (SIGKILL included), its processes are ended and its folder is removed: at once in the
//! first case, within seconds in the second. Nothing is ended by name.
//!
//! **Not guaranteed.** It works on Linux only, because it looks processes up in `/proc`. The port
//! was free when the server took it; while a server is down, others could take it.
//!
//! Calls block the thread, each for at most a minute or so. In async code they belong into
//! `spawn_blocking`.

mod account;
mod environment;
mod error;
mod files;
mod guard;
mod pgbouncer;
mod port;
mod postgres;
mod process;

pub use environment::{
    POSTGRES_BIN, POSTGRES_CONTROL, POSTGRES_URL, REQUIRE, are_required, postgres_url,
};
pub use error::ServiceError;
pub use pgbouncer::{PgBouncer, PgBouncerOptions};
pub use postgres::{PostgresOptions, PostgresServer, postgres_bin};
