//! How connections to a database are set up.

use std::time::Duration;

use sqlx::{
    ConnectOptions, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{config::SqliteConfig, error::is_busy};

/// How many prepared statements a connection keeps. The writer has a few dozen shapes in four sizes each.
const STATEMENTS: usize = 256;

/// Pauses between tries to open a file that others are just setting up.
const PAUSE: Duration = Duration::from_millis(10);

fn common(config: &SqliteConfig) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&config.path)
        .create_if_missing(false)
        .busy_timeout(config.busy_timeout)
        .statement_cache_capacity(STATEMENTS)
        .foreign_keys(true)
        // Statements carry payloads; nothing of them belongs in a log.
        .disable_statement_logging()
}

/// The size of a page, SQLite's default. It is fixed when a file is made.
const PAGE: u64 = 4096;

fn writing(config: &SqliteConfig) -> SqliteConnectOptions {
    // SQLite takes its largest number of pages for no limit.
    let pages = config.max_bytes.map_or(4_294_967_294, |bytes| bytes / PAGE);
    common(config)
        .thread_name(|_| "baldur-sqlite-writer".to_owned())
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("max_page_count", pages.to_string())
        .pragma("cache_size", "-32000")
        // 16 MiB of log between checkpoints: fewer of them, and a recovery still takes a fraction of a second.
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864")
}

fn reading(config: &SqliteConfig) -> SqliteConnectOptions {
    common(config)
        .thread_name(|n| format!("baldur-sqlite-reader-{n}"))
        .read_only(true)
        .synchronous(SqliteSynchronous::Full)
        .pragma("query_only", "1")
}

/// The one connection that writes. Waits up to the busy timeout for others who set the file up right now:
/// changing the journal mode does not wait by itself.
pub(crate) async fn writer(config: &SqliteConfig) -> Result<SqliteConnection, sqlx::Error> {
    let options = writing(config);
    let tries = config.busy_timeout.as_millis() / PAUSE.as_millis();
    for _ in 0..tries {
        match options.connect().await {
            Err(error) if is_busy(&error) => tokio::time::sleep(PAUSE).await,
            done => return done,
        }
    }
    options.connect().await
}

/// Connections that read, made when they are needed.
pub(crate) fn readers(config: &SqliteConfig) -> SqlitePool {
    SqlitePoolOptions::new()
        .min_connections(0)
        .max_connections(config.max_readers)
        .acquire_timeout(config.busy_timeout)
        .test_before_acquire(false)
        .connect_lazy_with(reading(config))
}
