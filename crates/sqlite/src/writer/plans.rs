//! The writer's statements, for the tests of their plans.

use super::{
    capture, claim, coordinate, counters, effects, facet_keys, heads, insert, session, update,
};
use crate::sql::MultiRow;

pub(crate) fn constants() -> impl Iterator<Item = &'static str> {
    [
        session::STANDINGS,
        capture::KNOWN,
        capture::LIVE_WITH,
        claim::BY_SEQ,
        claim::BY_ID,
        claim::DUE,
        claim::DUE_OF_DEPENDENCY,
        claim::RUN_OUT,
        coordinate::SAVE,
        coordinate::LEVELS,
        coordinate::LEVEL,
        facet_keys::FIND,
        heads::LINES,
        heads::MARKED,
        heads::MARK,
        heads::UNMARK,
    ]
    .into_iter()
}

pub(crate) fn multi_rows() -> impl Iterator<Item = &'static MultiRow> {
    [
        &counters::ADD,
        &counters::SUBTRACT,
        &effects::EVIDENCE,
        &effects::UNSEALED,
        &effects::MERGED,
        &insert::ENTRIES,
        &insert::PAYLOADS,
        &insert::LABELS,
        &update::WHOLE,
        &update::LIGHT,
    ]
    .into_iter()
}
