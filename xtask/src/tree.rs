//! The files of the repository, read once, and what a check says about them.
//!
//! Checks are functions over a [`Tree`], so that a test can hand them a tree of good and bad
//! samples that never lay on a disk.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::Path,
};

/// Files whose text the checks look at.
const TEXT: &[&str] = &["rs", "md", "toml", "sql", "tsv", "txt"];

/// Folders that hold nothing of ours, by path from the root.
const SKIPPED: &[&str] = &[".git", "target", "dist", "docs/book/book"];

/// A broken rule. Ordered by place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Violation {
    pub(crate) fn at(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, message } = self;
        write!(f, "{path}:{line}: {message}")
    }
}

/// All files by their path from the root, with `/` between folders.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    texts: BTreeMap<String, String>,
    paths: BTreeSet<String>,
}

impl Tree {
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        tree.walk(root, "")?;
        Ok(tree)
    }

    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.paths.insert((*path).to_owned());
            tree.texts.insert((*path).to_owned(), (*text).to_owned());
        }
        tree
    }

    fn walk(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if SKIPPED.contains(&path.as_str()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                self.walk(&entry.path(), &format!("{path}/"))?;
                continue;
            }
            if TEXT.contains(&extension(&path)) {
                let text = String::from_utf8_lossy(&fs::read(entry.path())?).into_owned();
                self.texts.insert(path.clone(), text);
            }
            self.paths.insert(path);
        }
        Ok(())
    }

    /// The text of one file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Path and text of every file with one of these extensions.
    pub(crate) fn with(&self, extensions: &[&str]) -> impl Iterator<Item = (&str, &str)> {
        self.texts
            .iter()
            .filter(|(path, _)| extensions.contains(&extension(path)))
            .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Path and text of every Rust file below `folder` (which ends with `/`).
    pub(crate) fn rust_below(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        self.with(&["rs"]).filter(move |(path, _)| path.starts_with(folder))
    }

    /// Whether there is a file, or a folder with a file in it, at `path`.
    pub(crate) fn contains(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        path.is_empty()
            || self.paths.contains(path)
            || self.paths.range(folder.clone()..).next().is_some_and(|it| it.starts_with(&folder))
    }

    /// The manifests of the members with their folders (`crates/core/`, …).
    pub(crate) fn manifests(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.with(&["toml"]).filter_map(|(path, text)| {
            let folder = path.strip_suffix("Cargo.toml")?;
            (!folder.is_empty()).then_some((path, folder, text))
        })
    }
}

pub(crate) fn extension(path: &str) -> &str {
    path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, end)| end)
}

/// The lines of a text with their numbers, from 1.
pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// The numbered lines of a Rust text that are not wholly comment.
pub(crate) fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    numbered(text).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_there_when_a_file_lies_in_it() {
        let tree = Tree::of(&[("docs/adr/0001-a.md", ""), ("docs/adr.md", "")]);
        assert!(
            tree.contains("docs/adr") && tree.contains("docs/") && tree.contains("docs/adr.md")
        );
        assert!(!tree.contains("docs/ad") && !tree.contains("doc"));
    }

    #[test]
    fn a_violation_reads_like_a_compiler_message() {
        assert_eq!(Violation::at("a/b.rs", 7, "too long").to_string(), "a/b.rs:7: too long");
    }

    #[test]
    fn the_repository_itself_is_read() {
        let tree = Tree::read(&crate::process::root()).expect("the root is readable");
        assert!(tree.text("xtask/src/tree.rs").is_some());
        assert!(!tree.contains("target") && !tree.contains(".git"));
    }
}
