//! Captures at their physical limit: one statement for each table, its rows by `unnest`.

use std::time::Duration;

use baldur_core::{Clock as _, FailedOp, SystemClock, command::Capture, query::EntrySummary};
use sqlx::types::Uuid;

use super::{Raw, body};
use crate::ours::Failure;

const ENTRIES: &str = "INSERT INTO baldur.entries (ns, id, created_at, facet_key, domain, failure_type, dependency,
     origin_service, entity_type, entity_id, error_code, error_preview, idempotency_key, fingerprint,
     fingerprint_version, max_retries)
     SELECT $1, * FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[],
      $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::int[], $16::int[])
     ON CONFLICT DO NOTHING";

const STATES: &str = "INSERT INTO baldur.states (ns, id, created_at, facet_key, domain, dependency, replayable,
     order_head, status, retry_count, next_attempt_at, claim_token, force_redrive_count, previous_total_retries,
     resolution_note, occurrences, last_occurred_at, evidence_count, updated_at)
     SELECT $1, v.id, v.at, v.facet_key, v.domain, v.dependency, true, true, 'pending', 0, v.at, 0, 0, 0, '', 1, v.at,
      1, v.at
     FROM unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::text[], $6::text[])
      v(id, at, facet_key, domain, dependency)
     ON CONFLICT DO NOTHING";

const PAYLOADS: &str = "INSERT INTO baldur.payloads (ns, id, entity_refs, request_data, payload_version, snapshot_data,
     response_data, metadata, error_message, next_action_hint)
     SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[],
      $9::text[], $10::text[])
     ON CONFLICT DO NOTHING";

const EVIDENCE: &str = "INSERT INTO baldur.evidence (ns, id, counter, body)
     SELECT $1, v.id, 1, v.body FROM unnest($2::uuid[], $3::text[]) v(id, body) ON CONFLICT DO NOTHING";

const UNSEALED: &str = "INSERT INTO baldur.unsealed (ns, id, counter, at)
     SELECT $1, v.id, 1, v.at FROM unnest($2::uuid[], $3::bigint[]) v(id, at) ON CONFLICT DO NOTHING";

impl Raw {
    /// Writes entries, committing every `rows`.
    pub(in crate::postgres) async fn capture(
        &mut self,
        ops: &[Capture],
        rows: usize,
    ) -> Result<Duration, Failure> {
        let start = SystemClock.mono();
        for group in ops.chunks(rows) {
            sqlx::raw_sql("BEGIN").execute(&mut self.db).await?;
            self.insert_entries(group).await?;
            self.insert_states(group).await?;
            self.insert_payloads(group).await?;
            self.insert_evidence(group).await?;
            sqlx::raw_sql("COMMIT").execute(&mut self.db).await?;
        }
        Ok(SystemClock.mono().saturating_sub(start))
    }

    async fn insert_entries(&mut self, group: &[Capture]) -> Result<(), Failure> {
        let previews: Vec<String> =
            group.iter().map(|capture| EntrySummary::of(&capture.op).error_preview).collect();
        let keys: Vec<i64> = group.iter().map(|capture| self.facet_key(&capture.op)).collect();
        sqlx::query(ENTRIES)
            .bind(self.ns)
            .bind(ids(group))
            .bind(times(group))
            .bind(keys)
            .bind(texts(group, |op| op.domain.as_str()))
            .bind(texts(group, |op| op.failure_type.as_str()))
            .bind(texts(group, |op| op.dependency.as_str()))
            .bind(texts(group, |op| op.origin_service.as_str()))
            .bind(texts(group, |op| op.entity_type.as_ref().map_or("", AsRef::as_ref)))
            .bind(texts(group, |op| op.entity_id.as_ref().map_or("", AsRef::as_ref)))
            .bind(texts(group, |op| &op.error_code))
            .bind(previews)
            .bind(texts(group, |op| op.idempotency_key.as_str()))
            .bind(texts(group, |op| op.fingerprint.text.as_str()))
            .bind(vec![1_i32; group.len()])
            .bind(vec![2_i32; group.len()])
            .execute(&mut self.db)
            .await?;
        Ok(())
    }

    async fn insert_states(&mut self, group: &[Capture]) -> Result<(), Failure> {
        let keys: Vec<i64> = group.iter().map(|capture| self.facet_key(&capture.op)).collect();
        sqlx::query(STATES)
            .bind(self.ns)
            .bind(ids(group))
            .bind(times(group))
            .bind(keys)
            .bind(texts(group, |op| op.domain.as_str()))
            .bind(texts(group, |op| op.dependency.as_str()))
            .execute(&mut self.db)
            .await?;
        Ok(())
    }

    async fn insert_payloads(&mut self, group: &[Capture]) -> Result<(), Failure> {
        sqlx::query(PAYLOADS)
            .bind(self.ns)
            .bind(ids(group))
            .bind(texts(group, |op| op.entity_refs.as_str()))
            .bind(texts(group, |op| op.request_data.as_str()))
            .bind(vec![1_i64; group.len()])
            .bind(texts(group, |op| op.snapshot_data.as_str()))
            .bind(texts(group, |op| op.response_data.as_str()))
            .bind(texts(group, |op| op.metadata.as_str()))
            .bind(texts(group, |op| &op.error_message))
            .bind(texts(group, |op| &op.next_action_hint))
            .execute(&mut self.db)
            .await?;
        Ok(())
    }

    async fn insert_evidence(&mut self, group: &[Capture]) -> Result<(), Failure> {
        let bodies: Vec<String> = group.iter().map(body).collect();
        let (ns, ids, times) = (self.ns, ids(group), times(group));
        sqlx::query(EVIDENCE).bind(ns).bind(&ids[..]).bind(bodies).execute(&mut self.db).await?;
        sqlx::query(UNSEALED).bind(ns).bind(&ids[..]).bind(times).execute(&mut self.db).await?;
        Ok(())
    }
}

fn ids(group: &[Capture]) -> Vec<Uuid> {
    group.iter().map(|capture| Uuid::from_bytes(*capture.op.id.as_bytes())).collect()
}

fn times(group: &[Capture]) -> Vec<i64> {
    group.iter().map(|capture| capture.op.created_at.as_micros()).collect()
}

fn texts(group: &[Capture], of: impl Fn(&FailedOp) -> &str) -> Vec<&str> {
    group.iter().map(|capture| of(&capture.op)).collect()
}
