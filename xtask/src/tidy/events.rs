//! Log events: their names follow one rule, and the book lists all of them.

use std::collections::BTreeMap;

use crate::tree::{Tree, Violation, numbered};

const PAGE: &str = "docs/book/src/reference/events.md";

const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];

/// Commands talk to their terminal; what they say of themselves in logs is free, unless it is a name.
const FREE: &str = "crates/cli/";

/// One event in the source.
#[derive(Debug, PartialEq, Eq)]
struct Event<'a> {
    path: &'a str,
    line: usize,
    level: &'static str,
    /// The message, when it is a plain text.
    message: Option<String>,
}

/// Every event has a name, and every name is on the page with its level, and the other way round.
pub(super) fn catalogue(tree: &Tree) -> Vec<Violation> {
    let listed = listed(tree.text(PAGE).unwrap_or_default());
    let mut found = Vec::new();
    let mut used: BTreeMap<String, &'static str> = BTreeMap::new();
    for (path, text) in tree.rust_below("crates/").filter(|(path, _)| path.contains("/src/")) {
        for event in events(path, text) {
            let Event { path, line, level, message } = event;
            match message.filter(|message| is_name(message)) {
                Some(name) => match listed.get(name.as_str()) {
                    Some((_, told)) if *told != level => {
                        let message =
                            format!("`{name}` is of level {level}, not {told} as {PAGE} says");
                        found.push(Violation::at(path, line, message));
                        used.insert(name, level);
                    }
                    Some(_) => {
                        used.insert(name, level);
                    }
                    None => {
                        found.push(Violation::at(path, line, format!("`{name}` is not in {PAGE}")));
                    }
                },
                None if path.starts_with(FREE) => {}
                None => found.push(Violation::at(
                    path,
                    line,
                    "the message of an event is its name, such as `area.thing_happened`",
                )),
            }
        }
    }
    let unused = listed.iter().filter(|(name, _)| !used.contains_key(**name));
    found.extend(unused.map(|(name, (line, _))| {
        Violation::at(PAGE, *line, format!("no source has the event `{name}`"))
    }));
    found
}

/// Names on the page, with their lines and levels.
fn listed(page: &str) -> BTreeMap<&str, (usize, &str)> {
    numbered(page)
        .filter_map(|(line, text)| {
            let mut cells = text.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.strip_suffix('`')?;
            Some((name, (line, cells.next()?)))
        })
        .collect()
}

fn is_name(message: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    message.split_once('.').is_some_and(|(area, event)| word(area) && word(event))
}

/// All events of a file that are written with their full path, as ours are.
fn events<'a>(path: &'a str, text: &'a str) -> Vec<Event<'a>> {
    let mut found = Vec::new();
    for level in LEVELS {
        let start = format!("tracing::{level}!(");
        for (at, _) in text.match_indices(&start) {
            let before = &text[..at];
            let begin = before.rfind('\n').map_or(0, |end| end + 1);
            if before[begin..].trim_start().starts_with("//") {
                continue;
            }
            let line = before.matches('\n').count() + 1;
            let message = last_text(&text[at + start.len()..]);
            found.push(Event { path, line, level, message });
        }
    }
    found
}

/// The last argument of a macro whose arguments begin here, when it is a text.
fn last_text(arguments: &str) -> Option<String> {
    let mut depth = 0_usize;
    let mut last = String::new();
    let mut chars = arguments.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                last.push('"');
                while let Some(c) = chars.next() {
                    last.push(c);
                    match c {
                        '\\' => last.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                // A comma at the end begins no argument.
                if !chars.as_str().trim_start().starts_with(')') {
                    last.clear();
                }
                continue;
            }
            _ => {}
        }
        last.push(c);
    }
    let text = last.trim().strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains('"')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "| `capture.kept` | debug | `id` | It was kept. |\n";

    fn messages(path: &str, source: &str, page: &str) -> Vec<String> {
        let tree = Tree::of(&[(path, source), (PAGE, page)]);
        catalogue(&tree).into_iter().map(|it| it.message).collect()
    }

    const APP: &str = "crates/app/src/a.rs";

    #[test]
    fn a_listed_event_passes_however_it_is_laid_out() {
        for source in [
            "tracing::debug!(\"capture.kept\");",
            "tracing::debug!(id = %f(a, \"x\"), code = b[1], \"capture.kept\");",
            "tracing::debug!(\n    id = %captured.id,\n    \"capture.kept\",\n);",
        ] {
            assert_eq!(messages(APP, source, ROW), [""; 0], "{source}");
        }
    }

    #[test]
    fn an_event_that_is_not_listed_or_has_another_level_is_found() {
        let unlisted = messages(APP, "tracing::info!(\"capture.lost\");", "");
        assert!(unlisted[0].contains("`capture.lost` is not in"), "{unlisted:?}");
        let level = messages(APP, "tracing::warn!(\"capture.kept\");", ROW);
        assert!(level[0].contains("not debug"), "{level:?}");
    }

    #[test]
    fn a_message_that_is_no_name_is_found_outside_the_command() {
        for source in [
            "tracing::warn!(\"operation lost\");",
            "tracing::warn!(id);",
            "tracing::warn!(\"a.b {}\", c);",
            "tracing::warn!(\"Capture.kept\");",
        ] {
            assert_eq!(messages(APP, source, "").len(), 1, "{source}");
            assert_eq!(messages("crates/cli/src/a.rs", source, ""), [""; 0], "{source}");
        }
        assert_eq!(messages(APP, "    // tracing::warn!(\"no\");", ""), [""; 0]);
    }

    #[test]
    fn a_row_without_a_source_is_found() {
        assert!(messages(APP, "", ROW)[0].contains("no source has"));
        let command = "tracing::debug!(\"capture.kept\");";
        assert_eq!(messages("crates/cli/src/a.rs", command, ROW), [""; 0]);
    }
}
