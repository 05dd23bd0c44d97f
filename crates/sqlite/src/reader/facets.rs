//! Counters: facets, exact counts, and the ranges of the index that a filter needs.

use baldur_core::{BackendError, FacetCell, FacetScope, Facets, Status, query::FACET_OVERFLOW};
use sqlx::{Row, SqliteConnection};

use super::{
    Reader, failed,
    plan::{Arg, SqlText, status_in},
};
use crate::{columns::Columns, error::StepError};

/// All counters of a namespace.
pub(crate) const CELLS: &str = "SELECT c.facet_key, c.status, f.domain, f.failure_type, f.dependency, c.n \
     FROM facet_keys f CROSS JOIN counters c ON c.facet_key = f.facet_key \
     WHERE f.ns = ?1 AND c.n > 0";

/// A stretch of the index by facet key and status that has entries.
pub(super) struct Range {
    pub(super) facet_key: i64,
    pub(super) status: Status,
    /// Whether it holds combinations that are counted together.
    pub(super) overflow: bool,
    pub(super) entries: u64,
}

impl Reader {
    pub(crate) async fn facets(&self, scope: FacetScope) -> Result<Facets, BackendError> {
        let cells = async {
            let rows = sqlx::query(CELLS).bind(self.ns).fetch_all(&mut *self.conn().await?).await?;
            rows.iter().map(cell).collect::<Result<Vec<_>, StepError>>()
        };
        let cells = cells.await.map_err(failed("facets"))?;
        Ok(Facets::from_cells(&scope, cells))
    }
}

fn cell(row: &sqlx::sqlite::SqliteRow) -> Result<FacetCell, StepError> {
    let mut columns = Columns::of(row, "counters");
    let _key: i64 = columns.get()?;
    Ok(FacetCell {
        status: columns.parsed("status", str::parse::<Status>)?,
        domain: columns.get()?,
        failure_type: columns.get()?,
        dependency: columns.get()?,
        count: columns.unsigned("n")?,
    })
}

/// The ranges that a scope can have entries in, in the order of the keys.
pub(super) fn ranges_sql(ns: i64, scope: &FacetScope) -> SqlText {
    let FacetScope { statuses, domain, failure_type, dependency } = scope;
    let mut sql = SqlText::new(
        "SELECT c.facet_key, c.status, f.domain, c.n \
         FROM facet_keys f CROSS JOIN counters c ON c.facet_key = f.facet_key WHERE f.ns = ",
    );
    sql.bind(Arg::Integer(ns)).push(" AND c.n > 0");
    let dimensions = [
        (" AND (f.domain = ", domain.as_ref().map(AsRef::as_ref)),
        (" AND (f.failure_type = ", failure_type.as_ref().map(AsRef::as_ref)),
        (" AND (f.dependency = ", dependency.as_ref().map(AsRef::<str>::as_ref)),
    ];
    for (piece, value) in dimensions {
        let value: Option<&str> = value;
        if let Some(value) = value {
            sql.push(piece).bind(Arg::Text(value.to_owned()));
            // What was counted together may hold any combination.
            sql.push(" OR f.domain = ").bind(Arg::Text(FACET_OVERFLOW.to_owned())).push(")");
        }
    }
    status_in(&mut sql, " AND c.status", statuses);
    sql
}

pub(super) async fn ranges(
    conn: &mut SqliteConnection,
    ns: i64,
    scope: &FacetScope,
) -> Result<Vec<Range>, StepError> {
    let rows = ranges_sql(ns, scope).query().fetch_all(conn).await?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of(row, "counters");
            let facet_key = columns.get()?;
            let status = columns.parsed("status", str::parse::<Status>)?;
            let overflow = row.try_get::<&str, _>(2)? == FACET_OVERFLOW;
            let entries =
                u64::try_from(row.try_get::<i64, _>(3)?).map_err(|_| columns.corrupt("n"))?;
            Ok(Range { facet_key, status, overflow, entries })
        })
        .collect()
}

/// The exact number of entries in a scope, or `None` where it can't be told from counters.
pub(super) fn exact(scope: &FacetScope, ranges: &[Range]) -> Option<u64> {
    let any = scope.domain.is_none() && scope.failure_type.is_none() && scope.dependency.is_none();
    let told = any || ranges.iter().all(|range| !range.overflow);
    told.then(|| ranges.iter().map(|range| range.entries).sum())
}
