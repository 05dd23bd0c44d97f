//! Fills a store with SQL, which is much faster than captures: what is measured then is not how it was filled.
//!
//! The entries are spread as those of the load; their payloads are short. The counters are folded, and the server knows
//! its statistics.

use sqlx::PgConnection;

use crate::{load, ours::Failure};

const FACET_KEYS: &str = "INSERT INTO baldur.facet_keys (ns, domain, failure_type, dependency)
     SELECT n.ns, 'domain_' || i, CASE i % 2 WHEN 0 THEN 'TIMEOUT' ELSE 'CONNECTION_REFUSED' END, 'payment-gateway'
     FROM baldur.namespaces n, generate_series(0, $1 - 1) i ON CONFLICT DO NOTHING";

/// One entry a millisecond, up to a minute ago, of which every `$2`th is pending and the others are resolved.
const NEW: &str = "CREATE TEMPORARY TABLE new AS
     SELECT f.ns, f.facet_key, f.domain, f.failure_type, f.dependency, i,
      (lpad(to_hex(v.ms), 12, '0') || '7' || substr(md5(i::text), 1, 3) || '8' || substr(md5(i::text), 4, 15))::uuid AS id,
      v.ms * 1000 AS at, CASE i % $2 WHEN 0 THEN 'pending' ELSE 'resolved' END AS status
     FROM generate_series(0, $1 - 1) i
     JOIN baldur.facet_keys f ON f.domain = 'domain_' || (i % $3),
     LATERAL (SELECT (extract(epoch FROM now()) * 1000)::bigint - 60000 - $1 + i AS ms) v";

const ROWS: [&str; 6] = [
    "INSERT INTO baldur.entries (ns, id, created_at, facet_key, domain, failure_type, dependency, origin_service,
      entity_type, entity_id, error_code, error_preview, idempotency_key, fingerprint, fingerprint_version, max_retries)
      SELECT ns, id, at, facet_key, domain, failure_type, dependency, 'checkout', 'order', 'order-' || i, 'E503',
       'the gateway answered 503 Service Unavailable', id::text, 'v1:00112233445566778899aabbccddeeff', 1, 2
      FROM new ORDER BY i",
    "INSERT INTO baldur.states (ns, id, created_at, facet_key, domain, dependency, replayable, order_head, status,
      retry_count, next_attempt_at, claim_token, force_redrive_count, previous_total_retries, resolved_at,
      resolved_by_id, resolution_type, resolution_note, occurrences, last_occurred_at, evidence_count, updated_at)
      SELECT ns, id, at, facet_key, domain, dependency, true, true, status, 0, at, 1, 0, 0,
       CASE status WHEN 'resolved' THEN at END, CASE status WHEN 'resolved' THEN 'bench' END,
       CASE status WHEN 'resolved' THEN 'manual_replay' END, '', 1, at, 1, at
      FROM new ORDER BY i",
    "INSERT INTO baldur.payloads (ns, id, entity_refs, request_data, payload_version, snapshot_data, response_data,
      metadata, error_message, next_action_hint)
      SELECT ns, id, '{}', '{\"order\":' || i || '}', 1, '{}', '{}', '{}', '', '' FROM new ORDER BY i",
    "INSERT INTO baldur.evidence (ns, id, counter, body) SELECT ns, id, 1, '{}' FROM new ORDER BY i",
    "INSERT INTO baldur.counters (facet_key, status, n) SELECT facet_key, status, count(*) FROM new GROUP BY 1, 2",
    "INSERT INTO baldur.live_domains (ns, domain, n)
      SELECT ns, domain, count(*) FROM new WHERE status = 'pending' GROUP BY 1, 2",
];

/// Adds entries to an empty store; every `pending`th waits, the others are resolved.
pub(super) async fn fill(
    db: &mut PgConnection,
    count: usize,
    pending: usize,
) -> Result<(), Failure> {
    let domains = i64::try_from(load::DOMAINS)?;
    let (count, pending) = (i64::try_from(count)?, i64::try_from(pending)?);
    sqlx::query(FACET_KEYS).bind(domains).execute(&mut *db).await?;
    sqlx::query(NEW).bind(count).bind(pending).bind(domains).execute(&mut *db).await?;
    for rows in ROWS {
        sqlx::query(rows).execute(&mut *db).await?;
    }
    let live =
        "UPDATE baldur.namespaces SET live = (SELECT count(*) FROM new WHERE status = 'pending')";
    sqlx::query(live).execute(&mut *db).await?;
    sqlx::raw_sql("DROP TABLE new; ").execute(&mut *db).await?;
    // Not in one message: a list of statements is a transaction, in which this is refused.
    sqlx::raw_sql("VACUUM (ANALYZE)").execute(&mut *db).await?;
    // What it left is written now, not while something is measured.
    sqlx::raw_sql("CHECKPOINT").execute(&mut *db).await?;
    Ok(())
}
