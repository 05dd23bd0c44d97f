//! Giving numbers to new combinations of domain, failure type and dependency.

use std::collections::HashSet;

use baldur_core::{
    FailedOp,
    query::{FACET_OVERFLOW, MAX_FACET_KEYS},
};
use sqlx::Row;

use super::session::Session;
use crate::{
    error::StepError,
    facets::{Combination, combination},
    sql::limit,
};

pub(crate) const FIND: &str = "SELECT f.facet_key, f.domain, f.failure_type, f.dependency \
     FROM unnest($2::text[], $3::text[], $4::text[]) v(domain, failure_type, dependency) \
     JOIN baldur.facet_keys f ON f.ns = $1 AND f.domain = v.domain \
     AND f.failure_type = v.failure_type AND f.dependency = v.dependency";

const INSERT: &str = "INSERT INTO baldur.facet_keys (ns, domain, failure_type, dependency) \
     VALUES ($1, $2, $3, $4) RETURNING facet_key";

/// Whoever adds combinations holds this, so that the cap is exact. Few transactions ever do.
const LOCK: &str =
    "SELECT pg_advisory_xact_lock(hashtextextended('baldur.facet_keys', $1::bigint))";

const COUNT: &str = "SELECT count(*) FROM baldur.facet_keys WHERE ns = $1 AND domain <> $2";

/// The key of each operation, in order. New combinations get one while there is room for them; those above the cap
/// share the overflow key.
pub(super) async fn resolve(
    session: &mut Session,
    ops: &[&FailedOp],
) -> Result<Vec<i64>, StepError> {
    let wanted: Vec<Combination> = ops.iter().map(|op| combination(op)).collect();
    let mut seen = HashSet::new();
    let mut missing: Vec<&Combination> =
        wanted.iter().filter(|one| known(session, one).is_none() && seen.insert(*one)).collect();
    let mut overflow = None;
    if !missing.is_empty() {
        find(session, &missing).await?;
        missing.retain(|one| known(session, one).is_none());
        if !missing.is_empty() {
            overflow = learn(session, missing).await?;
        }
    }
    let keys: Option<Vec<i64>> =
        wanted.iter().map(|one| known(session, one).or(overflow)).collect();
    keys.ok_or(StepError::Sql(sqlx::Error::RowNotFound))
}

fn known(session: &Session, one: &Combination) -> Option<i64> {
    session.learned.get(one).copied().or_else(|| session.engine().facets.get(one))
}

/// Makes the missing ones, in order. Answers the overflow key if it is needed.
async fn learn(
    session: &mut Session,
    mut missing: Vec<&Combination>,
) -> Result<Option<i64>, StepError> {
    let ns = session.ns;
    sqlx::query(LOCK).bind(ns).execute(session.conn()).await?;
    // Others may have been first.
    find(session, &missing).await?;
    missing.retain(|one| known(session, one).is_none());
    let count = sqlx::query_scalar(COUNT).bind(ns).bind(FACET_OVERFLOW);
    let mut count: i64 = count.fetch_one(session.conn()).await?;
    let mut overflow = None;
    for one in missing {
        if count < limit(MAX_FACET_KEYS) {
            let key = insert(session, one).await?;
            session.learned.insert(one.clone(), key);
            count += 1;
        } else if overflow.is_none() {
            overflow = Some(overflow_key(session).await?);
        }
    }
    Ok(overflow)
}

async fn find(session: &mut Session, wanted: &[&Combination]) -> Result<(), StepError> {
    let column = |n: usize| -> Vec<&str> { wanted.iter().map(|one| one[n].as_str()).collect() };
    let ns = session.ns;
    let rows = sqlx::query(FIND)
        .bind(ns)
        .bind(&column(0)[..])
        .bind(&column(1)[..])
        .bind(&column(2)[..])
        .fetch_all(session.conn())
        .await?;
    for row in rows {
        let combination = [row.try_get(1)?, row.try_get(2)?, row.try_get(3)?];
        session.learned.insert(combination, row.try_get(0)?);
    }
    Ok(())
}

async fn insert(session: &mut Session, one: &Combination) -> Result<i64, sqlx::Error> {
    let [domain, failure_type, dependency] = one;
    let ns = session.ns;
    sqlx::query_scalar(INSERT)
        .bind(ns)
        .bind(domain)
        .bind(failure_type)
        .bind(dependency)
        .fetch_one(session.conn())
        .await
}

/// No real domain has parentheses, so this combination can't be anybody's own.
async fn overflow_key(session: &mut Session) -> Result<i64, StepError> {
    let combination = [FACET_OVERFLOW; 3].map(str::to_owned);
    find(session, &[&combination]).await?;
    match known(session, &combination) {
        Some(key) => Ok(key),
        None => Ok(insert(session, &combination).await?),
    }
}
