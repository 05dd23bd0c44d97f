//! What became of one entry.

use baldur::{
    Status,
    name::Domain,
    replay::{ItemOutcome, ItemResult},
};
use serde::Serialize;

use crate::{exit::Failure, out::Output, progress::Progress, text};

/// A replayed entry as programs read it.
#[derive(Serialize)]
pub(crate) struct ItemLine<'a> {
    id: String,
    domain: Option<&'a str>,
    outcome: &'static str,
    status: Option<&'static str>,
    took_ms: u64,
    note: &'a str,
}

impl<'a> ItemLine<'a> {
    pub(crate) fn of(item: &'a ItemResult) -> Self {
        let ItemResult { id, domain, outcome, status, took, note } = item;
        Self {
            id: id.to_string(),
            domain: domain.as_ref().map(Domain::as_str),
            outcome: outcome.as_str(),
            status: status.map(Status::as_str),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            note,
        }
    }
}

/// Whether the entry still needs somebody or something.
pub(crate) fn failed(outcome: ItemOutcome) -> bool {
    match outcome {
        ItemOutcome::Succeeded | ItemOutcome::AlreadyDone => false,
        ItemOutcome::Failed
        | ItemOutcome::Permanent
        | ItemOutcome::Deferred
        | ItemOutcome::Released
        | ItemOutcome::Stale
        | ItemOutcome::Refused => true,
    }
}

/// Programs get every entry; people see those that did not work.
pub(super) fn tell(out: &Output, progress: &Progress, item: &ItemResult) -> Result<(), Failure> {
    if out.is_json() {
        return progress.suspend(|| out.json(&ItemLine::of(item)));
    }
    if failed(item.outcome) {
        let note = text::short(&item.note, 200);
        progress.suspend(|| out.message(&format!("{} {}: {note}", item.id, item.outcome.as_str())));
    }
    Ok(())
}
