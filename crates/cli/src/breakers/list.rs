//! `baldur breakers list`.

use baldur::{
    Timestamp,
    policy::BreakerState,
    port::{MAX_BREAKERS_LISTED, SharedBreaker},
};
use comfy_table::{Cell, CellAlignment, Color};

use super::{answer, met, rest, words};
use crate::{exit::Failure, out::Output, session::Session, table, text};

/// How many characters of a name and of a reason a table shows.
const WIDTHS: (usize, usize) = (40, 60);

/// Columns and how wide they are at least.
const COLUMNS: [(&str, u16); 8] = [
    ("DEPENDENCY", 10),
    ("STATE", 9),
    ("ORDER", 5),
    ("OPEN FOR", 8),
    ("TRIPS", 5),
    ("CHANGED", 7),
    ("BY", 2),
    ("REASON", 6),
];

pub(super) async fn run(session: &Session, out: &Output) -> Result<(), Failure> {
    let store = session.baldur.breaker_store();
    let mut breakers: Vec<SharedBreaker> = Vec::new();
    loop {
        let after = breakers.last().map(|last| last.name.clone());
        let page = store.list(after, MAX_BREAKERS_LISTED).await?;
        let is_last = page.len() < MAX_BREAKERS_LISTED;
        breakers.extend(page);
        if is_last {
            break;
        }
    }
    if out.is_json() {
        return breakers.iter().try_for_each(|breaker| out.json(&answer(breaker)));
    }
    if breakers.is_empty() {
        out.message("no process has shared a breaker");
        return Ok(());
    }
    let now = session.baldur.env().clock.now();
    let mut table = table::table(out, &COLUMNS, true);
    for breaker in &breakers {
        table.add_row(row(out, breaker, now));
    }
    out.lines(&table::render(&mut table))
}

fn row(out: &Output, breaker: &SharedBreaker, now: Timestamp) -> Vec<Cell> {
    let state = met(breaker);
    let color = match state {
        BreakerState::Closed => Color::Green,
        BreakerState::HalfOpen => Color::Yellow,
        BreakerState::Open => Color::Red,
    };
    let order = table::cell(
        out,
        &words(breaker.forced),
        if breaker.forced.is_some() { Color::Yellow } else { Color::DarkGrey },
    );
    let (name, reason) = WIDTHS;
    let why = breaker.reason.as_ref().map_or("", AsRef::as_ref);
    vec![
        Cell::new(text::short(breaker.name.as_str(), name)),
        table::cell(out, state.as_str(), color),
        order,
        Cell::new(breaker.open_for.map(rest).unwrap_or_default()),
        Cell::new(text::number(breaker.trips)).set_alignment(CellAlignment::Right),
        Cell::new(text::age(now.since(breaker.changed_at))),
        Cell::new(text::short(breaker.changed_by.as_str(), 18)),
        table::cell(out, &text::short(why, reason), Color::DarkGrey),
    ]
}
