//! What processes agree on: saving breakers, and taking permits of a shared pace.

use std::collections::HashMap;

use baldur_core::{
    Timestamp,
    decide::{BreakerRecord, OrderRecord, save_breaker},
    name::ServiceName,
    policy::{ForcedState, PaceLevel, Paced},
    port::{BreakerStoreError, PaceError, SaveBreaker, SharedBreaker, TakePermits},
};
use sqlx::sqlite::SqliteRow;

use super::{Answers, Session, Work};
use crate::{
    columns::Columns,
    error::StepError,
    reader::breakers::{LOAD, json_names, record},
    sql::integer,
};

/// Saves breakers.
pub(crate) struct Saving;

pub(crate) const SAVE: &str = "INSERT INTO breakers \
     (ns, name, version, state, open_until, reopenings, forced, forced_until, trips, changed_by, \
      changed_at, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) \
     ON CONFLICT (ns, name) DO UPDATE SET version = excluded.version, state = excluded.state, \
      open_until = excluded.open_until, reopenings = excluded.reopenings, \
      forced = excluded.forced, forced_until = excluded.forced_until, trips = excluded.trips, \
      changed_by = excluded.changed_by, changed_at = excluded.changed_at, reason = excluded.reason";

impl Work for Saving {
    type Item = SaveBreaker;
    type Answer = SharedBreaker;
    type Error = BreakerStoreError;

    const OPERATION: &'static str = "save a breaker";

    async fn run(session: &mut Session, items: &[SaveBreaker]) -> Result<Answers<Self>, StepError> {
        let now = session.clock.now();
        let ns = session.ns;
        let rows = sqlx::query(LOAD)
            .bind(json_names(items.iter().map(|save| &save.name)))
            .bind(ns)
            .fetch_all(session.conn()?)
            .await?;
        let records = rows.iter().map(record).map(|read| read.map(|r| (r.name.clone(), r)));
        let mut records = records.collect::<Result<HashMap<_, _>, _>>()?;
        let mut answers = Vec::new();
        for save in items {
            answers.push(match save_breaker(records.get(&save.name), save, now) {
                Ok(record) => {
                    write(session, &record).await?;
                    let seen = record.seen_at(now);
                    records.insert(save.name.clone(), record);
                    Ok(seen)
                }
                Err(error) => Err(error),
            });
        }
        Ok(answers)
    }
}

async fn write(session: &mut Session, record: &BreakerRecord) -> Result<(), StepError> {
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
    sqlx::query(SAVE)
        .bind(session.ns)
        .bind(name.as_str().to_owned())
        .bind(integer(*version))
        .bind(state.as_str())
        .bind(open_until.map(Timestamp::as_micros))
        .bind(i64::from(*reopenings))
        .bind(forced.map(|order| order.state).map(ForcedState::as_str))
        .bind(forced.and_then(|order| order.until).map(Timestamp::as_micros))
        .bind(integer(*trips))
        .bind(changed_by.as_str().to_owned())
        .bind(changed_at.as_micros())
        .bind(reason.as_ref().map(|reason| reason.as_str().to_owned()))
        .execute(session.conn()?)
        .await?;
    Ok(())
}

/// Takes permits.
pub(crate) struct Taking;

pub(crate) const LEVELS: &str = "SELECT p.ns, p.name, p.tokens, p.started_at, p.taken_at \
     FROM json_each(?1) j CROSS JOIN paces p ON p.ns = ?2 AND p.name = j.value";

pub(crate) const LEVEL: &str = "INSERT INTO paces (ns, name, tokens, started_at, taken_at) \
     VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (ns, name) DO UPDATE SET \
     tokens = excluded.tokens, started_at = excluded.started_at, taken_at = excluded.taken_at";

impl Work for Taking {
    type Item = TakePermits;
    type Answer = Paced;
    type Error = PaceError;

    const OPERATION: &'static str = "take permits";

    async fn run(session: &mut Session, items: &[TakePermits]) -> Result<Answers<Self>, StepError> {
        let now = session.clock.now();
        let rows = sqlx::query(LEVELS)
            .bind(json_names(items.iter().map(|take| &take.name)))
            .bind(session.ns)
            .fetch_all(session.conn()?)
            .await?;
        let mut levels = rows.iter().map(level).collect::<Result<HashMap<_, _>, _>>()?;
        let mut answers = Vec::new();
        let mut taken: HashMap<&ServiceName, PaceLevel> = HashMap::new();
        for take in items {
            answers.push(match take.decide(levels.get(&take.name).copied(), now) {
                Ok((level, paced)) => {
                    levels.insert(take.name.clone(), level);
                    taken.insert(&take.name, level);
                    Ok(paced)
                }
                Err(error) => Err(error),
            });
        }
        for (name, PaceLevel { tokens, started_at, taken_at }) in taken {
            sqlx::query(LEVEL)
                .bind(session.ns)
                .bind(name.as_str().to_owned())
                .bind(tokens)
                .bind(started_at.as_micros())
                .bind(taken_at.as_micros())
                .execute(session.conn()?)
                .await?;
        }
        Ok(answers)
    }
}

fn level(row: &SqliteRow) -> Result<(ServiceName, PaceLevel), StepError> {
    let mut columns = Columns::of(row, "paces");
    let _ns: i64 = columns.get()?;
    let name = columns.name("name", ServiceName::parse)?;
    let tokens: f64 = columns.get()?;
    let started_at = columns.time("started_at")?;
    Ok((name, PaceLevel { tokens, started_at, taken_at: columns.time("taken_at")? }))
}
