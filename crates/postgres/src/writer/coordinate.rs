//! What processes agree on: saving breakers, and taking permits of a shared pace.
//!
//! Both decide on rows that they have locked. Where there is no row yet, the one who inserts it first wins, and the
//! others decide again.

use std::collections::HashMap;

use baldur_core::{
    Timestamp,
    decide::{BreakerRecord, OrderRecord, save_breaker},
    name::{Reason, ServiceName},
    policy::{ForcedState, PaceLevel, Paced},
    port::{BreakerStoreError, PaceError, SaveBreaker, SharedBreaker, TakePermits},
};
use sqlx::postgres::PgRow;

use super::{Answers, Session, Work};
use crate::{
    columns::Columns,
    error::StepError,
    reader::breakers::{breaker_columns, names, record},
    sql::integer,
};

/// Saves breakers.
pub(crate) struct Saving;

/// The breakers of these names, locked by name. One table, so that what is read is what was locked.
pub(crate) const LOCK: &str = concat!(
    "SELECT ",
    breaker_columns!(),
    " FROM baldur.breakers b WHERE b.ns = $1 AND b.name = ANY($2) ORDER BY b.name \
     FOR NO KEY UPDATE"
);

/// Changes the row that is locked, or adds one where nobody did meanwhile.
pub(crate) const SAVE: &str = "INSERT INTO baldur.breakers AS b \
     (ns, name, version, state, open_until, reopenings, forced, forced_until, trips, changed_by, \
      changed_at, reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) \
     ON CONFLICT (ns, name) DO UPDATE SET version = excluded.version, state = excluded.state, \
      open_until = excluded.open_until, reopenings = excluded.reopenings, \
      forced = excluded.forced, forced_until = excluded.forced_until, trips = excluded.trips, \
      changed_by = excluded.changed_by, changed_at = excluded.changed_at, reason = excluded.reason \
     WHERE b.version = excluded.version - 1";

impl Work for Saving {
    type Item = SaveBreaker;
    type Answer = SharedBreaker;
    type Error = BreakerStoreError;

    const OPERATION: &'static str = "save a breaker";

    async fn run(session: &mut Session, items: &[SaveBreaker]) -> Result<Answers<Self>, StepError> {
        let mut records = lock_breakers(session, items).await?;
        let mut answers = Vec::new();
        for save in items {
            answers.push(loop {
                let now = session.now;
                match save_breaker(records.get(&save.name), save, now) {
                    Ok(record) if write(session, &record).await? => {
                        let seen = record.seen_at(now);
                        records.insert(save.name.clone(), record);
                        break Ok(seen);
                    }
                    // Somebody else was first to add it.
                    Ok(_) => {
                        records.extend(lock_breakers(session, std::slice::from_ref(save)).await?);
                    }
                    Err(error) => break Err(error),
                }
            });
        }
        Ok(answers)
    }
}

async fn lock_breakers(
    session: &mut Session,
    items: &[SaveBreaker],
) -> Result<HashMap<ServiceName, BreakerRecord>, StepError> {
    let ns = session.ns;
    let rows = sqlx::query(LOCK)
        .bind(ns)
        .bind(names(items.iter().map(|save| &save.name)))
        .fetch_all(session.conn())
        .await?;
    let records = rows.iter().map(record).map(|read| read.map(|r| (r.name.clone(), r)));
    let records: HashMap<_, _> = records.collect::<Result<_, _>>()?;
    session.catch_up(records.values().map(|record| record.changed_at).max()).await?;
    Ok(records)
}

/// Whether it was written.
async fn write(session: &mut Session, record: &BreakerRecord) -> Result<bool, StepError> {
    let BreakerRecord {
        name,
        version,
        state,
        open_until,
        reopenings,
        forced,
        trips,
        changed_by,
        changed_at,
        reason,
    } = record;
    let forced: Option<&OrderRecord> = forced.as_ref();
    let ns = session.ns;
    let written = sqlx::query(SAVE)
        .bind(ns)
        .bind(name.as_str())
        .bind(integer(*version))
        .bind(state.as_str())
        .bind(open_until.map(Timestamp::as_micros))
        .bind(i64::from(*reopenings))
        .bind(forced.map(|order| order.state).map(ForcedState::as_str))
        .bind(forced.and_then(|order| order.until).map(Timestamp::as_micros))
        .bind(integer(*trips))
        .bind(changed_by.as_str())
        .bind(changed_at.as_micros())
        .bind(reason.as_ref().map(Reason::as_str))
        .execute(session.conn())
        .await?;
    Ok(written.rows_affected() > 0)
}

/// Takes permits.
pub(crate) struct Taking;

/// The levels of these names, locked by name.
pub(crate) const LEVELS: &str = "SELECT p.ns, p.name, p.tokens, p.started_at, p.taken_at \
     FROM baldur.paces p WHERE p.ns = $1 AND p.name = ANY($2) ORDER BY p.name FOR NO KEY UPDATE";

/// Changes a level that is locked.
pub(crate) const LEVEL: &str = "UPDATE baldur.paces SET tokens = $3, started_at = $4, taken_at = $5 \
     WHERE ns = $1 AND name = $2";

/// Adds a level, unless somebody else did meanwhile.
pub(crate) const NEW_LEVEL: &str = "INSERT INTO baldur.paces (ns, name, tokens, started_at, taken_at) \
     VALUES ($1, $2, $3, $4, $5) ON CONFLICT (ns, name) DO NOTHING";

impl Work for Taking {
    type Item = TakePermits;
    type Answer = Paced;
    type Error = PaceError;

    const OPERATION: &'static str = "take permits";

    async fn run(session: &mut Session, items: &[TakePermits]) -> Result<Answers<Self>, StepError> {
        let mut levels = lock_levels(session, items).await?;
        let mut answers = Vec::new();
        for take in items {
            answers.push(loop {
                let level = levels.get(&take.name).copied();
                match take.decide(level, session.now) {
                    Ok((after, paced)) => {
                        let sql = if level.is_some() { LEVEL } else { NEW_LEVEL };
                        if write_level(session, sql, &take.name, after).await? {
                            levels.insert(take.name.clone(), after);
                            break Ok(paced);
                        }
                        // Somebody else was first to add it.
                        levels.extend(lock_levels(session, std::slice::from_ref(take)).await?);
                    }
                    Err(error) => break Err(error),
                }
            });
        }
        Ok(answers)
    }
}

async fn lock_levels(
    session: &mut Session,
    items: &[TakePermits],
) -> Result<HashMap<ServiceName, PaceLevel>, StepError> {
    let ns = session.ns;
    let rows = sqlx::query(LEVELS)
        .bind(ns)
        .bind(names(items.iter().map(|take| &take.name)))
        .fetch_all(session.conn())
        .await?;
    let levels: HashMap<_, _> = rows.iter().map(level).collect::<Result<_, _>>()?;
    session.catch_up(levels.values().map(|level| level.taken_at).max()).await?;
    Ok(levels)
}

/// Whether it was written.
async fn write_level(
    session: &mut Session,
    sql: &'static str,
    name: &ServiceName,
    PaceLevel { tokens, started_at, taken_at }: PaceLevel,
) -> Result<bool, StepError> {
    let ns = session.ns;
    let written = sqlx::query(sql)
        .bind(ns)
        .bind(name.as_str())
        .bind(tokens)
        .bind(started_at.as_micros())
        .bind(taken_at.as_micros())
        .execute(session.conn())
        .await?;
    Ok(written.rows_affected() > 0)
}

fn level(row: &PgRow) -> Result<(ServiceName, PaceLevel), StepError> {
    let mut columns = Columns::of(row, "paces");
    let _ns: i32 = columns.get()?;
    let name = columns.name("name", ServiceName::parse)?;
    let tokens: f64 = columns.get()?;
    let started_at = columns.time("started_at")?;
    Ok((name, PaceLevel { tokens, started_at, taken_at: columns.time("taken_at")? }))
}
