//! The seed map: where each symbol of the seeds lives here, and the test that proves it.
//!
//! `symbols.tsv` lists the seeds' symbols (seed, owner, member). `seed-map.md` has one table row
//! for each, in the same order: seed | owner | member | home here | test that proves it. Home and
//! test are both `—` until the symbol's issue has come; then both are one or more names in
//! backticks, separated by commas, that [`names`] finds in the source.

use super::names;
use crate::tree::{Tree, Violation, numbered};

const SYMBOLS: &str = "docs/book/src/reference/symbols.tsv";
const MAP: &str = "docs/book/src/reference/seed-map.md";
const NOT_YET: &str = "—";

struct Row<'a> {
    line: usize,
    symbol: [&'a str; 3],
    home: &'a str,
    test: &'a str,
}

/// One row for each symbol, in the same order, and no other.
pub(super) fn rows(tree: &Tree) -> Vec<Violation> {
    let (Some(symbols), Some(map)) = (tree.text(SYMBOLS), tree.text(MAP)) else {
        return vec![Violation::at(MAP, 1, format!("this page and {SYMBOLS} must exist"))];
    };
    let symbols = symbols_of(symbols);
    let (rows, mut found) = parse(map);

    for (line, symbol) in &symbols {
        if !rows.iter().any(|row| row.symbol == *symbol) {
            found.push(Violation::at(SYMBOLS, *line, format!("no row for {}", show(symbol))));
        }
    }
    for (index, row) in rows.iter().enumerate() {
        let twice = rows[..index].iter().any(|earlier| earlier.symbol == row.symbol);
        if twice || !symbols.iter().any(|(_, symbol)| *symbol == row.symbol) {
            let what = if twice { "a second row" } else { "no symbol" };
            found.push(Violation::at(MAP, row.line, format!("{what} for {}", show(&row.symbol))));
        }
    }
    if found.is_empty() {
        let misplaced = rows.iter().zip(&symbols).find(|(row, (_, it))| row.symbol != *it);
        found.extend(misplaced.map(|(row, (_, expected))| {
            let message = format!("out of order: {} comes here", show(expected));
            Violation::at(MAP, row.line, message)
        }));
    }
    found
}

/// Each named home and test exists, and neither comes without the other.
pub(super) fn homes(tree: &Tree) -> Vec<Violation> {
    let (rows, _) = parse(tree.text(MAP).unwrap_or_default());
    let mut found = Vec::new();
    for row in rows {
        let mut say = |message: String| found.push(Violation::at(MAP, row.line, message));
        if (row.home == NOT_YET) != (row.test == NOT_YET) {
            say("a home comes with its test, and a test with its home".to_owned());
        }
        for (cell, missing) in [
            (row.home, names::missing_home as fn(&Tree, &str) -> Option<String>),
            (row.test, names::missing_test),
        ] {
            match spans(cell) {
                Some(named) => named.iter().filter_map(|it| missing(tree, it)).for_each(&mut say),
                None => say(format!("`{cell}` must be {NOT_YET} or names in backticks")),
            }
        }
    }
    found
}

fn symbols_of(text: &str) -> Vec<(usize, [&str; 3])> {
    numbered(text)
        .skip(1)
        .map(|(line, symbol)| {
            let mut cells = symbol.split('\t');
            (line, std::array::from_fn(|_| cells.next().unwrap_or_default()))
        })
        .collect()
}

/// The rows of the page's table, and the lines that are none.
fn parse(map: &str) -> (Vec<Row<'_>>, Vec<Violation>) {
    let (mut rows, mut found) = (Vec::new(), Vec::new());
    for (line, text) in numbered(map).filter(|(_, text)| text.starts_with('|')).skip(2) {
        let cells: Vec<&str> = text.split('|').map(str::trim).collect();
        if let ["", seed, owner, member, home, test, ""] = cells[..] {
            rows.push(Row { line, symbol: [seed, owner, member], home, test });
        } else {
            found.push(Violation::at(MAP, line, "a row has five cells"));
        }
    }
    (rows, found)
}

fn show(symbol: &[&str; 3]) -> String {
    symbol.join(" ").trim_end().to_owned()
}

/// The names in a cell: none for `—`, and `None` for a cell of another form.
fn spans(cell: &str) -> Option<Vec<&str>> {
    if cell == NOT_YET {
        return Some(Vec::new());
    }
    cell.split(", ").map(|it| it.strip_prefix('`')?.strip_suffix('`')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "seed\towner\tmember\n003\tService\t\n003\tService\tget_entry\n";
    const HEAD: &str = "# Map\n\n| seed | owner | member | home | test |\n|---|---|---|---|---|\n";
    const SERVICE: &str = "| 003 | Service |  | — | — |\n";
    const GET: &str = "| 003 | Service | get_entry | — | — |\n";

    fn tree(table: &[&str]) -> Tree {
        let map = format!("{HEAD}{}", table.concat());
        Tree::of(&[
            (SYMBOLS, LIST),
            (MAP, &map),
            ("crates/app/Cargo.toml", "name = \"baldur-app\"\n"),
            ("crates/app/src/entries.rs", "pub fn get() {}\n"),
            ("crates/app/tests/it/main.rs", "fn it_gets() {}\n"),
        ])
    }

    fn problems(table: &[&str]) -> Vec<String> {
        rows(&tree(table)).into_iter().map(|it| it.message).collect()
    }

    #[test]
    fn a_row_for_each_symbol_passes() {
        assert_eq!(problems(&[SERVICE, GET]), [""; 0]);
        assert_eq!(homes(&tree(&[SERVICE, GET])), []);
    }

    #[test]
    fn missing_extra_doubled_and_reordered_rows_are_found() {
        assert_eq!(problems(&[SERVICE]), ["no row for 003 Service get_entry"]);
        let extra = "| 003 | Service | set_entry | — | — |\n";
        assert_eq!(problems(&[SERVICE, GET, extra]), ["no symbol for 003 Service set_entry"]);
        assert_eq!(problems(&[SERVICE, GET, GET]), ["a second row for 003 Service get_entry"]);
        assert_eq!(problems(&[GET, SERVICE]), ["out of order: 003 Service comes here"]);
        assert!(problems(&[SERVICE, GET, "| 003 | Service |\n"])[0].contains("five cells"));
    }

    #[test]
    fn a_lost_page_is_found() {
        assert_eq!(rows(&Tree::of(&[(SYMBOLS, LIST)])).len(), 1);
        assert_eq!(rows(&Tree::of(&[(MAP, HEAD)])).len(), 1);
    }

    #[test]
    fn named_homes_and_tests_must_exist() {
        let row = |home: &str, test: &str| {
            let row = format!("| 003 | Service | get_entry | {home} | {test} |\n");
            homes(&tree(&[SERVICE, &row])).len()
        };
        let (home, test) = ("`baldur_app::entries::get`", "`crates/app/tests/it/main.rs::it_gets`");
        assert_eq!(row(home, test), 0);
        assert_eq!(row(&format!("{home}, {home}"), test), 0);
        assert_eq!(row("`baldur_app::entries::put`", test), 1);
        assert_eq!(row(home, "`crates/app/tests/it/main.rs::it_puts`"), 1);
        assert_eq!(row(home, NOT_YET), 1);
        assert_eq!(row(NOT_YET, test), 1);
        assert_eq!(row("baldur_app::entries::get", test), 1);
        assert_eq!(row("", test), 1);
    }
}
