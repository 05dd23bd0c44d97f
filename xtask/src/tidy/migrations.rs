//! Migrations are append-only: a released one has run on somebody's data.
//!
//! Beside the `*.sql` files of a `migrations` folder lies `checksums.txt`, a line
//! `<sha256>  <file>` for each, in the order in which they run. `--bless` appends the lines of
//! new migrations; it never changes a line, so a changed migration stays a violation.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use sha2::{Digest as _, Sha256};

use crate::{
    failure::Failure,
    tree::{Tree, Violation, numbered},
};

const CHECKSUMS: &str = "checksums.txt";

/// One `migrations` folder: its files by name, and its checksum file.
struct Folder<'a> {
    path: &'a str,
    files: BTreeMap<&'a str, String>,
    checksums: &'a str,
}

fn folders(tree: &Tree) -> Vec<Folder<'_>> {
    let mut files: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for (path, text) in tree.with(&["sql", "txt"]) {
        let Some((folder, name)) = path.rsplit_once('/') else { continue };
        if folder.ends_with("/migrations") {
            let listed = files.entry(folder).or_default();
            if name != CHECKSUMS {
                listed.insert(name, sha256(text));
            }
        }
    }
    let checksums = |path: &str| tree.text(&format!("{path}/{CHECKSUMS}")).unwrap_or("");
    files
        .into_iter()
        .map(|(path, files)| Folder { path, files, checksums: checksums(path) })
        .collect()
}

fn sha256(text: &str) -> String {
    format!("{:x}", Sha256::digest(text.as_bytes()))
}

/// Each migration is recorded, unchanged, and younger than all before it.
pub(super) fn append_only(tree: &Tree) -> Vec<Violation> {
    folders(tree).iter().flat_map(violations).collect()
}

fn violations(folder: &Folder<'_>) -> Vec<Violation> {
    let record = format!("{}/{CHECKSUMS}", folder.path);
    let mut found = Vec::new();
    let mut recorded = BTreeSet::new();
    for (number, line) in numbered(folder.checksums) {
        let Some((sum, name)) = line.split_once("  ") else {
            found.push(Violation::at(&record, number, "not `<sha256>  <file>`"));
            continue;
        };
        if recorded.last().is_some_and(|last| *last >= name) {
            found.push(Violation::at(&record, number, format!("`{name}` is out of order")));
        }
        recorded.insert(name);
        match folder.files.get(name) {
            Some(actual) if actual == sum => {}
            Some(_) => found.push(Violation::at(
                &format!("{}/{name}", folder.path),
                1,
                "a recorded migration was changed; restore it and add a new one",
            )),
            None => {
                found.push(Violation::at(&record, number, format!("migration `{name}` is gone")));
            }
        }
    }
    for name in folder.files.keys().filter(|name| !recorded.contains(*name)) {
        let message = match recorded.last() {
            Some(last) if *last > *name => {
                format!("a new migration must sort after `{last}`")
            }
            _ => "not recorded; run `cargo xtask tidy --bless`".to_owned(),
        };
        found.push(Violation::at(&format!("{}/{name}", folder.path), 1, message));
    }
    found
}

/// Records new migrations. A changed, missing or misplaced one stays what it is: a violation.
pub(super) fn bless(root: &Path, tree: &Tree) -> Result<(), Failure> {
    for folder in folders(tree) {
        let lines = new_lines(&folder);
        if lines.is_empty() {
            continue;
        }
        let path = format!("{}/{CHECKSUMS}", folder.path);
        let text = format!("{}{lines}", folder.checksums);
        fs::write(root.join(&path), text).map_err(|error| Failure::Command {
            command: format!("write {path}"),
            why: format!("failed: {error}"),
        })?;
        print!("recorded in {path}:\n{lines}");
    }
    Ok(())
}

fn new_lines(folder: &Folder<'_>) -> String {
    let recorded: BTreeSet<&str> =
        folder.checksums.lines().filter_map(|line| Some(line.split_once("  ")?.1)).collect();
    let youngest = recorded.last().copied().unwrap_or("");
    let new = folder.files.iter().filter(|(name, _)| **name > youngest);
    new.map(|(name, sum)| format!("{sum}  {name}\n")).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "crates/sqlite/migrations/0001_entries.sql";
    const TWO: &str = "crates/sqlite/migrations/0002_evidence.sql";
    const RECORD: &str = "crates/sqlite/migrations/checksums.txt";

    fn recorded(files: &[(&str, &str)]) -> String {
        new_lines(&folders(&Tree::of(files))[0])
    }

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        append_only(&Tree::of(files)).into_iter().map(|it| it.message).collect()
    }

    #[test]
    fn a_recorded_migration_passes() {
        let record = recorded(&[(ONE, "create;\n")]);
        assert!(record.ends_with("  0001_entries.sql\n"), "{record}");
        assert_eq!(messages(&[(ONE, "create;\n"), (RECORD, &record)]), [""; 0]);
    }

    #[test]
    fn a_changed_migration_is_refused_and_never_blessed() {
        let record = recorded(&[(ONE, "create;\n")]);
        let changed = [(ONE, "create other;\n"), (RECORD, record.as_str())];
        assert!(messages(&changed)[0].contains("was changed"));
        assert_eq!(recorded(&changed), "");
    }

    #[test]
    fn a_new_migration_is_recorded_after_the_others() {
        let record = recorded(&[(ONE, "create;\n")]);
        let files = [(ONE, "create;\n"), (TWO, "alter;\n"), (RECORD, record.as_str())];
        assert!(messages(&files)[0].contains("--bless"));
        assert!(recorded(&files).ends_with("  0002_evidence.sql\n"));
    }

    #[test]
    fn a_new_migration_before_a_recorded_one_is_refused_and_never_blessed() {
        let record = recorded(&[(TWO, "alter;\n")]);
        let files = [(ONE, "create;\n"), (TWO, "alter;\n"), (RECORD, record.as_str())];
        assert!(messages(&files)[0].contains("must sort after"));
        assert_eq!(recorded(&files), "");
    }

    #[test]
    fn a_lost_migration_and_a_broken_record_are_found() {
        let record = recorded(&[(ONE, "create;\n")]);
        assert!(messages(&[(RECORD, &record)])[0].contains("is gone"));
        assert_eq!(messages(&[(RECORD, "nonsense\n")]).len(), 1);
    }
}
