//! Figures of the SQLite store, each beside raw sqlx on a file of the same schema.

mod growth;
mod http;
mod reads;
mod writes;

use std::{path::Path, sync::Arc};

use baldur_core::{SystemClock, name::Namespace};
use baldur_sqlite::{SqliteConfig, SqliteStore};
use tempfile::TempDir;

use crate::{
    args::{Args, Plan},
    figures::Figure,
    ours::{Failure, Ports},
    raw::Raw,
};

pub(crate) const STORE: &str = "sqlite";
const AGAINST: &str = "raw sqlx";

/// Rows in one commit of the batch figures, on both sides.
const BATCH: usize = 500;

/// Our store and the raw connection, each on a file of its own in one folder, so on one disk.
#[derive(Debug)]
struct Pair {
    folder: TempDir,
    store: SqliteStore,
    raw: Raw,
}

impl Pair {
    async fn fresh() -> Result<Self, Failure> {
        let folder = tempfile::tempdir()?;
        let store = open(&folder.path().join("ours.db")).await?;
        let raw_path = folder.path().join("raw.db");
        // The store makes the schema of both files.
        open(&raw_path).await?.close().await;
        let raw = Raw::open(&raw_path).await?;
        Ok(Self { folder, store, raw })
    }

    fn ports(&self) -> Ports {
        Ports::of(&self.store)
    }

    /// Closes both; the folder lives as long as what is returned.
    async fn close(self) -> Result<TempDir, Failure> {
        self.store.close().await;
        self.raw.close().await?;
        Ok(self.folder)
    }
}

async fn open(path: &Path) -> Result<SqliteStore, Failure> {
    let config = SqliteConfig::new(path, Namespace::default_namespace());
    Ok(SqliteStore::open(config, Arc::new(SystemClock)).await?)
}

/// All figures of this store.
pub(crate) async fn run(args: &Args, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    if args.wants("capture") {
        figures.extend(writes::capture(plan).await?);
    }
    if args.wants("NDJSON") {
        figures.push(writes::ndjson(plan).await?);
    }
    if args.wants(http::NAME) {
        figures.push(http::ndjson(plan).await?);
    }
    if args.wants("claim") {
        figures.push(writes::claim_and_settle(plan).await?);
        figures.push(growth::claims_beside_resolved(plan).await?);
    }
    if args.wants("list") || args.wants("count") || args.wants("facets") {
        figures.extend(reads::run(args, plan).await?);
    }
    Ok(figures)
}
