//! Reading entries.

use std::ops::Bound;

use async_trait::async_trait;
use baldur_core::{
    Count, Cursor, EntryId, EntrySummary, FacetScope, Facets, FailedOp, Filter, ListOrder,
    ListQuery, Page, Timestamp,
    port::{EntryReader, ReadError},
};

use crate::{MemoryStore, index::Position, table::Table};

#[async_trait]
impl EntryReader for MemoryStore {
    async fn find(&self, ids: Vec<EntryId>) -> Result<Vec<Option<FailedOp>>, ReadError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.step("find", |table| {
            ids.into_iter().map(|id| table.row(id).map(|row| row.op.clone())).collect()
        })?;
        Ok(found)
    }

    async fn list(&self, query: ListQuery) -> Result<Page<EntrySummary>, ReadError> {
        if query.after.is_some_and(|after| after.order != query.order) {
            return Err(ReadError::Invalid("the cursor is of the other direction".to_owned()));
        }
        Ok(self.step("list", |table| page(table, &query))?)
    }

    async fn count(&self, filter: Filter, cap: u64) -> Result<Count, ReadError> {
        let count = self.step("count", |table| {
            let counted = filter.as_scope().and_then(|scope| table.facets().count(&scope));
            counted.map_or_else(|| walk(table, &filter, cap), Count::Exactly)
        })?;
        Ok(count)
    }

    async fn facets(&self, scope: FacetScope) -> Result<Facets, ReadError> {
        let facets =
            self.step("facets", |table| Facets::from_cells(&scope, table.facets().cells()))?;
        Ok(facets)
    }
}

fn page(table: &Table, query: &ListQuery) -> Page<EntrySummary> {
    let ListQuery { filter, order, limit, after } = query;
    let limit = limit.get();
    // One more than asked for shows whether anything follows.
    let mut items: Vec<_> =
        matching(table, filter, *order, *after).take(limit + 1).map(EntrySummary::of).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next = last.map(|last| Cursor::at(*order, last.position()));
    Page { items, next }
}

fn walk(table: &Table, filter: &Filter, cap: u64) -> Count {
    let up_to = usize::try_from(cap).unwrap_or(usize::MAX).saturating_add(1);
    let counted = matching(table, filter, ListOrder::OldestFirst, None).take(up_to).count() as u64;
    if counted > cap { Count::AtLeast(cap) } else { Count::Exactly(counted) }
}

fn matching<'a>(
    table: &'a Table,
    filter: &'a Filter,
    order: ListOrder,
    after: Option<Cursor>,
) -> impl Iterator<Item = &'a FailedOp> + 'a {
    let positions = range(filter, after);
    let positions = positions.map(|range| table.indexes().positions().range(range));
    let mut positions = positions.into_iter().flatten();
    std::iter::from_fn(move || match order {
        ListOrder::NewestFirst => positions.next_back(),
        ListOrder::OldestFirst => positions.next(),
    })
    .filter_map(|(_, id)| table.row(*id))
    .map(|row| &row.op)
    .filter(|op| filter.matches(op))
}

/// The positions that can match; `None` when there are none (a range may not be upside down).
fn range(filter: &Filter, after: Option<Cursor>) -> Option<(Bound<Position>, Bound<Position>)> {
    let first = |at: Timestamp| (at, EntryId::from_bytes([0; 16]));
    let mut lower = filter.created_from.map_or(Bound::Unbounded, |at| Bound::Included(first(at)));
    let mut upper = filter.created_until.map_or(Bound::Unbounded, |at| Bound::Excluded(first(at)));
    if let Some(Cursor { order, created_at, id }) = after {
        let position = (created_at, id);
        match order {
            ListOrder::NewestFirst if !is_before(upper, position) => {
                upper = Bound::Excluded(position);
            }
            ListOrder::OldestFirst if !is_after(lower, position) => {
                lower = Bound::Excluded(position);
            }
            ListOrder::NewestFirst | ListOrder::OldestFirst => {}
        }
    }
    let sound = match (value(lower), value(upper)) {
        (Some(from), Some(until)) => from < until,
        (None, _) | (_, None) => true,
    };
    sound.then_some((lower, upper))
}

fn value(bound: Bound<Position>) -> Option<Position> {
    match bound {
        Bound::Included(at) | Bound::Excluded(at) => Some(at),
        Bound::Unbounded => None,
    }
}

fn is_before(bound: Bound<Position>, position: Position) -> bool {
    value(bound).is_some_and(|at| at <= position)
}

fn is_after(bound: Bound<Position>, position: Position) -> bool {
    value(bound).is_some_and(|at| at > position)
}
