//! A real server, asked over real connections.

mod capture;
mod entries;
mod failing;
mod hostile;
mod outage;
mod page;
mod routes;
mod server;
mod stop;
mod stream;
mod ways;
