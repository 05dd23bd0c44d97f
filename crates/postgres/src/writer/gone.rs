//! Removing entries.

use baldur_core::{
    EntryId, Timestamp,
    name::{Domain, FailureType, OrderKey, ServiceName},
    port::Evicted,
};

use super::session::Session;
use crate::{
    error::StepError,
    sql::{integer, uuids},
};

/// An entry that goes.
pub(super) struct Gone {
    pub(super) origin: Origin,
    pub(super) order_key: Option<OrderKey>,
    pub(super) evicted: Evicted,
    pub(super) at: Timestamp,
}

/// Where an entry that goes was.
pub(super) enum Origin {
    /// In the database, counted under this key.
    Stored {
        /// The key.
        facet_key: i64,
    },
    /// New in the same batch.
    New {
        /// Its place among the new ones.
        index: usize,
    },
}

/// All rows of an entry but its evidence, and the one that remembers it.
pub(crate) const EVICT: &str = "WITH \
     v AS (SELECT * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], \
      $7::bigint[], $8::bigint[], $9::bigint[]) \
      v(id, domain, failure_type, dependency, status, created_at, occurrences, gone_at)), \
     l AS (DELETE FROM baldur.labels l USING baldur.entries e, v \
      WHERE e.ns = $1 AND e.id = v.id AND e.labels IS NOT NULL \
      AND l.ns = $1 AND l.created_at = e.created_at AND l.id = e.id \
      AND l.name IN (SELECT json_object_keys(e.labels::json)) \
      AND l.value = e.labels::json ->> l.name), \
     p AS (DELETE FROM baldur.payloads p USING v WHERE p.ns = $1 AND p.id = v.id), \
     a AS (DELETE FROM baldur.attempts a USING v WHERE a.ns = $1 AND a.id = v.id), \
     s AS (DELETE FROM baldur.states s USING v WHERE s.ns = $1 AND s.id = v.id), \
     e AS (DELETE FROM baldur.entries e USING v WHERE e.ns = $1 AND e.id = v.id) \
     INSERT INTO baldur.gone (ns, id, cause, domain, failure_type, dependency, status, created_at, \
      occurrences, gone_at) \
     SELECT $1, id, 'evicted', domain, failure_type, dependency, status, created_at, occurrences, \
      gone_at FROM v";

/// Removes them. Their counters are changed by whoever asks for it.
pub(super) async fn write(session: &mut Session, gone: &[Gone]) -> Result<(), StepError> {
    if gone.is_empty() {
        return Ok(());
    }
    let each = || gone.iter().map(|gone| &gone.evicted);
    let ids: Vec<EntryId> = each().map(|evicted| evicted.id).collect();
    let domains: Vec<&str> = each().map(|e| Domain::as_str(&e.domain)).collect();
    let types: Vec<&str> = each().map(|e| FailureType::as_str(&e.failure_type)).collect();
    let dependencies: Vec<&str> = each().map(|e| ServiceName::as_str(&e.dependency)).collect();
    let statuses: Vec<&str> = each().map(|evicted| evicted.status.as_str()).collect();
    let captured: Vec<i64> = each().map(|evicted| evicted.captured_at.as_micros()).collect();
    let occurrences: Vec<i64> = each().map(|evicted| integer(evicted.occurrences)).collect();
    let at: Vec<i64> = gone.iter().map(|gone| gone.at.as_micros()).collect();
    let ns = session.ns;
    sqlx::query(EVICT)
        .bind(ns)
        .bind(&uuids(ids)[..])
        .bind(&domains[..])
        .bind(&types[..])
        .bind(&dependencies[..])
        .bind(&statuses[..])
        .bind(&captured[..])
        .bind(&occurrences[..])
        .bind(&at[..])
        .execute(session.conn())
        .await?;
    Ok(())
}
