//! Which index answers a filter, and the SQL for it.
//!
//! The text is put together from constant pieces and placeholders only. Each shape names its index, so a plan can't
//! change behind our back.

use baldur_core::{Filter, ListOrder, Status};
use sqlx::{AssertSqlSafe, Sqlite, query::Query, sqlite::SqliteArguments};

use super::position::{Lower, Stretch};
use crate::rows::summary_columns;

/// A value for a placeholder.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Integer(i64),
    Text(String),
    Bytes(Vec<u8>),
}

/// SQL text of constant pieces, with the values of its placeholders.
#[derive(Clone, Debug, Default)]
pub(crate) struct SqlText {
    text: String,
    args: Vec<Arg>,
}

impl SqlText {
    pub(super) fn new(piece: &'static str) -> Self {
        Self { text: piece.to_owned(), args: Vec::new() }
    }

    /// Appends a constant piece.
    pub(super) fn push(&mut self, piece: &'static str) -> &mut Self {
        self.text.push_str(piece);
        self
    }

    /// Appends a placeholder with its value.
    pub(super) fn bind(&mut self, arg: Arg) -> &mut Self {
        self.text.push('?');
        self.args.push(arg);
        self
    }

    /// Appends `(?, ?, …)`.
    pub(super) fn bind_list(&mut self, args: impl IntoIterator<Item = Arg>) -> &mut Self {
        self.push("(");
        for (n, arg) in args.into_iter().enumerate() {
            if n > 0 {
                self.push(", ");
            }
            self.bind(arg);
        }
        self.push(")")
    }

    /// The query. Safe: the text has constant pieces and placeholders only, see [`Self::push`].
    pub(super) fn query(self) -> Query<'static, Sqlite, SqliteArguments> {
        let query = sqlx::query(AssertSqlSafe(self.text));
        self.args.into_iter().fold(query, |query, arg| match arg {
            Arg::Integer(value) => query.bind(value),
            Arg::Text(value) => query.bind(value),
            Arg::Bytes(value) => query.bind(value),
        })
    }

    /// The text, to be explained.
    #[cfg(test)]
    pub(crate) fn explain(&self) -> Query<'static, Sqlite, SqliteArguments> {
        let text = format!("EXPLAIN QUERY PLAN {}", self.text);
        Self { text, args: self.args.clone() }.query()
    }
}

/// The ways to walk over entries in list order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    IdempotencyKey,
    DedupKey,
    OrderKey,
    EntityId,
    UserId,
    Label,
    Fingerprint,
    EntityType,
    OriginService,
    /// Several stretches of the index by facet key and status, merged.
    FacetRanges,
    /// One status.
    Status,
    /// Several statuses, merged.
    Statuses,
    /// All entries in order.
    Position,
}

/// The form that the SQL of a path has.
#[derive(Clone, Copy, Debug)]
enum Shape {
    /// Along this index.
    Walk(&'static str),
    /// Along the index of labels.
    Label,
    /// Along several stretches of this index, merged.
    Merge(&'static str),
}

impl Path {
    fn shape(self) -> Shape {
        match self {
            Self::IdempotencyKey => Shape::Walk("entries_idempotency"),
            Self::DedupKey => Shape::Walk("entries_dedup"),
            Self::OrderKey => Shape::Walk("entries_order"),
            Self::EntityId => Shape::Walk("entries_entity_id"),
            Self::UserId => Shape::Walk("entries_user"),
            Self::Label => Shape::Label,
            Self::Fingerprint => Shape::Walk("entries_fingerprint"),
            Self::EntityType => Shape::Walk("entries_entity_type"),
            Self::OriginService => Shape::Walk("entries_origin"),
            Self::FacetRanges => Shape::Merge("entries_facet"),
            Self::Status => Shape::Walk("entries_status"),
            Self::Statuses => Shape::Merge("entries_status"),
            Self::Position => Shape::Walk("entries_position"),
        }
    }
}

/// The narrowest path that a filter allows: keys of one thing first, kinds of things later.
pub(super) fn path_of(filter: &Filter) -> Path {
    let has_facet =
        filter.domain.is_some() || filter.failure_type.is_some() || filter.dependency.is_some();
    if filter.idempotency_key.is_some() {
        Path::IdempotencyKey
    } else if filter.dedup_key.is_some() {
        Path::DedupKey
    } else if filter.order_key.is_some() {
        Path::OrderKey
    } else if filter.entity_id.is_some() {
        Path::EntityId
    } else if filter.user_id.is_some() {
        Path::UserId
    } else if !filter.labels.is_empty() {
        Path::Label
    } else if filter.fingerprint.is_some() {
        Path::Fingerprint
    } else if filter.entity_type.is_some() {
        Path::EntityType
    } else if filter.origin_service.is_some() {
        Path::OriginService
    } else if has_facet {
        Path::FacetRanges
    } else {
        match filter.statuses.as_slice() {
            [] => Path::Position,
            [_] => Path::Status,
            _ => Path::Statuses,
        }
    }
}

/// A question about entries.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub(super) ns: i64,
    pub(super) filter: &'a Filter,
    pub(super) stretch: Stretch,
    pub(super) path: Path,
    /// For merged paths: the ranges, as JSON. A facet range is `[facet key, status]`.
    pub(super) ranges: Option<String>,
    /// Whether entries of the ranges may have another domain, failure type or dependency than asked for.
    pub(super) inexact: bool,
}

const SUMMARY: &str = concat!("SELECT ", summary_columns!(), " ");

impl Ask<'_> {
    /// One page, in order, at most `limit` rows.
    pub(super) fn page(&self, order: ListOrder, limit: i64) -> SqlText {
        let mut sql = SqlText::new(SUMMARY);
        match self.path.shape() {
            Shape::Merge(index) => {
                sql.push("FROM json_each(")
                    .bind(Arg::Text(self.ranges.clone().unwrap_or_default()));
                sql.push(") r CROSS JOIN entries e ON e.seq IN (SELECT x.seq FROM ");
                self.ranges_from(&mut sql, index, " WHERE ");
                sql.push(match order {
                    ListOrder::OldestFirst => " ORDER BY x.created_at, x.id LIMIT ",
                    ListOrder::NewestFirst => " ORDER BY x.created_at DESC, x.id DESC LIMIT ",
                });
                sql.bind(Arg::Integer(limit)).push(")");
            }
            Shape::Label => self.label_from(&mut sql),
            Shape::Walk(index) => self.index_from(&mut sql, index),
        }
        sql.push(match (self.path == Path::Label, order) {
            (true, ListOrder::OldestFirst) => " ORDER BY l.created_at, l.id LIMIT ",
            (true, ListOrder::NewestFirst) => " ORDER BY l.created_at DESC, l.id DESC LIMIT ",
            (false, ListOrder::OldestFirst) => " ORDER BY e.created_at, e.id LIMIT ",
            (false, ListOrder::NewestFirst) => " ORDER BY e.created_at DESC, e.id DESC LIMIT ",
        });
        sql.bind(Arg::Integer(limit));
        sql
    }

    /// How many there are, counted up to `limit`.
    pub(super) fn count(&self, limit: i64) -> SqlText {
        let mut sql = SqlText::new("SELECT count(*) FROM (SELECT 1 ");
        match self.path.shape() {
            Shape::Merge(index) => {
                sql.push("FROM json_each(")
                    .bind(Arg::Text(self.ranges.clone().unwrap_or_default()));
                sql.push(") r CROSS JOIN ");
                self.ranges_from(&mut sql, index, " ON ");
            }
            Shape::Label => self.label_from(&mut sql),
            Shape::Walk(index) => self.index_from(&mut sql, index),
        }
        sql.push(" LIMIT ").bind(Arg::Integer(limit)).push(")");
        sql
    }

    fn ranges_from(&self, sql: &mut SqlText, index: &'static str, joint: &'static str) {
        sql.push("entries x INDEXED BY ").push(index).push(joint);
        if self.path == Path::FacetRanges {
            sql.push("x.facet_key = r.value ->> 0 AND x.status = r.value ->> 1");
        } else {
            sql.push("x.ns = ").bind(Arg::Integer(self.ns)).push(" AND x.status = r.value");
        }
        bound(sql, &X, self.stretch);
        if self.inexact {
            let Filter { domain, failure_type, dependency, .. } = self.filter;
            equals(sql, " AND x.domain = ", domain.as_ref());
            equals(sql, " AND x.failure_type = ", failure_type.as_ref());
            equals(sql, " AND x.dependency = ", dependency.as_ref());
        }
    }

    fn label_from(&self, sql: &mut SqlText) {
        sql.push("FROM labels l CROSS JOIN entries e ON e.seq = l.seq WHERE l.ns = ");
        sql.bind(Arg::Integer(self.ns));
        if let Some((name, value)) = self.filter.labels.first() {
            sql.push(" AND l.name = ").bind(Arg::Text(name.as_str().to_owned()));
            sql.push(" AND l.value = ").bind(Arg::Text(value.as_str().to_owned()));
        }
        bound(sql, &L, self.stretch);
        self.conditions(sql);
    }

    fn index_from(&self, sql: &mut SqlText, index: &'static str) {
        sql.push("FROM entries e INDEXED BY ").push(index);
        sql.push(" WHERE e.ns = ").bind(Arg::Integer(self.ns));
        bound(sql, &E, self.stretch);
        self.conditions(sql);
    }

    /// Every condition of the filter; the one that the index is for is among them.
    fn conditions(&self, sql: &mut SqlText) {
        let Filter {
            statuses,
            domain,
            failure_type,
            dependency,
            origin_service,
            entity_type,
            entity_id,
            user_id,
            idempotency_key,
            dedup_key,
            order_key,
            fingerprint,
            labels,
            // In the stretch.
            created_from: _,
            created_until: _,
        } = self.filter;
        status_in(sql, " AND e.status", statuses);
        equals(sql, " AND e.domain = ", domain.as_ref());
        equals(sql, " AND e.failure_type = ", failure_type.as_ref());
        equals(sql, " AND e.dependency = ", dependency.as_ref());
        equals(sql, " AND e.origin_service = ", origin_service.as_ref());
        equals(sql, " AND e.entity_type = ", entity_type.as_ref());
        equals(sql, " AND e.entity_id = ", entity_id.as_ref());
        equals(sql, " AND e.user_id = ", user_id.as_ref());
        equals(sql, " AND e.idempotency_key = ", idempotency_key.as_ref());
        equals(sql, " AND e.dedup_key = ", dedup_key.as_ref());
        equals(sql, " AND e.order_key = ", order_key.as_ref());
        equals(sql, " AND e.fingerprint = ", fingerprint.as_ref());
        let given = usize::from(self.path == Path::Label);
        for (name, value) in labels.iter().skip(given) {
            sql.push(" AND EXISTS (SELECT 1 FROM labels m WHERE m.ns = e.ns AND m.name = ");
            sql.bind(Arg::Text(name.as_str().to_owned())).push(" AND m.value = ");
            sql.bind(Arg::Text(value.as_str().to_owned()));
            sql.push(" AND m.created_at = e.created_at AND m.id = e.id)");
        }
    }
}

fn equals<T: AsRef<str>>(sql: &mut SqlText, piece: &'static str, value: Option<&T>) {
    if let Some(value) = value {
        sql.push(piece).bind(Arg::Text(value.as_ref().to_owned()));
    }
}

/// `piece = ?`, or `piece IN (?, …)`; nothing for an empty list, which means any.
pub(super) fn status_in(sql: &mut SqlText, piece: &'static str, statuses: &[Status]) {
    let text = |status: &Status| Arg::Text(status.as_str().to_owned());
    match statuses {
        [] => {}
        [status] => {
            sql.push(piece).push(" = ").bind(text(status));
        }
        several => {
            // A person may name one twice; there are ten.
            let distinct = Status::ALL.iter().filter(|status| several.contains(status));
            sql.push(piece).push(" IN ").bind_list(distinct.map(text));
        }
    }
}

/// How a bound is written for one table.
struct BoundPieces {
    from: &'static str,
    after: &'static str,
    below: &'static str,
}

const E: BoundPieces = BoundPieces {
    from: " AND (e.created_at, e.id) >= ",
    after: " AND (e.created_at, e.id) > ",
    below: " AND (e.created_at, e.id) < ",
};
const L: BoundPieces = BoundPieces {
    from: " AND (l.created_at, l.id) >= ",
    after: " AND (l.created_at, l.id) > ",
    below: " AND (l.created_at, l.id) < ",
};
const X: BoundPieces = BoundPieces {
    from: " AND (x.created_at, x.id) >= ",
    after: " AND (x.created_at, x.id) > ",
    below: " AND (x.created_at, x.id) < ",
};

fn bound(sql: &mut SqlText, pieces: &BoundPieces, stretch: Stretch) {
    let Stretch { lower, upper } = stretch;
    let lower = lower.map(|lower| match lower {
        Lower::From(position) => (pieces.from, position),
        Lower::After(position) => (pieces.after, position),
    });
    let upper = upper.map(|position| (pieces.below, position));
    for (piece, (at, id)) in [lower, upper].into_iter().flatten() {
        let position = [Arg::Integer(at.as_micros()), Arg::Bytes(id.as_bytes().to_vec())];
        sql.push(piece).bind_list(position);
    }
}
