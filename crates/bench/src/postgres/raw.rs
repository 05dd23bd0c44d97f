//! The physical limit of the PostgreSQL store: plain sqlx on the same tables, with the same durability.
//!
//! Nothing is decided, checked, grouped or shared here: one task, one connection, values known in advance.

mod captures;
mod claims;
mod copy;

use std::collections::BTreeMap;

use baldur_core::{EvidenceRecord, FailedOp, command::Capture, wire};
use sqlx::{Connection as _, PgConnection};

use super::server::Database;
use crate::{load, ours::Failure};

/// A connection to a database in which a store has made the schema.
#[derive(Debug)]
pub(super) struct Raw {
    db: PgConnection,
    ns: i32,
    facet_keys: BTreeMap<(String, String, String), i64>,
}

impl Raw {
    pub(super) async fn open(database: &Database) -> Result<Self, Failure> {
        let mut db = database.connect().await?;
        let ns = sqlx::query_scalar("SELECT ns FROM baldur.namespaces").fetch_one(&mut db).await?;
        let mut raw = Self { db, ns, facet_keys: BTreeMap::new() };
        raw.make_facet_keys().await?;
        Ok(raw)
    }

    /// Both sides count into keys that are there already.
    async fn make_facet_keys(&mut self) -> Result<(), Failure> {
        for capture in load::Load::new().take(2 * load::DOMAINS) {
            let FailedOp { domain, failure_type, dependency, .. } = &capture.op;
            let key: Option<i64> = sqlx::query_scalar(
                "INSERT INTO baldur.facet_keys (ns, domain, failure_type, dependency)
                 VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING facet_key",
            )
            .bind(self.ns)
            .bind(domain.as_str())
            .bind(failure_type.as_str())
            .bind(dependency.as_str())
            .fetch_optional(&mut self.db)
            .await?;
            if let Some(key) = key {
                self.facet_keys.insert(name(&capture.op), key);
            }
        }
        Ok(())
    }

    fn facet_key(&self, op: &FailedOp) -> i64 {
        self.facet_keys.get(&name(op)).copied().unwrap_or_default()
    }

    pub(super) async fn close(self) -> Result<(), Failure> {
        Ok(self.db.close().await?)
    }
}

fn name(op: &FailedOp) -> (String, String, String) {
    (op.domain.to_string(), op.failure_type.to_string(), op.dependency.to_string())
}

fn body(capture: &Capture) -> String {
    let mut op = capture.op.clone();
    op.state.evidence_count = 1;
    wire::encode_evidence(&EvidenceRecord::captured(&op, capture.evidence.clone()))
}
