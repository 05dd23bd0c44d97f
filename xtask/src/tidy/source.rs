//! Rules for Rust files: short, introduced, finished, and without waiting for the clock.

use crate::tree::{Tree, Violation, code_lines, numbered};

const MOST_LINES: usize = 500;

/// A file that needs scrolling for minutes is two files.
pub(super) fn length(tree: &Tree) -> Vec<Violation> {
    tree.with(&["rs"])
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(path, lines)| {
            Violation::at(path, lines, format!("{lines} lines; at most {MOST_LINES}"))
        })
        .collect()
}

/// Every file below a `src` says first what it is for.
///
/// Files of tests only (`tests.rs`, or in a folder `tests`) are left out: the file that they
/// belong to introduces them. Build scripts and integration tests don't lie below `src`.
pub(super) fn module_docs(tree: &Tree) -> Vec<Violation> {
    tree.with(&["rs"])
        .filter(|(path, _)| is_source(path) && !is_test(path))
        .filter(|(_, text)| {
            !text.lines().find(|line| !line.is_empty()).is_some_and(|it| it.starts_with("//!"))
        })
        .map(|(path, _)| Violation::at(path, 1, "begin with a module doc (`//!`)"))
        .collect()
}

fn is_source(path: &str) -> bool {
    path.starts_with("src/") || path.contains("/src/")
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

// Written apart, so that this file doesn't find itself.
const MACROS: &[&str] = &[concat!("todo", "!("), concat!("unimplemented", "!(")];
const MARKS: &[&str] = &[concat!("FIX", "ME"), concat!("TO", "DO")];

/// What is not finished has an issue, not a mark in the source.
pub(super) fn stubs(tree: &Tree) -> Vec<Violation> {
    let macros = tree.with(&["rs"]).flat_map(|(path, text)| {
        code_lines(text)
            .flat_map(move |line| MACROS.iter().map(move |name| (path, line, *name)))
            .filter(|(_, (_, line), name)| line.contains(name))
    });
    let marks = tree.with(&["rs", "sql", "toml"]).flat_map(|(path, text)| {
        numbered(text)
            .flat_map(move |line| MARKS.iter().map(move |mark| (path, line, *mark)))
            .filter(|(_, (_, line), mark)| words(line).any(|word| word == *mark))
    });
    macros
        .chain(marks)
        .map(|(path, (number, _), what)| {
            Violation::at(path, number, format!("`{}` in the source", what.trim_end_matches('(')))
        })
        .collect()
}

pub(super) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

const SLEEP: &str = concat!("sleep", "(");

/// Tests wait for a condition or move a manual clock. In a file with code, the tests are the
/// module under `#[cfg(test)]`, which stands at its end.
pub(super) fn sleeps(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.with(&["rs"]) {
        let mut testing = is_test(path);
        let mut for_tests = false;
        for (number, line) in code_lines(text) {
            let line = line.trim();
            testing |= for_tests && line.starts_with("mod ") && line.ends_with('{');
            for_tests = line == "#[cfg(test)]" || (for_tests && line.starts_with("#["));
            if testing && line.contains(SLEEP) {
                let message = "a test that sleeps; wait for a condition or use a manual clock";
                found.push(Violation::at(path, number, message));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn one(check: fn(&Tree) -> Vec<Violation>, path: &str, text: &str) -> Vec<usize> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|it| it.line).collect()
    }

    #[test]
    fn five_hundred_lines_are_the_limit() {
        assert_eq!(one(length, "a.rs", &"x\n".repeat(500)), NONE);
        assert_eq!(one(length, "a.rs", &"x\n".repeat(501)), [501]);
        assert_eq!(one(length, "a.md", &"x\n".repeat(501)), NONE);
    }

    #[test]
    fn a_source_file_begins_with_its_doc() {
        assert_eq!(one(module_docs, "crates/a/src/lib.rs", "//! Why.\n"), NONE);
        assert_eq!(one(module_docs, "crates/a/src/lib.rs", "use std::io;\n//! Late.\n"), [1]);
        assert_eq!(one(module_docs, "xtask/src/main.rs", ""), [1]);
    }

    #[test]
    fn tests_and_build_scripts_need_no_module_doc() {
        for path in ["crates/a/src/b/tests.rs", "crates/a/build.rs", "crates/a/tests/it/main.rs"] {
            assert_eq!(one(module_docs, path, "fn f() {}\n"), NONE, "{path}");
        }
    }

    #[test]
    fn stubs_are_found() {
        for mac in MACROS {
            assert_eq!(one(stubs, "a.rs", &format!("fn f() {{\n    {mac})\n}}\n")), [2]);
            assert_eq!(one(stubs, "a.rs", &format!("// never {mac})\n")), NONE);
        }
        for mark in MARKS {
            assert_eq!(one(stubs, "a.sql", &format!("-- {mark}: later\n")), [1]);
            assert_eq!(one(stubs, "a.rs", &format!("let x{mark} = 1;\n")), NONE);
        }
    }

    #[test]
    fn only_tests_are_kept_from_sleeping() {
        let call = format!("    tokio::time::{SLEEP}TICK).await;\n");
        let inside = |head: &str| format!("{head}\n{call}}}\n");
        assert_eq!(one(sleeps, "crates/a/src/lib.rs", &call), NONE);
        assert_eq!(one(sleeps, "crates/a/src/b.rs", &inside("#[cfg(test)]\nfn f() {")), NONE);
        assert_eq!(one(sleeps, "crates/a/tests/it/main.rs", &call), [1]);
        assert_eq!(one(sleeps, "crates/a/src/b/tests.rs", &call), [1]);
        assert_eq!(one(sleeps, "crates/a/src/b.rs", &inside("#[cfg(test)]\nmod t {")), [3]);
        let expecting = inside("#[cfg(test)]\n#[expect(x)]\nmod t {");
        assert_eq!(one(sleeps, "crates/a/src/b.rs", &expecting), [4]);
    }
}
