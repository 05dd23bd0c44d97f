//! Links of the documentation: each local one leads somewhere, each page of the book is listed.

use std::collections::BTreeSet;

use crate::tree::{Tree, Violation, extension, numbered};

const BOOK: &str = "docs/book/src/";

/// Each local link of each Markdown file names a file that exists, and a heading that it has.
pub(super) fn targets(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.with(&["md"]) {
        for (number, target) in links(text) {
            if let Some(message) = broken(tree, path, &target) {
                found.push(Violation::at(path, number, message));
            }
        }
    }
    found
}

fn broken(tree: &Tree, from: &str, target: &str) -> Option<String> {
    let is_remote = ["http://", "https://", "mailto:"].iter().any(|it| target.starts_with(it));
    if is_remote {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let Some(resolved) = resolve(from, file) else {
        return Some(format!("`{target}` leads out of the repository"));
    };
    if !tree.contains(&resolved) {
        return Some(format!("`{target}` leads to `{resolved}`, which does not exist"));
    }
    if heading.is_empty() || extension(&resolved) != "md" {
        return None;
    }
    let headings = headings(tree.text(&resolved).unwrap_or_default());
    (!headings.contains(heading)).then(|| format!("`{resolved}` has no heading `#{heading}`"))
}

/// The path from the root that `target` means in the file `from`.
fn resolve(from: &str, target: &str) -> Option<String> {
    if target.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The targets of inline links and of reference definitions, outside code.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let line = without_code_spans(line);
        if let Some((_, target)) = line.split_once("]: ").filter(|_| line.starts_with('[')) {
            found.extend(target.split_whitespace().next().map(|it| (number, it.to_owned())));
        }
        for (_, rest) in line.match_indices("](").map(|(at, mark)| line.split_at(at + mark.len())) {
            let target = rest.split([')', ' ']).next().unwrap_or_default();
            found.push((number, target.to_owned()));
        }
    }
    found
}

/// The numbered lines that are not inside a fenced block.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    numbered(text).filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn without_code_spans(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The anchors that GitHub and mdBook give to headings.
fn headings(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            title.chars().filter(kept).map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Each page of the book stands in its table of contents.
pub(super) fn summary(tree: &Tree) -> Vec<Violation> {
    let path = format!("{BOOK}SUMMARY.md");
    let listed: BTreeSet<String> = links(tree.text(&path).unwrap_or_default())
        .into_iter()
        .filter_map(|(_, target)| resolve(&path, &target))
        .collect();
    tree.with(&["md"])
        .filter(|(page, _)| page.starts_with(BOOK) && *page != path && !listed.contains(*page))
        .map(|(page, _)| Violation::at(page, 1, "the page is not listed in SUMMARY.md"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(readme: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("docs/README.md", readme),
            ("docs/adr/0001-a.md", "# One: a `b`\n\n```\n# not one\n```\n"),
            ("LICENSE-MIT", ""),
        ]);
        targets(&tree).into_iter().map(|it| it.message).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let good = "# Here\n[a](adr/0001-a.md) ![b](../LICENSE-MIT) [c](adr) [d](https://e.f)\n\
            [e](adr/0001-a.md#one-a-b), [f](#here).\n[g]: adr/0001-a.md\n";
        assert_eq!(messages(good), [""; 0]);
    }

    #[test]
    fn links_in_code_are_not_links() {
        assert_eq!(messages("`[a](b)`\n\n```\n[a](b)\n```\n"), [""; 0]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for bad in [
            "[a](adr/0002-b.md)\n",
            "ok [a](adr), not [b](adr/x.md)\n",
            "[a](../../etc)\n",
            "[a](adr/0001-a.md#two)\n",
            "[a](adr/0001-a.md#not-one)\n",
            "[a](#nowhere)\n",
            "[a]: nowhere.md\n",
        ] {
            assert_eq!(messages(bad).len(), 1, "{bad}");
        }
    }

    #[test]
    fn a_page_that_the_book_does_not_list_is_found() {
        let page = "docs/book/src/guide/install.md";
        let contents = "docs/book/src/SUMMARY.md";
        let listed = Tree::of(&[(page, ""), (contents, "- [Install](guide/install.md)\n")]);
        assert_eq!(summary(&listed), []);
        let unlisted = Tree::of(&[(page, ""), (contents, "# Summary\n")]);
        assert_eq!(summary(&unlisted)[0].path, page);
    }
}
