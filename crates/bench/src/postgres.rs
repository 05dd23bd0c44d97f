//! Figures of the PostgreSQL store, each beside plain sqlx on a database of the same schema, in the same server.
//!
//! The server is a private one with `fsync` on, unless `BALDUR_TEST_POSTGRES_URL` names another.

mod fill;
mod footprint;
mod growth;
mod horizon;
mod raw;
mod reads;
mod server;
mod writes;

use baldur_core::name::Namespace;
use baldur_postgres::{PostgresConfig, PostgresStore};
use secrecy::ExposeSecret as _;

use self::{
    raw::Raw,
    server::{Database, Server},
};
use crate::{
    args::{Args, Plan},
    figures::Figure,
    ours::{Failure, Ports},
    reading::Read,
};

pub(crate) const STORE: &str = "postgres";

/// Rows in one commit of the batch figures, on both sides.
const BATCH: usize = 500;

/// Entries in one claim, and in one settle, on both sides.
const CLAIM: usize = 100;

/// Our store, on a database of its own.
#[derive(Debug)]
struct Ours {
    store: PostgresStore,
    database: Database,
}

impl Ours {
    async fn fresh(server: &Server) -> Result<Self, Failure> {
        let database = server.database().await?;
        let store = open(&database).await?;
        Ok(Self { store, database })
    }

    fn ports(&self) -> Ports {
        Ports::of(&self.store)
    }

    async fn close(self) -> Result<(), Failure> {
        self.store.close().await;
        self.database.remove().await
    }
}

/// The raw connection, on a database of its own; the store made its schema.
#[derive(Debug)]
struct Limit {
    raw: Raw,
    database: Database,
}

impl Limit {
    async fn fresh(server: &Server) -> Result<Self, Failure> {
        let database = server.database().await?;
        open(&database).await?.close().await;
        let raw = Raw::open(&database).await?;
        Ok(Self { raw, database })
    }

    async fn close(self) -> Result<(), Failure> {
        self.raw.close().await?;
        self.database.remove().await
    }
}

async fn open(database: &Database) -> Result<PostgresStore, Failure> {
    let url = database.url().expose_secret().parse()?;
    let config = PostgresConfig::new(url, Namespace::default_namespace());
    Ok(PostgresStore::open(config).await?)
}

/// All figures of this store.
pub(crate) async fn run(args: &Args, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let reads = Read::ALL.iter().any(|read| args.wants(read.name()));
    let parts =
        [writes::CAPTURE, writes::CLAIM_AND_SETTLE, growth::NAME, horizon::NAME, footprint::NAME];
    if !reads && !parts.iter().any(|name| args.wants(name)) {
        return Ok(Vec::new());
    }
    let server = Server::start().await?;
    let mut figures = Vec::new();
    if args.wants(writes::CAPTURE) {
        figures.extend(writes::capture(&server, plan).await?);
    }
    if args.wants(writes::CLAIM_AND_SETTLE) {
        figures.push(writes::claim_and_settle(&server, plan).await?);
    }
    if args.wants(growth::NAME) {
        figures.extend(growth::beside_resolved(&server, plan).await?);
    }
    if args.wants(horizon::NAME) {
        figures.push(horizon::claims_under_a_held_one(&server, plan).await?);
    }
    if args.wants(footprint::NAME) {
        figures.extend(footprint::run(&server, plan).await?);
    }
    if reads {
        figures.extend(reads::run(&server, args, plan).await?);
    }
    server.stop().await?;
    Ok(figures)
}
