//! The states of circuit breakers.

use std::collections::HashMap;

use baldur_core::{
    BackendError, Timestamp,
    decide::{BreakerRecord, OrderRecord},
    name::{Actor, Reason, ServiceName},
    policy::{BreakerState, ForcedState},
    port::SharedBreaker,
};
use sqlx::sqlite::SqliteRow;

use super::{Reader, failed};
use crate::{columns::Columns, error::StepError, sql::limit};

/// The columns of a [`BreakerRecord`], of `breakers b`.
macro_rules! breaker_columns {
    () => {
        "b.ns, b.name, b.version, b.state, b.open_until, b.reopenings, b.forced, b.forced_until, \
         b.trips, b.changed_by, b.changed_at, b.reason"
    };
}

pub(crate) const LOAD: &str = concat!(
    "SELECT ",
    breaker_columns!(),
    " FROM json_each(?1) j CROSS JOIN breakers b ON b.ns = ?2 AND b.name = j.value"
);

/// The empty text comes before every name.
pub(crate) const LIST: &str = concat!(
    "SELECT ",
    breaker_columns!(),
    " FROM breakers b WHERE b.ns = ?1 AND b.name > ?2 ORDER BY b.name LIMIT ?3"
);

/// Reads a row of [`LOAD`] or [`LIST`].
pub(crate) fn record(row: &SqliteRow) -> Result<BreakerRecord, StepError> {
    let mut columns = Columns::of(row, "breakers");
    let _ns: i64 = columns.get()?;
    let name = columns.name("name", ServiceName::parse)?;
    let version = columns.unsigned("version")?;
    let state = columns.word_opt("state", BreakerState::from_name)?;
    let state = state.ok_or_else(|| columns.corrupt("state"))?;
    let open_until = columns.time_opt("open_until")?;
    let reopenings = columns.unsigned("reopenings")?;
    let forced = columns.word_opt("forced", ForcedState::from_name)?;
    let until = columns.time_opt("forced_until")?;
    Ok(BreakerRecord {
        name,
        version,
        state,
        open_until,
        reopenings,
        forced: forced.map(|state| OrderRecord { state, until }),
        trips: columns.unsigned("trips")?,
        changed_by: columns.name("changed_by", Actor::parse)?,
        changed_at: columns.time("changed_at")?,
        reason: columns.name_opt("reason", Reason::parse)?,
    })
}

/// A JSON list of names, for `json_each`.
pub(crate) fn json_names<'a>(names: impl IntoIterator<Item = &'a ServiceName>) -> String {
    let names: Vec<&str> = names.into_iter().map(ServiceName::as_str).collect();
    // Lists of texts always serialise.
    serde_json::to_string(&names).unwrap_or_default()
}

impl Reader {
    pub(crate) async fn breakers(
        &self,
        names: Vec<ServiceName>,
        now: Timestamp,
    ) -> Result<Vec<Option<SharedBreaker>>, BackendError> {
        let read = async {
            let rows = sqlx::query(LOAD)
                .bind(json_names(&names))
                .bind(self.ns)
                .fetch_all(&mut *self.conn().await?)
                .await?;
            let records =
                rows.iter().map(|row| record(row).map(|record| (record.name.clone(), record)));
            let records = records.collect::<Result<HashMap<_, _>, StepError>>()?;
            Ok(names.iter().map(|name| Some(records.get(name)?.seen_at(now))).collect())
        };
        read.await.map_err(failed("load breakers"))
    }

    pub(crate) async fn breakers_after(
        &self,
        after: Option<ServiceName>,
        most: usize,
        now: Timestamp,
    ) -> Result<Vec<SharedBreaker>, BackendError> {
        let read = async {
            let rows = sqlx::query(LIST)
                .bind(self.ns)
                .bind(after.as_ref().map_or("", ServiceName::as_str).to_owned())
                .bind(limit(most))
                .fetch_all(&mut *self.conn().await?)
                .await?;
            rows.iter().map(|row| Ok(record(row)?.seen_at(now))).collect::<Result<Vec<_>, _>>()
        };
        read.await.map_err(failed("list breakers"))
    }
}
