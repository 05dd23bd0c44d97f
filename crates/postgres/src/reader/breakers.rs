//! The states of circuit breakers.

use std::collections::HashMap;

use baldur_core::{
    BackendError, Timestamp,
    decide::{BreakerRecord, OrderRecord},
    name::{Actor, Reason, ServiceName},
    policy::{BreakerState, ForcedState},
    port::SharedBreaker,
};
use sqlx::postgres::PgRow;

use super::Reader;
use crate::{
    columns::Columns,
    error::{CorruptRow, StepError},
    sql::limit,
};

/// The columns of a [`BreakerRecord`], of `breakers b`.
macro_rules! breaker_columns {
    () => {
        "b.ns, b.name, b.version, b.state, b.open_until, b.reopenings, b.forced, b.forced_until, \
         b.trips, b.changed_by, b.changed_at, b.reason"
    };
}

pub(crate) use breaker_columns;

/// The breakers of these names, and the server's time.
pub(crate) const LOAD: &str = concat!(
    "SELECT ",
    breaker_columns!(),
    ", (extract(epoch FROM clock_timestamp()) * 1000000)::bigint \
     FROM baldur.breakers b WHERE b.ns = $1 AND b.name = ANY($2)"
);

/// The empty text comes before every name.
pub(crate) const LIST: &str = concat!(
    "SELECT ",
    breaker_columns!(),
    ", (extract(epoch FROM clock_timestamp()) * 1000000)::bigint \
     FROM baldur.breakers b WHERE b.ns = $1 AND b.name > $2 ORDER BY b.name LIMIT $3"
);

/// Reads [`breaker_columns`].
pub(crate) fn record(row: &PgRow) -> Result<BreakerRecord, StepError> {
    Ok(record_with_rest(row)?.0)
}

/// Also answers the columns that follow.
fn record_with_rest(row: &PgRow) -> Result<(BreakerRecord, Columns<'_>), StepError> {
    let mut columns = Columns::of(row, "breakers");
    let _ns: i32 = columns.get()?;
    let name = columns.name("name", ServiceName::parse)?;
    let version = columns.unsigned("version")?;
    let state = columns.word_opt("state", BreakerState::from_name)?;
    let state = state.ok_or_else(|| columns.corrupt("state"))?;
    let open_until = columns.time_opt("open_until")?;
    let reopenings = columns.unsigned("reopenings")?;
    let forced = columns.word_opt("forced", ForcedState::from_name)?;
    let until = columns.time_opt("forced_until")?;
    let record = BreakerRecord {
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
    };
    Ok((record, columns))
}

/// Names as the driver takes them.
pub(crate) fn names<'a>(names: impl IntoIterator<Item = &'a ServiceName>) -> Vec<&'a str> {
    names.into_iter().map(ServiceName::as_str).collect()
}

impl Reader<'_> {
    pub(crate) async fn breakers(
        &self,
        wanted: Vec<ServiceName>,
    ) -> Result<Vec<Option<SharedBreaker>>, BackendError> {
        self.within("load breakers", async {
            let mut snapshot = self.begin().await?;
            let read = sqlx::query(LOAD).bind(self.ns()).bind(names(&wanted));
            let rows = read.fetch_all(snapshot.conn()).await.map_err(StepError::from);
            let rows = snapshot.end(rows).await?;
            let seen = rows.iter().map(|row| self.seen(row).map(|seen| (seen.name.clone(), seen)));
            let seen = seen.collect::<Result<HashMap<_, _>, StepError>>()?;
            Ok(wanted.iter().map(|name| seen.get(name).cloned()).collect())
        })
        .await
    }

    pub(crate) async fn breakers_after(
        &self,
        after: Option<ServiceName>,
        most: usize,
    ) -> Result<Vec<SharedBreaker>, BackendError> {
        self.within("list breakers", async {
            let mut snapshot = self.begin().await?;
            let after = after.as_ref().map_or("", ServiceName::as_str);
            let read = sqlx::query(LIST).bind(self.ns()).bind(after).bind(limit(most));
            let rows = read.fetch_all(snapshot.conn()).await.map_err(StepError::from);
            let rows = snapshot.end(rows).await?;
            rows.iter().map(|row| self.seen(row)).collect()
        })
        .await
    }

    /// A row of [`LOAD`] or [`LIST`], as a reader is told.
    fn seen(&self, row: &PgRow) -> Result<SharedBreaker, StepError> {
        let (record, mut rest) = record_with_rest(row)?;
        let micros: i64 = rest.get()?;
        let server = Timestamp::from_micros(micros).map_err(|_| CorruptRow {
            table: "clock",
            column: "now",
            row: micros.to_string(),
        })?;
        Ok(record.seen_at(self.engine.time.now(server)))
    }
}
