//! Tables: coloured and fitted on a terminal, plain and aligned anywhere else.

use baldur::Status;
use comfy_table::{
    Cell, Color, ColumnConstraint, ContentArrangement, Table, Width, presets::NOTHING,
};

use crate::{out::Output, text};

/// No column gets less than this, even if lines then don't fit.
const LEAST_ROOM: usize = 12;

/// A table with these columns, each at least so wide.
pub(crate) fn table(out: &Output, columns: &[(&str, u16)], header: bool) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if out.data().color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.set_content_arrangement(ContentArrangement::Disabled);
    if header {
        table.set_header(columns.iter().map(|(name, _)| cell(out, name, Color::DarkGrey)));
    }
    // Two blanks between columns; the last one ends the line.
    let constraints = columns
        .iter()
        .map(|(_, width)| ColumnConstraint::LowerBoundary(Width::Fixed(width.saturating_add(2))));
    table.set_constraints(constraints);
    table
}

/// The rendered table, without blanks at the ends of lines, line feed included.
pub(crate) fn render(table: &mut Table) -> String {
    let last = table.column_count().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, if index == last { 0 } else { 2 }));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// How wide the last column may be, so that lines fit the terminal; `otherwise` where there is none.
pub(crate) fn room_for_last(
    out: &Output,
    columns: &[(&str, u16)],
    rows: &[Vec<String>],
    otherwise: usize,
) -> usize {
    let Some(width) = Table::new().width().filter(|_| out.data().terminal) else {
        return otherwise;
    };
    let taken: usize = columns
        .iter()
        .enumerate()
        .take(columns.len().saturating_sub(1))
        .map(|(index, (name, least))| {
            let cells = rows.iter().filter_map(|row| row.get(index));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(usize::from(*least)).max(name.len()) + 2
        })
        .sum();
    usize::from(width).saturating_sub(taken).max(LEAST_ROOM)
}

/// A cell in colour, where colour is wanted.
pub(crate) fn cell(out: &Output, text: &str, color: Color) -> Cell {
    let cell = Cell::new(text::plain(text));
    if out.data().color { cell.fg(color) } else { cell }
}

/// A status in its colour.
pub(crate) fn status(out: &Output, status: Status) -> Cell {
    let color = match status {
        Status::Pending => Color::Yellow,
        Status::Replaying | Status::Reviewing => Color::Cyan,
        Status::RequiresReview | Status::PermanentlyFailed => Color::Red,
        Status::Resolved | Status::Replayed => Color::Green,
        Status::Rejected | Status::Expired | Status::Archived => Color::DarkGrey,
    };
    cell(out, status.as_str(), color)
}
