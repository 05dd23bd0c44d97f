//! Scripts that told two stores apart once, in the form in which the search prints them.

use crate::script::{
    Bent::TooManyOccurrences,
    Kept, Moved,
    Step::{self, Capture, Import},
    text,
};

pub(super) fn all() -> Vec<Vec<Step>> {
    vec![an_import_with_more_occurrences_than_integers_hold()]
}

/// SQLite refused it, for its integers; memory took it, and could not count on.
fn an_import_with_more_occurrences_than_integers_hold() -> Vec<Step> {
    vec![
        Capture(vec![Kept {
            slot: 0,
            domain: "payment",
            dependency: text("a"),
            dedup: Some(text("a")),
            order: None,
            budget: 1,
            delay: 0,
            age: 0,
            unreplayable: None,
            labels: vec![],
            limits: None,
            keep_last: false,
            request: text("{}"),
            more: None,
        }]),
        Import(vec![Moved { from: 0, to: 32, status: None, bent: Some(TooManyOccurrences) }]),
        Capture(vec![Kept {
            slot: 1,
            domain: "payment",
            dependency: text("a"),
            dedup: Some(text("a")),
            order: None,
            budget: 1,
            delay: 0,
            age: 0,
            unreplayable: None,
            labels: vec![],
            limits: None,
            keep_last: false,
            request: text("{}"),
            more: None,
        }]),
    ]
}
