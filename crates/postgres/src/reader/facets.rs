//! Counters: facets, exact counts, and the ranges of the index that a filter needs.

use baldur_core::{
    BackendError, FacetCell, FacetScope, Facets, Status, name::Domain, query::FACET_OVERFLOW,
};
use sqlx::{PgConnection, postgres::PgRow};

use super::{
    Reader,
    plan::{Arg, SqlText, status_in},
};
use crate::{columns::Columns, error::StepError};

/// A stretch of the index by facet key and status that has entries.
pub(super) struct Range {
    pub(super) facet_key: i64,
    pub(super) cell: FacetCell,
}

impl Range {
    /// Whether it holds combinations that are counted together.
    pub(super) fn overflow(&self) -> bool {
        self.cell.domain == FACET_OVERFLOW
    }
}

impl Reader<'_> {
    pub(crate) async fn facets(&self, scope: FacetScope) -> Result<Facets, BackendError> {
        let ranges = self.within("facets", async {
            let mut snapshot = self.begin().await?;
            // Each dimension is limited by the others only, so all cells count.
            let ranges = ranges(snapshot.conn(), self.ns(), &FacetScope::default()).await;
            snapshot.end(ranges).await
        });
        let cells = ranges.await?.into_iter().map(|range| range.cell);
        Ok(Facets::from_cells(&scope, cells))
    }
}

/// What the counters say, and what transactions added that is not folded yet: two halves of one sum.
const HALVES: [&str; 2] = [
    "SELECT f.facet_key, f.domain, f.failure_type, f.dependency, c.status, c.n \
     FROM baldur.facet_keys f CROSS JOIN LATERAL \
     (SELECT x.status, x.n FROM baldur.counters x WHERE x.facet_key = f.facet_key OFFSET 0) c \
     WHERE f.ns = ",
    "SELECT f.facet_key, f.domain, f.failure_type, f.dependency, c.status, c.n \
     FROM baldur.namespaces m CROSS JOIN LATERAL \
     (SELECT x.facet_key, x.status, sum(x.n)::bigint AS n FROM baldur.counter_deltas x \
     WHERE x.ns = m.ns AND x.xid >= m.folded_xid AND x.facet_key IS NOT NULL \
     GROUP BY x.facet_key, x.status) c \
     JOIN baldur.facet_keys f ON f.facet_key = c.facet_key WHERE m.ns = ",
];

/// The ranges that a scope can have entries in, in the order of the keys.
pub(super) fn ranges_sql(ns: i32, scope: &FacetScope) -> SqlText {
    let mut sql = SqlText::new(
        "SELECT u.facet_key, u.status, u.domain, u.failure_type, u.dependency, sum(u.n)::bigint FROM (",
    );
    let [counted, added] = HALVES;
    sql.push(counted).bind(Arg::Small(ns));
    conditions(&mut sql, scope);
    sql.push(" UNION ALL ").push(added).bind(Arg::Small(ns));
    conditions(&mut sql, scope);
    sql.push(
        ") u GROUP BY u.facet_key, u.status, u.domain, u.failure_type, u.dependency \
         HAVING sum(u.n) > 0",
    );
    sql
}

fn conditions(sql: &mut SqlText, scope: &FacetScope) {
    let FacetScope { statuses, domain, failure_type, dependency } = scope;
    let dimensions: [(_, Option<&str>); 3] = [
        (" AND (f.domain = ", domain.as_ref().map(Domain::as_str)),
        (" AND (f.failure_type = ", failure_type.as_ref().map(AsRef::as_ref)),
        (" AND (f.dependency = ", dependency.as_ref().map(AsRef::as_ref)),
    ];
    for (piece, value) in dimensions {
        if let Some(value) = value {
            sql.push(piece).bind(Arg::Text(value.to_owned()));
            // What was counted together may hold any combination.
            sql.push(" OR f.domain = ").bind(Arg::Text(FACET_OVERFLOW.to_owned())).push(")");
        }
    }
    status_in(sql, " AND c.status", statuses);
}

pub(super) async fn ranges(
    conn: &mut PgConnection,
    ns: i32,
    scope: &FacetScope,
) -> Result<Vec<Range>, StepError> {
    let rows = ranges_sql(ns, scope).query().fetch_all(conn).await?;
    rows.iter().map(range).collect()
}

fn range(row: &PgRow) -> Result<Range, StepError> {
    let mut columns = Columns::of(row, "counters");
    let facet_key = columns.get()?;
    let cell = FacetCell {
        status: columns.parsed("status", str::parse::<Status>)?,
        domain: columns.get()?,
        failure_type: columns.get()?,
        dependency: columns.get()?,
        count: columns.unsigned("n")?,
    };
    Ok(Range { facet_key, cell })
}

/// The exact number of entries in a scope, or `None` where it can't be told from counters.
pub(super) fn exact(scope: &FacetScope, ranges: &[Range]) -> Option<u64> {
    let any = scope.domain.is_none() && scope.failure_type.is_none() && scope.dependency.is_none();
    let told = any || !ranges.iter().any(Range::overflow);
    told.then(|| ranges.iter().map(|range| range.cell.count).sum())
}
