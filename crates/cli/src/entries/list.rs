//! `baldur entries list`.

use baldur::{Cursor, EntrySummary, ListOrder, ListQuery, Page, PageSize, Timestamp};
use baldur_http::forms::SummaryAnswer;
use clap::Args;
use comfy_table::{Cell, Color};

use super::filter::FilterArgs;
use crate::{
    exit::{Code, Failure},
    out::Output,
    session::Session,
    table, text,
};

/// How many characters of an error a table shows.
const ERROR_WIDTH: usize = 60;

/// Options of `entries list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Oldest first.
    #[arg(long, help_heading = "How to list")]
    oldest_first: bool,
    /// How many entries at most, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 50, help_heading = "How to list")]
    limit: u32,
    /// Go on after this place, as the list before named it.
    #[arg(long, value_name = "CURSOR", help_heading = "How to list")]
    after: Option<Cursor>,
    /// All of them, page by page.
    #[arg(long, conflicts_with = "limit", help_heading = "How to list")]
    all: bool,
}

pub(super) async fn run(args: ListArgs, session: &Session, out: &Output) -> Result<(), Failure> {
    let ListArgs { filter, oldest_first, limit, after, all } = args;
    let now = session.baldur.env().clock.now();
    let limit = if all { PageSize::MAX } else { limit };
    let mut query = ListQuery {
        filter: filter.filter(now)?,
        order: if oldest_first { ListOrder::OldestFirst } else { ListOrder::NewestFirst },
        limit: PageSize::new(limit)
            .map_err(|error| Failure::usage("`--limit` is not usable", &error))?,
        after,
    };
    let mut listed = 0;
    let mut layout = None;
    loop {
        let page = session.baldur.entries().list(query.clone()).await?;
        if out.is_json() {
            out.lines(&json_lines(&page, query.order)?)?;
        } else if !page.items.is_empty() {
            out.lines(&table_lines(out, &page, now, &mut layout))?;
        }
        listed += page.items.len() as u64;
        match page.next {
            Some(next) if all => query.after = Some(next),
            next => {
                if !out.is_json() {
                    conclude(out, listed, next);
                }
                return Ok(());
            }
        }
    }
}

/// What follows the table, for people.
fn conclude(out: &Output, listed: u64, next: Option<Cursor>) {
    if listed == 0 {
        out.message("no entries match");
    } else if let Some(next) = next {
        out.message(&format!("there are more: --after {next}, or --all"));
    }
}

/// Columns and how wide they are at least.
const COLUMNS: [(&str, u16); 8] = [
    ("ID", 36),
    ("STATUS", 9),
    ("DOMAIN", 7),
    ("FAILURE", 7),
    ("DEPENDENCY", 10),
    ("TRIES", 5),
    ("AGE", 3),
    ("ERROR", 5),
];

/// The column of statuses.
const STATUS: usize = 1;

/// What a narrow terminal does without, first to last: dependency, tries, failure.
const SPARED: [usize; 3] = [4, 5, 3];

/// A page as a table. The first one decides which columns there are, and has the header.
fn table_lines(
    out: &Output,
    page: &Page<EntrySummary>,
    now: Timestamp,
    layout: &mut Option<Vec<usize>>,
) -> String {
    let rows: Vec<Vec<String>> = page.items.iter().map(|item| cells(item, now)).collect();
    let header = layout.is_none();
    let hidden = layout.get_or_insert_with(|| table::left_out(out, &COLUMNS, &rows, &SPARED));
    let is_shown = |index: &usize| !hidden.contains(index);
    let shown: Vec<usize> = (0..COLUMNS.len()).filter(is_shown).collect();
    let columns: Vec<(&str, u16)> = shown.iter().map(|index| COLUMNS[*index]).collect();
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| row.into_iter().enumerate().filter(|(i, _)| is_shown(i)).map(|c| c.1).collect())
        .collect();
    let room = table::room_for_last(out, &columns, &rows, ERROR_WIDTH);
    let mut table = table::table(out, &columns, header);
    for (item, row) in page.items.iter().zip(rows) {
        let last = row.len().saturating_sub(1);
        table.add_row(row.iter().enumerate().map(|(index, cell)| match index {
            STATUS => table::status(out, item.status),
            index if index == last => table::cell(out, &text::short(cell, room), Color::DarkGrey),
            _ => Cell::new(cell),
        }));
    }
    table::render(&mut table)
}

fn cells(item: &EntrySummary, now: Timestamp) -> Vec<String> {
    vec![
        item.id.to_string(),
        item.status.to_string(),
        item.domain.to_string(),
        text::short(item.failure_type.as_str(), 18),
        text::short(item.dependency.as_str(), 18),
        format!("{}/{}", item.retry_count, item.max_retries),
        text::age(now.since(item.created_at)),
        error(item),
    ]
}

fn error(item: &EntrySummary) -> String {
    match (item.error_code.as_str(), item.error_preview.as_str()) {
        ("", words) => words.to_owned(),
        (code, "") => code.to_owned(),
        (code, words) => format!("{code}: {words}"),
    }
}

fn json_lines(page: &Page<EntrySummary>, order: ListOrder) -> Result<String, Failure> {
    let mut lines = String::new();
    for item in &page.items {
        let line = serde_json::to_string(&SummaryAnswer::of(item, order)).map_err(|error| {
            Failure::new(Code::Failure, "an entry can't be written").because(&error)
        })?;
        lines.push_str(&line);
        lines.push('\n');
    }
    Ok(lines)
}
