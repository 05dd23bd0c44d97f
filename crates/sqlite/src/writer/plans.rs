//! The writer's statements, for the tests of their plans.

use super::{
    capture, claim, coordinate, counters, effects, facet_keys, gone, heads, insert, merge, room,
    session, update,
};
use crate::sql::MultiRow;

pub(crate) fn constants() -> impl Iterator<Item = &'static str> {
    [
        session::STANDINGS,
        capture::KNOWN,
        merge::LIVE_WITH,
        merge::NEXT_LIVE_WITH,
        room::LIVE,
        room::OLDEST_OF_DOMAIN,
        room::OLDEST_OF_STATUS,
        gone::DROP_PAYLOADS,
        gone::DROP_ENTRIES,
        counters::DROP_EMPTY,
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
        &counters::ADD_LIVE,
        &counters::SUBTRACT_LIVE,
        &gone::GONE,
        &gone::DROP_LABELS,
        &effects::EVIDENCE,
        &effects::UNSEALED,
        &effects::MERGED,
        &insert::ENTRIES,
        &insert::PAYLOADS,
        &insert::LABELS,
        &update::WHOLE,
        &update::LIGHT,
        &update::FAILURE,
        &update::PAYLOAD,
    ]
    .into_iter()
}
