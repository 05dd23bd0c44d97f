//! The cases, one file for each group. Each name is a fact about every store.

mod admin;
mod apply;
mod breakers;
mod capture;
mod capture_refused;
mod claim;
mod claim_due;
mod close;
mod concurrency;
mod dedup;
mod durability;
mod eviction;
mod evidence;
mod facet;
pub(crate) mod hostile;
mod isolation;
mod lapse;
mod on_merge;
mod order;
mod overflow;
mod pace;
mod read_count;
mod read_list;
mod redrive;
mod settle;
mod settle_stale;

use crate::{case::Case, differential, model};

/// Every case of every group.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        capture::CASES,
        capture_refused::CASES,
        dedup::CASES,
        on_merge::CASES,
        overflow::CASES,
        eviction::CASES,
        claim::CASES,
        claim_due::CASES,
        order::CASES,
        settle::CASES,
        settle_stale::CASES,
        redrive::CASES,
        lapse::CASES,
        apply::CASES,
        read_list::CASES,
        read_count::CASES,
        facet::CASES,
        facet::OVERFLOW_CASES,
        evidence::CASES,
        admin::CASES,
        breakers::CASES,
        pace::CASES,
        close::CASES,
        concurrency::CASES,
        hostile::CASES,
        durability::CASES,
        isolation::CASES,
        model::CASES,
        differential::CASES,
    ]
    .into_iter()
    .flatten()
}

/// Whether the case compares the store with the model.
pub(crate) fn needs_model(case: &Case) -> bool {
    case.name.starts_with("model::") || is_differential(case)
}

/// Whether the case is one of the differential test.
pub(crate) fn is_differential(case: &Case) -> bool {
    case.name.starts_with("differential::")
}
