//! Positions in lists, and the stretch of them that a question is about.

use baldur_core::{Cursor, EntryId, Filter, ListOrder, Timestamp};

/// A position: (captured at, id).
pub(super) type Position = (Timestamp, EntryId);

/// The stretch of positions that can match. It becomes at most one lower and one upper bound in SQL, so that both
/// are used on the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) lower: Option<Lower>,
    /// Positions below this one only.
    pub(super) upper: Option<Position>,
}

/// Where a stretch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lower {
    /// At this position or after it.
    From(Position),
    /// After this position.
    After(Position),
}

impl Lower {
    fn position(self) -> Position {
        match self {
            Self::From(position) | Self::After(position) => position,
        }
    }
}

/// The smallest position at a time.
fn first(at: Timestamp) -> Position {
    (at, EntryId::from_bytes([0; 16]))
}

impl Stretch {
    pub(super) fn of(filter: &Filter, after: Option<Cursor>) -> Self {
        let mut lower = filter.created_from.map(|at| Lower::From(first(at)));
        let mut upper = filter.created_until.map(first);
        match after {
            None => {}
            Some(Cursor { order: ListOrder::OldestFirst, created_at, id }) => {
                let cursor = (created_at, id);
                if lower.is_none_or(|lower| lower.position() <= cursor) {
                    lower = Some(Lower::After(cursor));
                }
            }
            Some(Cursor { order: ListOrder::NewestFirst, created_at, id }) => {
                let cursor = (created_at, id);
                upper = Some(upper.map_or(cursor, |upper| upper.min(cursor)));
            }
        }
        Self { lower, upper }
    }
}
