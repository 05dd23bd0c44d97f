//! Which index answers a filter, and the SQL for it.
//!
//! The text is put together from constant pieces and placeholders only. PostgreSQL knows no way to name an index, so
//! each shape leaves the planner one sensible choice: the table that has the index stands first, the others are looked
//! up by their keys for each of its rows (`LATERAL` behind an `OFFSET 0`, which keeps the planner from turning them
//! round), and the transaction prefers indexes ([`super::INDEXES`]).

use baldur_core::{Filter, ListOrder, Status};
use sqlx::{AssertSqlSafe, Postgres, postgres::PgArguments, query::Query, types::Uuid};

use super::position::{Lower, Stretch};
use crate::{rows::summary_columns, sql::uuid};

/// A value for a placeholder.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Small(i32),
    Integer(i64),
    Text(String),
    Uuid(Uuid),
    Integers(Vec<i64>),
    Words(Vec<&'static str>),
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
        self.args.push(arg);
        self.text.push('$');
        self.text.push_str(&self.args.len().to_string());
        self
    }

    /// Appends `($1, $2, …)`.
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
    pub(super) fn query(self) -> Query<'static, Postgres, PgArguments> {
        let query = sqlx::query(AssertSqlSafe(self.text));
        self.args.into_iter().fold(query, |query, arg| match arg {
            Arg::Small(value) => query.bind(value),
            Arg::Integer(value) => query.bind(value),
            Arg::Text(value) => query.bind(value),
            Arg::Uuid(value) => query.bind(value),
            Arg::Integers(value) => query.bind(value),
            Arg::Words(value) => query.bind(value),
        })
    }

    /// The text, to be explained.
    #[cfg(test)]
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The values.
    #[cfg(test)]
    pub(super) fn args(&self) -> &[Arg] {
        &self.args
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

/// The form that the SQL of a path has: which table leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Along an index of `entries`.
    Entries,
    /// Along the index of labels.
    Labels,
    /// Along an index of `states`.
    States,
    /// Along several stretches of an index of `states`, merged.
    Merge,
}

impl Path {
    fn shape(self) -> Shape {
        match self {
            Self::IdempotencyKey
            | Self::DedupKey
            | Self::OrderKey
            | Self::EntityId
            | Self::UserId
            | Self::Fingerprint
            | Self::EntityType
            | Self::OriginService
            | Self::Position => Shape::Entries,
            Self::Label => Shape::Labels,
            Self::Status => Shape::States,
            Self::FacetRanges | Self::Statuses => Shape::Merge,
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

/// The stretches of a merge: for [`Path::FacetRanges`] pairs of facet key and status, for [`Path::Statuses`] statuses.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    pub(super) facet_keys: Vec<i64>,
    pub(super) statuses: Vec<&'static str>,
}

/// A question about entries.
#[derive(Clone, Debug)]
pub(super) struct Ask<'a> {
    pub(super) ns: i32,
    pub(super) filter: &'a Filter,
    pub(super) stretch: Stretch,
    pub(super) path: Path,
    pub(super) ranges: Ranges,
    /// Whether entries of the ranges may have another domain, failure type or dependency than asked for.
    pub(super) inexact: bool,
}

const SUMMARY: &str = concat!("SELECT ", summary_columns!(), " FROM ");

/// The entry of a row of the leading table, by its key.
macro_rules! entry_of {
    ($lead:literal) => {
        concat!(
            " CROSS JOIN LATERAL (SELECT * FROM baldur.entries y WHERE y.ns = ",
            $lead,
            ".ns AND y.id = ",
            $lead,
            ".id OFFSET 0) e"
        )
    };
}

/// A condition on a key: for the index that has it, or not.
macro_rules! key {
    ($column:literal, $goes_by_it:expr) => {
        if $goes_by_it {
            concat!(" AND e.", $column, " = ")
        } else {
            concat!(" AND (e.", $column, " || '') = ")
        }
    };
}

/// The state of an entry, by its key.
const STATE_OF: &str = " CROSS JOIN LATERAL (SELECT * FROM baldur.states y \
     WHERE y.ns = e.ns AND y.id = e.id OFFSET 0) s";

impl Ask<'_> {
    /// One page, in order, at most `limit` rows.
    pub(super) fn page(&self, order: ListOrder, limit: i64) -> SqlText {
        let mut sql = SqlText::new(SUMMARY);
        let (oldest, newest) = match self.path.shape() {
            Shape::Merge => {
                self.merge(&mut sql, order, limit);
                (" ORDER BY w.created_at, w.id", " ORDER BY w.created_at DESC, w.id DESC")
            }
            Shape::Labels => {
                self.labels(&mut sql, true);
                (" ORDER BY l.created_at, l.id", " ORDER BY l.created_at DESC, l.id DESC")
            }
            Shape::States => {
                self.states(&mut sql, entry_of!("s"));
                (" ORDER BY s.created_at, s.id", " ORDER BY s.created_at DESC, s.id DESC")
            }
            Shape::Entries => {
                self.entries(&mut sql, true);
                (" ORDER BY e.created_at, e.id", " ORDER BY e.created_at DESC, e.id DESC")
            }
        };
        sql.push(match order {
            ListOrder::OldestFirst => oldest,
            ListOrder::NewestFirst => newest,
        });
        sql.push(" LIMIT ").bind(Arg::Integer(limit));
        sql
    }

    /// How many there are, counted up to `limit`. In order too, though a number has none: so it goes by the same index.
    pub(super) fn count(&self, limit: i64) -> SqlText {
        let mut sql = SqlText::new("SELECT count(*) FROM (SELECT 1 FROM ");
        // Only what a condition names is looked up.
        let with_state = !self.filter.statuses.is_empty();
        match self.path.shape() {
            Shape::Merge => {
                self.ranges(&mut sql);
                sql.push(" CROSS JOIN LATERAL (SELECT 1 FROM baldur.states x WHERE ");
                self.of_range(&mut sql);
                sql.push(" ORDER BY x.created_at, x.id LIMIT ").bind(Arg::Integer(limit));
                sql.push(") w");
            }
            Shape::Labels => {
                self.labels(&mut sql, with_state);
                sql.push(" ORDER BY l.created_at, l.id");
            }
            Shape::States => {
                self.states(&mut sql, "");
                sql.push(" ORDER BY s.created_at, s.id");
            }
            Shape::Entries => {
                self.entries(&mut sql, with_state);
                sql.push(" ORDER BY e.created_at, e.id");
            }
        }
        sql.push(" LIMIT ").bind(Arg::Integer(limit)).push(") c");
        sql
    }

    /// The positions of a page: some from each stretch, and the first of all these.
    fn merge(&self, sql: &mut SqlText, order: ListOrder, limit: i64) {
        let (inner, outer) = match order {
            ListOrder::OldestFirst => {
                (" ORDER BY x.created_at, x.id LIMIT ", " ORDER BY v.created_at, v.id LIMIT ")
            }
            ListOrder::NewestFirst => (
                " ORDER BY x.created_at DESC, x.id DESC LIMIT ",
                " ORDER BY v.created_at DESC, v.id DESC LIMIT ",
            ),
        };
        sql.push("(SELECT v.ns, v.created_at, v.id FROM ");
        self.ranges(sql);
        sql.push(
            " CROSS JOIN LATERAL (SELECT x.ns, x.created_at, x.id FROM baldur.states x WHERE ",
        );
        self.of_range(sql);
        sql.push(inner).bind(Arg::Integer(limit)).push(") v");
        sql.push(outer).bind(Arg::Integer(limit)).push(") w");
        sql.push(entry_of!("w")).push(STATE_OF);
    }

    /// The stretches, a row each.
    fn ranges(&self, sql: &mut SqlText) {
        let Ranges { facet_keys, statuses } = &self.ranges;
        sql.push("unnest(");
        if self.path == Path::FacetRanges {
            sql.bind(Arg::Integers(facet_keys.clone())).push("::bigint[], ");
            sql.bind(Arg::Words(statuses.clone())).push("::text[]) r(facet_key, status)");
        } else {
            sql.bind(Arg::Words(statuses.clone())).push("::text[]) r(status)");
        }
    }

    /// What belongs to a stretch.
    fn of_range(&self, sql: &mut SqlText) {
        if self.path == Path::FacetRanges {
            sql.push("x.facet_key = r.facet_key AND x.status = r.status");
        } else {
            sql.push("x.ns = ").bind(Arg::Small(self.ns)).push(" AND x.status = r.status");
        }
        bound(sql, &X, self.stretch);
        if self.inexact {
            let Filter { domain, failure_type, dependency, .. } = self.filter;
            equals(sql, " AND x.domain = ", domain.as_ref());
            equals(sql, " AND x.dependency = ", dependency.as_ref());
            if let Some(failure_type) = failure_type {
                sql.push(
                    " AND EXISTS (SELECT 1 FROM baldur.entries y WHERE y.ns = x.ns \
                     AND y.id = x.id AND y.failure_type = ",
                );
                sql.bind(Arg::Text(failure_type.as_str().to_owned())).push(" OFFSET 0)");
            }
        }
    }

    fn labels(&self, sql: &mut SqlText, with_state: bool) {
        sql.push("baldur.labels l").push(entry_of!("l"));
        sql.push(if with_state { STATE_OF } else { "" });
        sql.push(" WHERE l.ns = ").bind(Arg::Small(self.ns));
        if let Some((name, value)) = self.filter.labels.first() {
            sql.push(" AND l.name = ").bind(Arg::Text(name.as_str().to_owned()));
            sql.push(" AND l.value = ").bind(Arg::Text(value.as_str().to_owned()));
        }
        bound(sql, &L, self.stretch);
        self.conditions(sql);
    }

    /// Along one status: the filter has no other condition but the time.
    fn states(&self, sql: &mut SqlText, entry: &'static str) {
        sql.push("baldur.states s").push(entry);
        sql.push(" WHERE s.ns = ").bind(Arg::Small(self.ns));
        status_in(sql, " AND s.status", &self.filter.statuses);
        bound(sql, &S, self.stretch);
    }

    fn entries(&self, sql: &mut SqlText, with_state: bool) {
        sql.push("baldur.entries e").push(if with_state { STATE_OF } else { "" });
        sql.push(" WHERE e.ns = ").bind(Arg::Small(self.ns));
        bound(sql, &E, self.stretch);
        self.conditions(sql);
    }

    /// Every condition of the filter. The keys that the path does not go by are written such that no index has them;
    /// without statistics their indexes look as good as the right one.
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
        status_in(sql, " AND s.status", statuses);
        equals(sql, " AND e.domain = ", domain.as_ref());
        equals(sql, " AND e.failure_type = ", failure_type.as_ref());
        equals(sql, " AND e.dependency = ", dependency.as_ref());
        equals(
            sql,
            key!("origin_service", self.path == Path::OriginService),
            origin_service.as_ref(),
        );
        equals(sql, key!("entity_type", self.path == Path::EntityType), entity_type.as_ref());
        equals(sql, key!("entity_id", self.path == Path::EntityId), entity_id.as_ref());
        equals(sql, key!("user_id", self.path == Path::UserId), user_id.as_ref());
        equals(
            sql,
            key!("idempotency_key", self.path == Path::IdempotencyKey),
            idempotency_key.as_ref(),
        );
        equals(sql, key!("dedup_key", self.path == Path::DedupKey), dedup_key.as_ref());
        equals(sql, key!("order_key", self.path == Path::OrderKey), order_key.as_ref());
        equals(sql, key!("fingerprint", self.path == Path::Fingerprint), fingerprint.as_ref());
        let given = usize::from(self.path == Path::Label);
        for (name, value) in labels.iter().skip(given) {
            sql.push(" AND EXISTS (SELECT 1 FROM baldur.labels m WHERE m.ns = e.ns AND m.name = ");
            sql.bind(Arg::Text(name.as_str().to_owned())).push(" AND m.value = ");
            sql.bind(Arg::Text(value.as_str().to_owned()));
            sql.push(" AND m.created_at = e.created_at AND m.id = e.id OFFSET 0)");
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
const S: BoundPieces = BoundPieces {
    from: " AND (s.created_at, s.id) >= ",
    after: " AND (s.created_at, s.id) > ",
    below: " AND (s.created_at, s.id) < ",
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
        let position = [Arg::Integer(at.as_micros()), Arg::Uuid(uuid(id))];
        sql.push(piece).bind_list(position);
    }
}
