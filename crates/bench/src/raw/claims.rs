//! Claims and settles at their physical limit: rows that are known to be due, updated one after the other.

use std::{collections::BTreeMap, time::Duration};

use baldur_core::{
    Cause, ClaimToken, Clock as _, EntryId, Evidence, EvidenceEvent, EvidenceRecord, Status,
    SystemClock, wire,
};
use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::Raw;
use crate::{load, ours::Failure};

struct Due {
    seq: i64,
    id: EntryId,
    key: i64,
    /// What the handler would get.
    bytes: usize,
}

impl Raw {
    /// Claims and resolves `count` entries in batches: two commits for each batch.
    pub(crate) async fn claim_and_settle(
        &mut self,
        count: usize,
        batch: usize,
    ) -> Result<Duration, Failure> {
        let start = SystemClock.mono();
        let mut done = 0;
        while done < count {
            let due = self.claim(batch.min(count - done)).await?;
            if due.is_empty() {
                return Err(format!("only {done} of {count} entries were due").into());
            }
            self.settle(&due).await?;
            done += due.len();
        }
        Ok(SystemClock.mono().saturating_sub(start))
    }

    async fn claim(&mut self, limit: usize) -> Result<Vec<Due>, Failure> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.db).await?;
        let now = SystemClock.now().as_micros();
        let due = self.due(now, limit).await?;
        for row in &due {
            sqlx::query(
                "UPDATE entries SET status = 'replaying', claim_token = claim_token + 1,
                 last_retry_at = ?1, hold_holder = 'bench', hold_claimed_at = ?1,
                 hold_expires_at = ?1 + 60000000, evidence_count = 2, updated_at = ?1 WHERE seq = ?2",
            )
            .bind(now)
            .bind(row.seq)
            .execute(&mut self.db)
            .await?;
        }
        self.moved(&due, Cause::Claim, Status::Pending, Status::Replaying, 2).await?;
        sqlx::query("COMMIT").execute(&mut self.db).await?;
        Ok(due)
    }

    async fn due(&mut self, now: i64, limit: usize) -> Result<Vec<Due>, Failure> {
        let mut due = Vec::new();
        for domain in load::domains() {
            let wanted = limit - due.len();
            if wanted == 0 {
                break;
            }
            let rows = sqlx::query(
                "SELECT e.seq, e.id, e.facet_key, p.* FROM entries e JOIN payloads p USING (seq)
                 WHERE ns = ? AND domain = ? AND next_attempt_at <= ? AND status = 'pending'
                   AND order_head = 1 AND not_replayable IS NULL
                 ORDER BY next_attempt_at, created_at, id LIMIT ?",
            )
            .bind(self.ns)
            .bind(domain.as_str())
            .bind(now)
            .bind(i64::try_from(wanted)?)
            .fetch_all(&mut self.db)
            .await?;
            for row in rows {
                let id: Vec<u8> = row.get(1);
                let id: [u8; 16] = id.as_slice().try_into()?;
                due.push(Due {
                    seq: row.get(0),
                    id: EntryId::from_bytes(id),
                    key: row.get(2),
                    bytes: row.get::<String, _>("request_data").len(),
                });
            }
        }
        Ok(due)
    }

    async fn settle(&mut self, due: &[Due]) -> Result<(), Failure> {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut self.db).await?;
        let now = SystemClock.now().as_micros();
        for row in due {
            if row.bytes == 0 {
                return Err("an entry without its request".into());
            }
            // The real history has about this many bytes.
            let attempts = format!(
                r#"{{"total":1,"kept":[{{"number":1,"claim_token":1,"holder":"bench","started_at":"2026-01-01T00:00:00.000000Z","finished_at":"2026-01-01T00:00:00.000000Z","outcome":"succeeded","note":"{}"}}]}}"#,
                ""
            );
            sqlx::query(
                "UPDATE entries SET status = 'resolved', hold_holder = NULL, hold_claimed_at = NULL,
                 hold_expires_at = NULL, attempts = ?, resolved_at = ?, resolved_by_id = 'bench',
                 resolution_type = 'manual_replay', evidence_count = 3, updated_at = ? WHERE seq = ?",
            )
            .bind(attempts)
            .bind(now)
            .bind(now)
            .bind(row.seq)
            .execute(&mut self.db)
            .await?;
        }
        self.moved(due, Cause::Succeeded, Status::Replaying, Status::Resolved, 3).await?;
        sqlx::query("COMMIT").execute(&mut self.db).await?;
        Ok(())
    }

    /// Counts and keeps the evidence of a step.
    async fn moved(
        &mut self,
        rows: &[Due],
        cause: Cause,
        from: Status,
        to: Status,
        counter: u64,
    ) -> Result<(), Failure> {
        let mut moved: BTreeMap<i64, i64> = BTreeMap::new();
        for row in rows {
            *moved.entry(row.key).or_default() += 1;
        }
        for (key, n) in moved {
            self.add(from.as_str(), key, -n).await?;
            self.add(to.as_str(), key, n).await?;
        }
        let at = SystemClock.now();
        let record = |entry| EvidenceRecord {
            entry,
            counter,
            event: EvidenceEvent::Moved(cause),
            from: Some(from),
            to: Some(to),
            claim_token: ClaimToken(1),
            evidence: Evidence::new(load::actor(), at),
            digest: None,
        };
        let stored = i64::try_from(counter)?;
        let mut insert: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO evidence (entry, counter, body) ");
        insert.push_values(rows, |mut values, row| {
            values.push_bind(row.seq).push_bind(stored);
            values.push_bind(wire::encode_evidence(&record(row.id)));
        });
        insert.build().execute(&mut self.db).await?;
        let (ns, mut pos) = (self.ns, self.next_pos);
        let mut insert: QueryBuilder<Sqlite> =
            QueryBuilder::new("INSERT INTO unsealed (ns, pos, entry, counter, at) ");
        insert.push_values(rows, |mut values, row| {
            values.push_bind(ns).push_bind(pos).push_bind(row.seq).push_bind(stored);
            values.push_bind(at.as_micros());
            pos += 1;
        });
        insert.build().execute(&mut self.db).await?;
        self.next_pos = pos;
        self.add_unsealed(rows.len()).await
    }
}
