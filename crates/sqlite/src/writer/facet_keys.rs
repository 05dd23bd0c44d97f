//! The numbers of combinations of domain, failure type and dependency.

use std::collections::{HashMap, HashSet};

use baldur_core::{
    FailedOp,
    query::{FACET_OVERFLOW, MAX_FACET_KEYS},
};
use sqlx::{Row, SqliteConnection};

use crate::{error::StepError, sql::limit};

/// Domain, failure type, dependency.
type Combination = [String; 3];

/// The combinations that were met, and their numbers. They never change once committed, so they may be
/// remembered; after a rollback everything is forgotten.
#[derive(Debug, Default)]
pub(super) struct FacetKeys {
    known: HashMap<Combination, i64>,
}

pub(crate) const FIND: &str = "SELECT f.facet_key, f.domain, f.failure_type, f.dependency \
     FROM json_each(?1) j CROSS JOIN facet_keys f \
     ON f.ns = ?2 AND f.domain = j.value ->> 0 AND f.failure_type = j.value ->> 1 \
     AND f.dependency = j.value ->> 2";

const INSERT: &str = "INSERT INTO facet_keys (ns, domain, failure_type, dependency) \
     VALUES (?, ?, ?, ?) RETURNING facet_key";

fn combination(op: &FailedOp) -> Combination {
    [op.domain.as_str(), op.failure_type.as_str(), op.dependency.as_str()].map(str::to_owned)
}

impl FacetKeys {
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    /// The key of each operation, in order. New combinations get one while there is room for them; those above
    /// the cap share the overflow key.
    pub(super) async fn resolve(
        &mut self,
        conn: &mut SqliteConnection,
        ns: i64,
        ops: &[&FailedOp],
    ) -> Result<Vec<i64>, StepError> {
        let wanted: Vec<Combination> = ops.iter().map(|op| combination(op)).collect();
        let mut missing: Vec<&Combination> = Vec::new();
        let mut seen = HashSet::new();
        for combination in &wanted {
            if !self.known.contains_key(combination) && seen.insert(combination) {
                missing.push(combination);
            }
        }
        let mut overflow = None;
        if !missing.is_empty() {
            overflow = self.learn(conn, ns, &missing).await?;
        }
        let key = |combination| self.known.get(combination).copied().or(overflow);
        let keys: Option<Vec<i64>> = wanted.iter().map(key).collect();
        keys.ok_or(StepError::Sql(sqlx::Error::RowNotFound))
    }

    /// Finds or makes the missing ones, in order. Answers the overflow key if it is needed.
    async fn learn(
        &mut self,
        conn: &mut SqliteConnection,
        ns: i64,
        missing: &[&Combination],
    ) -> Result<Option<i64>, StepError> {
        self.find(conn, ns, missing).await?;
        let unknown: Vec<&&Combination> =
            missing.iter().filter(|combination| !self.known.contains_key(**combination)).collect();
        if unknown.is_empty() {
            return Ok(None);
        }
        let mut count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM facet_keys WHERE ns = ? AND domain <> ?")
                .bind(ns)
                .bind(FACET_OVERFLOW)
                .fetch_one(&mut *conn)
                .await?;
        let mut overflow = None;
        for combination in unknown {
            if count < limit(MAX_FACET_KEYS) {
                let key = insert(conn, ns, combination).await?;
                self.known.insert((*combination).clone(), key);
                count += 1;
            } else if overflow.is_none() {
                overflow = Some(overflow_key(conn, ns).await?);
            }
        }
        Ok(overflow)
    }

    async fn find(
        &mut self,
        conn: &mut SqliteConnection,
        ns: i64,
        wanted: &[&Combination],
    ) -> Result<(), StepError> {
        // Lists of texts always serialise.
        let list = serde_json::to_string(wanted).unwrap_or_default();
        let rows = sqlx::query(FIND).bind(list).bind(ns).fetch_all(conn).await?;
        for row in rows {
            let combination = [row.try_get(1)?, row.try_get(2)?, row.try_get(3)?];
            self.known.insert(combination, row.try_get(0)?);
        }
        Ok(())
    }
}

async fn insert(
    conn: &mut SqliteConnection,
    ns: i64,
    [domain, failure_type, dependency]: &Combination,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(INSERT)
        .bind(ns)
        .bind(domain.clone())
        .bind(failure_type.clone())
        .bind(dependency.clone())
        .fetch_one(conn)
        .await
}

/// No real domain has parentheses, so this combination can't be anybody's own.
async fn overflow_key(conn: &mut SqliteConnection, ns: i64) -> Result<i64, StepError> {
    let combination = [FACET_OVERFLOW; 3].map(str::to_owned);
    let mut keys = FacetKeys::default();
    keys.find(conn, ns, &[&combination]).await?;
    match keys.known.get(&combination) {
        Some(key) => Ok(*key),
        None => Ok(insert(conn, ns, &combination).await?),
    }
}
