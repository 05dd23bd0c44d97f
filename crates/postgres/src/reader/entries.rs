//! Lists and counts.

use baldur_core::{
    BackendError, Count, Cursor, EntrySummary, FacetScope, Filter, ListQuery, Page, Status,
};
use sqlx::PgConnection;

use super::{
    Reader, facets,
    plan::{Ask, Path, Ranges, path_of},
    position::Stretch,
};
use crate::{columns::Columns, error::StepError, rows, sql};

/// How many stretches of an index are merged. A filter that would need more is so common among the entries that
/// a walk over all of them in order finds a page soon.
const MAX_RANGES: usize = 256;

impl Reader<'_> {
    pub(crate) async fn list(&self, query: ListQuery) -> Result<Page<EntrySummary>, BackendError> {
        self.within("list", async {
            let mut snapshot = self.begin().await?;
            let page = page(snapshot.conn(), self.ns(), &query).await;
            snapshot.end(page).await
        })
        .await
    }

    pub(crate) async fn count(&self, filter: Filter, cap: u64) -> Result<Count, BackendError> {
        self.within("count", async {
            let mut snapshot = self.begin().await?;
            let count = count(snapshot.conn(), self.ns(), &filter, cap).await;
            snapshot.end(count).await
        })
        .await
    }
}

async fn page(
    conn: &mut PgConnection,
    ns: i32,
    query: &ListQuery,
) -> Result<Page<EntrySummary>, StepError> {
    let ListQuery { filter, order, limit, after } = query;
    let stretch = Stretch::of(filter, *after);
    let mut items = Vec::new();
    if let Some(ask) = ask(conn, ns, filter, stretch).await? {
        // One more than asked for shows whether anything follows.
        let sql = ask.page(*order, sql::limit(limit.get() + 1));
        let rows = sql.query().fetch_all(conn).await?;
        items = rows.iter().map(rows::summary).collect::<Result<Vec<_>, _>>()?;
    }
    let more = items.len() > limit.get();
    items.truncate(limit.get());
    let last = items.last().filter(|_| more);
    let next = last.map(|last| Cursor::at(*order, last.position()));
    Ok(Page { items, next })
}

async fn count(
    conn: &mut PgConnection,
    ns: i32,
    filter: &Filter,
    cap: u64,
) -> Result<Count, StepError> {
    if let Some(scope) = filter.as_scope() {
        let ranges = facets::ranges(conn, ns, &scope).await?;
        if let Some(exact) = facets::exact(&scope, &ranges) {
            return Ok(Count::Exactly(exact));
        }
    }
    let Some(ask) = ask(conn, ns, filter, Stretch::of(filter, None)).await? else {
        return Ok(Count::Exactly(0));
    };
    let limit = sql::integer(cap.saturating_add(1));
    let row = ask.count(limit).query().fetch_one(conn).await?;
    let counted = Columns::of(&row, "entries").unsigned("count")?;
    Ok(if counted > cap { Count::AtLeast(cap) } else { Count::Exactly(counted) })
}

/// How to find the entries of a filter; `None` when there are none.
pub(super) async fn ask<'a>(
    conn: &mut PgConnection,
    ns: i32,
    filter: &'a Filter,
    stretch: Stretch,
) -> Result<Option<Ask<'a>>, StepError> {
    let mut ask = Ask {
        ns,
        filter,
        stretch,
        path: path_of(filter),
        ranges: Ranges::default(),
        inexact: false,
    };
    if ask.path == Path::FacetRanges {
        let scope = FacetScope {
            statuses: filter.statuses.clone(),
            domain: filter.domain.clone(),
            failure_type: filter.failure_type.clone(),
            dependency: filter.dependency.clone(),
        };
        let ranges = facets::ranges(conn, ns, &scope).await?;
        if ranges.is_empty() {
            return Ok(None);
        }
        if ranges.len() > MAX_RANGES {
            ask.path = Path::Position;
            return Ok(Some(ask));
        }
        ask.inexact = ranges.iter().any(facets::Range::overflow);
        ask.ranges = Ranges {
            facet_keys: ranges.iter().map(|range| range.facet_key).collect(),
            statuses: ranges.iter().map(|range| range.cell.status.as_str()).collect(),
        };
    } else if ask.path == Path::Statuses {
        let named = Status::ALL.iter().filter(|status| filter.statuses.contains(status));
        ask.ranges.statuses = named.map(|status| status.as_str()).collect();
    }
    Ok(Some(ask))
}
