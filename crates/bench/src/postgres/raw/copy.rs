//! Captures by `COPY`, the fastest way into PostgreSQL. It can't pass over rows that are there already, so it is no
//! limit for captures, which have to; it is shown beside.

use std::{fmt::Write as _, time::Duration};

use baldur_core::{Clock as _, SystemClock, command::Capture, query::EntrySummary};

use super::{Raw, body};
use crate::ours::Failure;

impl Raw {
    /// Copies entries in, committing every `rows`.
    pub(in crate::postgres) async fn copy(
        &mut self,
        ops: &[Capture],
        rows: usize,
    ) -> Result<Duration, Failure> {
        let start = SystemClock.mono();
        for group in ops.chunks(rows) {
            sqlx::raw_sql("BEGIN").execute(&mut self.db).await?;
            self.copy_group(group).await?;
            sqlx::raw_sql("COMMIT").execute(&mut self.db).await?;
        }
        Ok(SystemClock.mono().saturating_sub(start))
    }

    async fn copy_group(&mut self, group: &[Capture]) -> Result<(), Failure> {
        let (mut entries, mut states, mut payloads) = (String::new(), String::new(), String::new());
        let (mut evidence, mut unsealed) = (String::new(), String::new());
        for capture in group {
            let (op, ns, key) = (&capture.op, self.ns, self.facet_key(&capture.op));
            let (id, at) = (op.id, op.created_at.as_micros());
            let (entity_type, entity_id) = (op.entity_type.as_ref(), op.entity_id.as_ref());
            let preview = EntrySummary::of(op).error_preview;
            writeln!(
                entries,
                "{ns}\t{id}\t{at}\t{key}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t1\t2",
                op.domain,
                op.failure_type,
                op.dependency,
                op.origin_service,
                entity_type.map_or("", AsRef::as_ref),
                entity_id.map_or("", AsRef::as_ref),
                op.error_code,
                escaped(&preview),
                op.idempotency_key,
                op.fingerprint.text,
            )?;
            writeln!(
                states,
                "{ns}\t{id}\t{at}\t{key}\t{}\t{}\tt\tt\tpending\t0\t{at}\t0\t0\t0\t\t1\t{at}\t1\t{at}",
                op.domain, op.dependency
            )?;
            writeln!(
                payloads,
                "{ns}\t{id}\t{}\t{}\t1\t{}\t{}\t{}\t{}\t{}",
                escaped(op.entity_refs.as_str()),
                escaped(op.request_data.as_str()),
                escaped(op.snapshot_data.as_str()),
                escaped(op.response_data.as_str()),
                escaped(op.metadata.as_str()),
                escaped(&op.error_message),
                escaped(&op.next_action_hint),
            )?;
            writeln!(evidence, "{ns}\t{id}\t1\t{}", escaped(&body(capture)))?;
            writeln!(unsealed, "{ns}\t{id}\t1\t{at}")?;
        }
        for (table, rows) in [
            (
                "entries (ns, id, created_at, facet_key, domain, failure_type, dependency, origin_service, entity_type, \
                 entity_id, error_code, error_preview, idempotency_key, fingerprint, fingerprint_version, max_retries)",
                entries,
            ),
            (
                "states (ns, id, created_at, facet_key, domain, dependency, replayable, order_head, status, \
                 retry_count, next_attempt_at, claim_token, force_redrive_count, previous_total_retries, \
                 resolution_note, occurrences, last_occurred_at, evidence_count, updated_at)",
                states,
            ),
            (
                "payloads (ns, id, entity_refs, request_data, payload_version, snapshot_data, response_data, metadata, \
                 error_message, next_action_hint)",
                payloads,
            ),
            ("evidence (ns, id, counter, body)", evidence),
            ("unsealed (ns, id, counter, at)", unsealed),
        ] {
            let mut copy = self.db.copy_in_raw(&format!("COPY baldur.{table} FROM STDIN")).await?;
            copy.send(rows.as_bytes()).await?;
            copy.finish().await?;
        }
        Ok(())
    }
}

/// A value in the text form of `COPY`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn what_ends_a_value_is_escaped() {
        assert_eq!(escaped("a\tb\\c\nd\r"), "a\\tb\\\\c\\nd\\r");
    }
}
