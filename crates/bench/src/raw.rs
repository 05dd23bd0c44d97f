//! The physical limit of the SQLite store: sqlx on the same tables, writing the same rows with the same durability.
//!
//! Nothing is decided, checked, grouped or shared here: one task, one connection, values known in advance. Rows go in
//! with many-row statements, which is the fastest way that sqlx offers.

mod claims;

use std::{collections::BTreeMap, path::Path, time::Duration};

use baldur_core::{
    Clock as _, EntryId, EvidenceRecord, FailedOp, SystemClock, Timestamp, command::Capture,
    query::EntrySummary, wire,
};
use sqlx::{
    Connection as _, QueryBuilder, Row as _, Sqlite, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::{load, ours::Failure};

/// Rows in one statement. Measured here: more gains nothing, fewer loses.
const ROWS_PER_STATEMENT: usize = 50;

/// A connection to a file that the store has created and closed.
#[derive(Debug)]
pub(crate) struct Raw {
    db: SqliteConnection,
    ns: i64,
    next_seq: i64,
    next_pos: i64,
    facet_keys: BTreeMap<(String, String, String), i64>,
}

impl Raw {
    pub(crate) async fn open(path: &Path) -> Result<Self, Failure> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true);
        let mut db = SqliteConnection::connect_with(&options).await?;
        let ns = sqlx::query_scalar("SELECT ns FROM namespaces").fetch_one(&mut db).await?;
        let next_seq = sqlx::query_scalar("SELECT coalesce(max(seq), 0) + 1 FROM entries")
            .fetch_one(&mut db)
            .await?;
        let next_pos = sqlx::query_scalar("SELECT coalesce(max(pos), 0) + 1 FROM unsealed")
            .fetch_one(&mut db)
            .await?;
        let mut raw = Self { db, ns, next_seq, next_pos, facet_keys: BTreeMap::new() };
        raw.make_facet_keys().await?;
        Ok(raw)
    }

    /// Both sides count into keys that are there already.
    async fn make_facet_keys(&mut self) -> Result<(), Failure> {
        for capture in load::Load::new().take(2 * load::DOMAINS) {
            let FailedOp { domain, failure_type, dependency, .. } = &capture.op;
            sqlx::query(
                "INSERT INTO facet_keys (ns, domain, failure_type, dependency) VALUES (?, ?, ?, ?)
                 ON CONFLICT DO NOTHING",
            )
            .bind(self.ns)
            .bind(domain.as_str())
            .bind(failure_type.as_str())
            .bind(dependency.as_str())
            .execute(&mut self.db)
            .await?;
        }
        let rows =
            sqlx::query("SELECT domain, failure_type, dependency, facet_key FROM facet_keys")
                .fetch_all(&mut self.db)
                .await?;
        for row in rows {
            self.facet_keys.insert((row.get(0), row.get(1), row.get(2)), row.get(3));
        }
        Ok(())
    }

    pub(crate) async fn close(self) -> Result<(), Failure> {
        Ok(self.db.close().await?)
    }

    /// Writes entries, committing every `rows`.
    pub(crate) async fn capture(
        &mut self,
        ops: &[Capture],
        rows: usize,
    ) -> Result<Duration, Failure> {
        let start = SystemClock.mono();
        for group in ops.chunks(rows) {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut self.db).await?;
            for chunk in group.chunks(ROWS_PER_STATEMENT) {
                self.insert_entries(chunk).await?;
                self.insert_payloads(chunk).await?;
                self.insert_evidence(chunk).await?;
                self.next_seq += i64::try_from(chunk.len())?;
                self.next_pos += i64::try_from(chunk.len())?;
            }
            self.count(group).await?;
            sqlx::query("COMMIT").execute(&mut self.db).await?;
        }
        Ok(SystemClock.mono().saturating_sub(start))
    }

    fn facet_key(&self, op: &FailedOp) -> i64 {
        let name = (op.domain.to_string(), op.failure_type.to_string(), op.dependency.to_string());
        self.facet_keys.get(&name).copied().unwrap_or_default()
    }

    async fn insert_entries(&mut self, chunk: &[Capture]) -> Result<(), Failure> {
        let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO entries (seq, ns, id, created_at, facet_key, domain, failure_type, dependency,
             origin_service, entity_type, entity_id, error_code, error_preview, idempotency_key,
             fingerprint, fingerprint_version, order_head, status, retry_count, max_retries,
             next_attempt_at, claim_token, force_redrive_count, previous_total_retries,
             resolution_note, occurrences, last_occurred_at, evidence_count, updated_at) ",
        );
        let (ns, mut seq) = (self.ns, self.next_seq);
        let keys: Vec<i64> = chunk.iter().map(|capture| self.facet_key(&capture.op)).collect();
        insert.push_values(chunk.iter().zip(keys), |mut row, (capture, key)| {
            let op = &capture.op;
            let at = op.created_at.as_micros();
            let summary = EntrySummary::of(op);
            row.push_bind(seq).push_bind(ns).push_bind(op.id.as_bytes().to_vec()).push_bind(at);
            row.push_bind(key)
                .push_bind(op.domain.to_string())
                .push_bind(op.failure_type.to_string())
                .push_bind(op.dependency.to_string())
                .push_bind(op.origin_service.to_string())
                .push_bind(op.entity_type.as_ref().map(ToString::to_string))
                .push_bind(op.entity_id.as_ref().map(ToString::to_string))
                .push_bind(op.error_code.clone())
                .push_bind(summary.error_preview)
                .push_bind(op.idempotency_key.to_string())
                .push_bind(op.fingerprint.text.to_string())
                .push_bind(i64::from(op.fingerprint.version));
            row.push_bind(1_i64).push_bind("pending").push_bind(0_i64).push_bind(2_i64);
            row.push_bind(at).push_bind(0_i64).push_bind(0_i64).push_bind(0_i64).push_bind("");
            row.push_bind(1_i64).push_bind(at).push_bind(1_i64).push_bind(at);
            seq += 1;
        });
        insert.build().execute(&mut self.db).await?;
        Ok(())
    }

    async fn insert_payloads(&mut self, chunk: &[Capture]) -> Result<(), Failure> {
        let mut insert: QueryBuilder<Sqlite> = QueryBuilder::new(
            "INSERT INTO payloads (seq, entity_refs, request_data, payload_version, snapshot_data,
             response_data, metadata, error_message, next_action_hint) ",
        );
        let mut seq = self.next_seq;
        insert.push_values(chunk, |mut row, capture| {
            let op = &capture.op;
            row.push_bind(seq)
                .push_bind(op.entity_refs.as_str())
                .push_bind(op.request_data.as_str())
                .push_bind(1_i64)
                .push_bind(op.snapshot_data.as_str())
                .push_bind(op.response_data.as_str())
                .push_bind(op.metadata.as_str())
                .push_bind(op.error_message.as_str())
                .push_bind(op.next_action_hint.as_str());
            seq += 1;
        });
        insert.build().execute(&mut self.db).await?;
        Ok(())
    }

    async fn insert_evidence(&mut self, chunk: &[Capture]) -> Result<(), Failure> {
        let bodies: Vec<String> = chunk.iter().map(body).collect();
        let (ns, first) = (self.ns, self.next_seq);
        let mut seq = first;
        let mut insert: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO evidence (entry, counter, body) ");
        insert.push_values(bodies, |mut row, body| {
            row.push_bind(seq).push_bind(1_i64).push_bind(body);
            seq += 1;
        });
        insert.build().execute(&mut self.db).await?;
        let (mut seq, mut pos) = (first, self.next_pos);
        let mut insert: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO unsealed (ns, pos, entry, counter, at) ");
        insert.push_values(chunk, |mut row, capture| {
            let at = capture.evidence.at.as_micros();
            row.push_bind(ns).push_bind(pos).push_bind(seq).push_bind(1_i64).push_bind(at);
            seq += 1;
            pos += 1;
        });
        insert.build().execute(&mut self.db).await?;
        Ok(())
    }

    async fn count(&mut self, group: &[Capture]) -> Result<(), Failure> {
        let mut added: BTreeMap<i64, i64> = BTreeMap::new();
        for capture in group {
            *added.entry(self.facet_key(&capture.op)).or_default() += 1;
        }
        for (key, n) in added {
            self.add("pending", key, n).await?;
        }
        self.add_unsealed(group.len()).await
    }

    async fn add(&mut self, status: &str, key: i64, n: i64) -> Result<(), Failure> {
        sqlx::query(
            "INSERT INTO counters (facet_key, status, n) VALUES (?, ?, max(?, 0))
             ON CONFLICT (facet_key, status) DO UPDATE SET n = n + ?",
        )
        .bind(key)
        .bind(status)
        .bind(n)
        .bind(n)
        .execute(&mut self.db)
        .await?;
        Ok(())
    }

    async fn add_unsealed(&mut self, n: usize) -> Result<(), Failure> {
        sqlx::query("UPDATE namespaces SET unsealed = unsealed + ? WHERE ns = ?")
            .bind(i64::try_from(n)?)
            .bind(self.ns)
            .execute(&mut self.db)
            .await?;
        Ok(())
    }

    /// Reads a page of the whole list after a position; returns the last position.
    pub(crate) async fn page(
        &mut self,
        after: Option<(Timestamp, EntryId)>,
        limit: usize,
    ) -> Result<usize, Failure> {
        let (at, id) =
            after.map_or((i64::MAX, [0xff; 16]), |(at, id)| (at.as_micros(), *id.as_bytes()));
        let rows = sqlx::query(
            "SELECT id, domain, failure_type, dependency, origin_service, status, retry_count,
                    max_retries, error_code, error_preview, entity_type, entity_id, order_key, dedup_key,
                    occurrences, labels, fingerprint, fingerprint_version, not_replayable, created_at,
                    updated_at, next_attempt_at, resolved_at
             FROM entries WHERE ns = ? AND (created_at, id) < (?, ?)
             ORDER BY created_at DESC, id DESC LIMIT ?",
        )
        .bind(self.ns)
        .bind(at)
        .bind(id.to_vec())
        .bind(i64::try_from(limit)?)
        .fetch_all(&mut self.db)
        .await?;
        Ok(rows.iter().map(|row| row.get::<String, _>(9).len()).sum())
    }

    pub(crate) async fn pending(&mut self) -> Result<i64, Failure> {
        let count = sqlx::query_scalar(
            "SELECT coalesce(sum(n), 0) FROM facet_keys JOIN counters USING (facet_key)
             WHERE ns = ? AND status = 'pending'",
        )
        .bind(self.ns)
        .fetch_one(&mut self.db)
        .await?;
        Ok(count)
    }

    pub(crate) async fn facets(&mut self) -> Result<usize, Failure> {
        let rows = sqlx::query(
            "SELECT status, domain, failure_type, dependency, n
             FROM facet_keys JOIN counters USING (facet_key) WHERE ns = ?",
        )
        .bind(self.ns)
        .fetch_all(&mut self.db)
        .await?;
        Ok(rows.iter().map(|row| row.get::<String, _>(1).len()).sum())
    }
}

fn body(capture: &Capture) -> String {
    let mut op = capture.op.clone();
    op.state.evidence_count = 1;
    wire::encode_evidence(&EvidenceRecord::captured(&op, capture.evidence.clone()))
}
