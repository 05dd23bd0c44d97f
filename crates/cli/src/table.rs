//! Tables: coloured and fitted on a terminal, plain and aligned anywhere else.

use baldur::Status;
use comfy_table::{
    Cell, Color, ColumnConstraint, ContentArrangement, Table, Width, presets::NOTHING,
};

use crate::{out::Output, text};

/// The last column gets no less than this, even if lines then don't fit.
const LEAST_ROOM: usize = 10;

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

/// Which columns to leave out so that lines fit the terminal: of those `spared`, in its order, as few as needed.
pub(crate) fn left_out(
    out: &Output,
    columns: &[(&str, u16)],
    rows: &[Vec<String>],
    spared: &[usize],
) -> Vec<usize> {
    let Some(width) = terminal_width(out) else { return Vec::new() };
    let mut hidden = Vec::new();
    for column in spared {
        let taken: usize = widths(columns, rows)
            .enumerate()
            .filter(|(index, _)| !hidden.contains(index))
            .map(|(_, width)| width)
            .sum();
        if taken + LEAST_ROOM <= width {
            break;
        }
        hidden.push(*column);
    }
    hidden
}

fn terminal_width(out: &Output) -> Option<usize> {
    Table::new().width().filter(|_| out.data().terminal).map(usize::from)
}

/// How wide each column but the last is, with the blanks that follow it.
fn widths(columns: &[(&str, u16)], rows: &[Vec<String>]) -> impl Iterator<Item = usize> {
    let but_last = columns.len().saturating_sub(1);
    columns.iter().take(but_last).enumerate().map(|(index, (name, least))| {
        let cells = rows.iter().filter_map(|row| row.get(index));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(usize::from(*least)).max(name.len()) + 2
    })
}

/// How wide the last column may be, so that lines fit the terminal; `otherwise` where there is none.
pub(crate) fn room_for_last(
    out: &Output,
    columns: &[(&str, u16)],
    rows: &[Vec<String>],
    otherwise: usize,
) -> usize {
    let Some(width) = terminal_width(out) else { return otherwise };
    let taken: usize = widths(columns, rows).sum();
    width.saturating_sub(taken).max(LEAST_ROOM)
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
