//! The topics of the conformance suite that an adapter declines stand in the book.
//!
//! Both sides are read as text: `Topic::X` in `crates/<adapter>/tests/contract.rs`, and the rows
//! `adapter | topic | reason` of `docs/book/src/adapters.md` under the heading "Exceptions". A
//! contract test that doesn't run the suite yet is not compared.

use std::collections::BTreeMap;

use super::source::words;
use crate::tree::{Tree, Violation, code_lines, numbered};

const PAGE: &str = "docs/book/src/adapters.md";
const HEADING: &str = "## Exceptions";

/// Adapter and topic, with the place that names them.
type Declined = BTreeMap<(String, String), usize>;

pub(super) fn table(tree: &Tree) -> Vec<Violation> {
    let (listed, mut found) = listed(tree.text(PAGE).unwrap_or_default());
    for (path, text) in tree.rust_below("crates/") {
        let Some(adapter) = adapter_of(path) else { continue };
        if !text.contains("baldur_contract") {
            continue;
        }
        let declined = declined(adapter, text);
        for ((_, topic), line) in declined.iter().filter(|(key, _)| !listed.contains_key(key)) {
            let message = format!("declines `{topic}`, which {PAGE} does not say");
            found.push(Violation::at(path, *line, message));
        }
        for ((_, topic), line) in
            listed.iter().filter(|(key, _)| key.0 == adapter && !declined.contains_key(key))
        {
            let message = format!("{path} does not decline `{topic}`");
            found.push(Violation::at(PAGE, *line, message));
        }
    }
    for ((adapter, _), line) in &listed {
        if !tree.contains(&format!("crates/{adapter}/tests/contract.rs")) {
            let message = format!("there is no adapter `{adapter}` with a contract test");
            found.push(Violation::at(PAGE, *line, message));
        }
    }
    found
}

fn adapter_of(path: &str) -> Option<&str> {
    path.strip_prefix("crates/")?.strip_suffix("/tests/contract.rs")
}

fn declined(adapter: &str, text: &str) -> Declined {
    let mut topics = Declined::new();
    for (number, line) in code_lines(text) {
        for (owner, topic) in words(line).zip(words(line).skip(1)) {
            if owner == "Topic" && line.contains(&format!("Topic::{topic}")) {
                topics.entry((adapter.to_owned(), topic.to_owned())).or_insert(number);
            }
        }
    }
    topics
}

fn listed(page: &str) -> (Declined, Vec<Violation>) {
    let (mut topics, mut found) = (Declined::new(), Vec::new());
    let section = numbered(page)
        .skip_while(|(_, line)| *line != HEADING)
        .skip(1)
        .take_while(|(_, line)| !line.starts_with("## "));
    for (number, line) in section.filter(|(_, line)| line.starts_with('|')).skip(2) {
        match line.split('|').map(str::trim).collect::<Vec<_>>()[..] {
            ["", adapter, topic, reason, ""] if !reason.is_empty() => {
                let key = (adapter.replace('`', ""), topic.replace('`', ""));
                topics.insert(key, number);
            }
            _ => found.push(Violation::at(PAGE, number, "not `adapter | topic | reason`")),
        }
    }
    (topics, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = "crates/memory/tests/contract.rs";
    const DECLINES: &str =
        "use baldur_contract::Topic;\nfn f() {\n    except(Topic::Durability, \"forgets\")\n}\n";
    const RUNS_ALL: &str = "use baldur_contract::Harness;\n";
    const ROW: &str = "# Adapters\n\n## Exceptions\n\n| adapter | topic | reason |\n|---|---|---|\n\
        | memory | `Durability` | forgets |\n";

    fn problems(page: &str, test: &str) -> Vec<Violation> {
        table(&Tree::of(&[(PAGE, page), (TEST, test)]))
    }

    #[test]
    fn an_exception_on_both_sides_passes() {
        assert_eq!(problems(ROW, DECLINES), []);
        assert_eq!(problems("", RUNS_ALL), []);
    }

    #[test]
    fn an_exception_on_one_side_only_is_found() {
        assert_eq!(problems("", DECLINES)[0].path, TEST);
        assert_eq!(problems(ROW, RUNS_ALL)[0].path, PAGE);
    }

    #[test]
    fn an_exception_needs_a_reason_and_an_adapter() {
        assert!(!problems(&ROW.replace(" forgets ", "  "), DECLINES).is_empty());
        assert!(!problems(&ROW.replace("| memory |", "| moon |"), DECLINES).is_empty());
    }
}
