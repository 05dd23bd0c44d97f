//! Claims and settles at their physical limit: a bare `UPDATE … RETURNING` each, which commits by itself. It reads no
//! payload, keeps no attempt and leaves no evidence.

use std::time::Duration;

use baldur_core::{Clock as _, SystemClock};
use sqlx::types::Uuid;

use super::Raw;
use crate::{load, ours::Failure};

const CLAIM: &str = "UPDATE baldur.states s SET status = 'replaying', claim_token = s.claim_token + 1,
     last_retry_at = $3, hold_holder = 'bench', hold_claimed_at = $3, hold_expires_at = $3 + 60000000,
     evidence_count = 2, updated_at = $3
     FROM (SELECT d.id FROM unnest($2::text[]) v(domain) CROSS JOIN LATERAL
      (SELECT s.id, s.next_attempt_at FROM baldur.states s
       WHERE s.ns = $1 AND s.domain = v.domain AND s.status = 'pending' AND s.order_head AND s.replayable
       AND s.next_attempt_at <= $3
       ORDER BY s.next_attempt_at, s.created_at, s.id LIMIT $4) d
      ORDER BY d.next_attempt_at LIMIT $4) d
     WHERE s.ns = $1 AND s.id = d.id RETURNING s.id";

const SETTLE: &str = "UPDATE baldur.states s SET status = 'resolved', hold_holder = NULL, hold_claimed_at = NULL,
     hold_expires_at = NULL, resolved_at = $3, resolved_by_id = 'bench', resolution_type = 'manual_replay',
     evidence_count = 3, updated_at = $3
     WHERE s.ns = $1 AND s.id = ANY($2) AND s.status = 'replaying' RETURNING s.id";

impl Raw {
    /// Claims and resolves `count` entries in batches: two commits for each batch.
    pub(in crate::postgres) async fn claim_and_settle(
        &mut self,
        count: usize,
        batch: usize,
    ) -> Result<Duration, Failure> {
        let domains: Vec<String> = load::domains().iter().map(ToString::to_string).collect();
        let start = SystemClock.mono();
        let mut done = 0;
        while done < count {
            let claimed: Vec<Uuid> = sqlx::query_scalar(CLAIM)
                .bind(self.ns)
                .bind(&domains)
                .bind(SystemClock.now().as_micros())
                .bind(i64::try_from(batch.min(count - done))?)
                .fetch_all(&mut self.db)
                .await?;
            if claimed.is_empty() {
                return Err(format!("only {done} of {count} entries were due").into());
            }
            let settled: Vec<Uuid> = sqlx::query_scalar(SETTLE)
                .bind(self.ns)
                .bind(&claimed)
                .bind(SystemClock.now().as_micros())
                .fetch_all(&mut self.db)
                .await?;
            if settled.len() != claimed.len() {
                return Err("a claimed entry was not settled".into());
            }
            done += settled.len();
        }
        Ok(SystemClock.mono().saturating_sub(start))
    }
}
