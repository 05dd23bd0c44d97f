//! Whitespace that nobody sees.

use crate::tree::{Tree, Violation};

/// No trailing whitespace, no tabs, one line feed at the end. (Two spaces at the end of a line
/// mean a line break in Markdown; nobody sees those either.)
pub(super) fn whitespace(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.with(&["rs", "md", "toml", "sql"]) {
        for (index, line) in text.split('\n').enumerate() {
            if line.trim_end() != line {
                found.push(Violation::at(path, index + 1, "trailing whitespace"));
            }
            if line.contains('\t') {
                found.push(Violation::at(path, index + 1, "a tab; indent with spaces"));
            }
        }
        let last = text.lines().count();
        if !text.is_empty() && !text.ends_with('\n') {
            found.push(Violation::at(path, last, "no line feed at the end of the file"));
        }
        if text.ends_with("\n\n") {
            found.push(Violation::at(path, last, "empty lines at the end of the file"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(text: &str) -> Vec<usize> {
        whitespace(&Tree::of(&[("a.md", text)])).into_iter().map(|it| it.line).collect()
    }

    #[test]
    fn clean_text_passes() {
        assert_eq!(lines("# A\n\nText.\n"), NONE);
        assert_eq!(lines(""), NONE);
    }

    #[test]
    fn invisible_whitespace_is_found() {
        assert_eq!(lines("a\nb \n"), [2]);
        assert_eq!(lines("a\r\n"), [1]);
        assert_eq!(lines("a\tb\n"), [1]);
        assert_eq!(lines("a"), [1]);
        assert_eq!(lines("a\n\n"), [2]);
    }

    #[test]
    fn other_files_may_hold_tabs() {
        assert_eq!(whitespace(&Tree::of(&[("symbols.tsv", "a\tb\t\n")])), []);
    }
}
