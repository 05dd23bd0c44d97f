//! The writing connection and what is known while a transaction is open.

use std::{collections::HashMap, sync::Arc};

use baldur_core::{BackendError, Clock, EntryId, name::Namespace};
use sqlx::{Connection, Row, SqliteConnection};

use super::{WriterSettings, facet_keys::FacetKeys};
use crate::{
    config::SqliteConfig,
    connect,
    error::{Phase, StepError, classify, is_recovering},
    rows::{Standing, standing_columns},
    sql::json_ids,
};

/// How often a transaction is tried again when SQLite says busy without having waited, as it does while another
/// process recovers the log.
const BEGIN_TRIES: usize = 3;

/// The writing connection of one namespace.
pub(crate) struct Session {
    config: SqliteConfig,
    /// `None` after it broke; the next transaction opens another one.
    conn: Option<SqliteConnection>,
    pub(super) ns: i64,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) facet_keys: FacetKeys,
    /// The number of the next new entry.
    pub(super) next_seq: i64,
    /// The place of the next record among the unsealed ones.
    pub(super) next_pos: i64,
}

impl Session {
    pub(crate) fn new(
        config: SqliteConfig,
        conn: SqliteConnection,
        ns: i64,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let facet_keys = FacetKeys::default();
        Self { config, conn: Some(conn), ns, clock, facet_keys, next_seq: 1, next_pos: 1 }
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.config.namespace
    }

    /// The connection. Steps run between `begin` and the end of the transaction, so it is there.
    pub(super) fn conn(&mut self) -> Result<&mut SqliteConnection, StepError> {
        self.conn.as_mut().ok_or(StepError::Sql(sqlx::Error::WorkerCrashed))
    }

    /// Opens a transaction that nobody else's writes can come into. Waits up to the busy timeout.
    pub(super) async fn begin(&mut self) -> Result<(), StepError> {
        if self.conn.is_none() {
            self.conn = Some(connect::writer(&self.config).await?);
        }
        let ns = self.ns;
        let conn = self.conn()?;
        let mut tries = 1;
        loop {
            match sqlx::query("BEGIN IMMEDIATE").execute(&mut *conn).await {
                Ok(_) => break,
                Err(error) if is_recovering(&error) && tries < BEGIN_TRIES => tries += 1,
                Err(error) => {
                    self.discard_if_broken(&error);
                    return Err(error.into());
                }
            }
        }
        match read_base(conn, ns).await {
            Ok((seq, pos)) => {
                self.next_seq = seq + 1;
                self.next_pos = pos + 1;
                Ok(())
            }
            Err(error) => {
                self.roll_back().await;
                Err(error.into())
            }
        }
    }

    fn discard_if_broken(&mut self, error: &sqlx::Error) {
        if matches!(error, sqlx::Error::WorkerCrashed | sqlx::Error::Io(_)) {
            self.conn = None;
        }
    }

    /// Makes the transaction durable.
    pub(super) async fn commit(&mut self) -> Result<(), StepError> {
        sqlx::query("COMMIT").execute(self.conn()?).await?;
        Ok(())
    }

    /// Ends the transaction without effect. A connection that can't do so is thrown away, which does it too.
    pub(super) async fn roll_back(&mut self) {
        self.facet_keys.forget();
        let Some(conn) = self.conn.as_mut() else { return };
        if sqlx::query("ROLLBACK").execute(conn).await.is_err() {
            // SQLite may have rolled back by itself already; with a fresh connection there is no doubt.
            self.conn = None;
        }
    }

    pub(super) async fn savepoint(&mut self) -> Result<(), StepError> {
        sqlx::query("SAVEPOINT item").execute(self.conn()?).await?;
        Ok(())
    }

    pub(super) async fn release(&mut self) -> Result<(), StepError> {
        sqlx::query("RELEASE item").execute(self.conn()?).await?;
        Ok(())
    }

    pub(super) async fn rollback_to_savepoint(&mut self) -> Result<(), StepError> {
        self.facet_keys.forget();
        sqlx::query("ROLLBACK TO item").execute(self.conn()?).await?;
        self.release().await
    }

    /// How the connection is set up.
    pub(super) async fn settings(&mut self) -> Result<WriterSettings, BackendError> {
        let read = async {
            let conn = self.conn()?;
            let journal_mode =
                sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *conn).await?;
            let synchronous = sqlx::query_scalar("PRAGMA synchronous").fetch_one(conn).await?;
            Ok(WriterSettings { journal_mode, synchronous })
        };
        read.await.map_err(|error: StepError| classify("check", Phase::BeforeCommit, error))
    }

    /// Writes the log back into the database and closes the connection. What was acknowledged is on disk before.
    pub(super) async fn finish(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        // Others may be reading, and then the log stays: that costs room, nothing else.
        let _ = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut conn).await;
        let _ = conn.close().await;
    }

    /// Where these entries stand. Unknown ids are absent.
    pub(super) async fn standings(
        &mut self,
        ids: impl IntoIterator<Item = EntryId>,
    ) -> Result<HashMap<EntryId, Standing>, StepError> {
        let rows = sqlx::query(STANDINGS)
            .bind(json_ids(ids))
            .bind(self.ns)
            .fetch_all(self.conn()?)
            .await?;
        let standings = rows.iter().map(Standing::read);
        standings.map(|read| read.map(|standing| (standing.id, standing))).collect()
    }
}

pub(crate) const STANDINGS: &str = concat!(
    "SELECT ",
    standing_columns!(),
    " FROM json_each(?1) j CROSS JOIN entries e INDEXED BY entries_id \
     ON e.ns = ?2 AND e.id = unhex(j.value)"
);

/// The largest number of an entry ever given, and the last place among the unsealed records.
async fn read_base(conn: &mut SqliteConnection, ns: i64) -> Result<(i64, i64), sqlx::Error> {
    let row = sqlx::query(
        "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'entries'), 0), \
                coalesce((SELECT max(pos) FROM unsealed WHERE ns = ?1), 0)",
    )
    .bind(ns)
    .fetch_one(conn)
    .await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
