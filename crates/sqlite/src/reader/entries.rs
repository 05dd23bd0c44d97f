//! Lists and counts.

use baldur_core::{
    BackendError, Count, Cursor, EntrySummary, FacetScope, Filter, ListQuery, Page, Status,
};
use sqlx::{Connection, SqliteConnection};

use super::{
    Reader, facets, failed,
    plan::{Ask, Path, path_of},
    position::Stretch,
};
use crate::{error::StepError, rows, sql};

/// How many stretches of an index are merged. A filter that would need more is so common among the entries that
/// a walk over all of them in order finds a page soon.
const MAX_RANGES: usize = 256;

impl Reader {
    pub(crate) async fn list(&self, query: ListQuery) -> Result<Page<EntrySummary>, BackendError> {
        self.page(&query).await.map_err(failed("list"))
    }

    async fn page(&self, query: &ListQuery) -> Result<Page<EntrySummary>, StepError> {
        let ListQuery { filter, order, limit, after } = query;
        let stretch = Stretch::of(filter, *after);
        let mut conn = self.conn().await?;
        // One transaction is one snapshot: ranges and rows belong together.
        let mut snapshot = conn.begin().await?;
        let asked = self.ask(&mut snapshot, filter, stretch).await?;
        let mut items = Vec::new();
        if let Some(ask) = asked {
            // One more than asked for shows whether anything follows.
            let sql = ask.page(*order, sql::limit(limit.get() + 1));
            let rows = sql.query().fetch_all(&mut *snapshot).await?;
            items = rows.iter().map(rows::summary).collect::<Result<Vec<_>, _>>()?;
        }
        snapshot.commit().await?;
        let more = items.len() > limit.get();
        items.truncate(limit.get());
        let last = items.last().filter(|_| more);
        let next = last.map(|last| Cursor::at(*order, last.position()));
        Ok(Page { items, next })
    }

    pub(crate) async fn count(&self, filter: Filter, cap: u64) -> Result<Count, BackendError> {
        self.count_up_to(&filter, cap).await.map_err(failed("count"))
    }

    async fn count_up_to(&self, filter: &Filter, cap: u64) -> Result<Count, StepError> {
        let mut conn = self.conn().await?;
        let mut snapshot = conn.begin().await?;
        if let Some(scope) = filter.as_scope() {
            let ranges = facets::ranges(&mut snapshot, self.ns, &scope).await?;
            if let Some(exact) = facets::exact(&scope, &ranges) {
                return Ok(Count::Exactly(exact));
            }
        }
        let Some(ask) = self.ask(&mut snapshot, filter, Stretch::of(filter, None)).await? else {
            return Ok(Count::Exactly(0));
        };
        let limit = sql::integer(cap.saturating_add(1));
        let row = ask.count(limit).query().fetch_one(&mut *snapshot).await?;
        snapshot.commit().await?;
        let counted = crate::columns::Columns::of(&row, "entries").unsigned("count")?;
        Ok(if counted > cap { Count::AtLeast(cap) } else { Count::Exactly(counted) })
    }

    /// How to find the entries of a filter; `None` when there are none.
    async fn ask<'a>(
        &self,
        conn: &mut SqliteConnection,
        filter: &'a Filter,
        stretch: Stretch,
    ) -> Result<Option<Ask<'a>>, StepError> {
        let (ns, path) = (self.ns, path_of(filter));
        let mut ask = Ask { ns, filter, stretch, path, ranges: None, inexact: false };
        if path == Path::FacetRanges {
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
            ask.inexact = ranges.iter().any(|range| range.overflow);
            let list: Vec<(i64, &str)> =
                ranges.iter().map(|range| (range.facet_key, range.status.as_str())).collect();
            // Lists of numbers and texts always serialise.
            ask.ranges = Some(serde_json::to_string(&list).unwrap_or_default());
        } else if path == Path::Statuses {
            let named = Status::ALL.iter().filter(|status| filter.statuses.contains(status));
            let list: Vec<&str> = named.map(|status| status.as_str()).collect();
            ask.ranges = Some(serde_json::to_string(&list).unwrap_or_default());
        }
        Ok(Some(ask))
    }
}
