//! Rules for the members' manifests: what they share stands once, in the root.

use crate::tree::{Tree, Violation, numbered};

const INHERITED: &[&str] = &["version", "edition", "rust-version", "license"];

/// Lints, version, edition and licence come from the workspace.
pub(super) fn inheritance(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, _, text) in tree.manifests() {
        for key in INHERITED {
            let line = format!("{key}.workspace = true");
            if !section(text, "[package]").any(|(_, it)| it == line) {
                found.push(Violation::at(path, 1, format!("`[package]` needs `{line}`")));
            }
        }
        if !section(text, "[lints]").any(|(_, it)| it == "workspace = true") {
            found.push(Violation::at(path, 1, "`[lints]` needs `workspace = true`"));
        }
    }
    found
}

/// The lines of one section of a manifest.
fn section<'a>(text: &'a str, header: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    numbered(text)
        .map(|(number, line)| (number, line.trim()))
        .skip_while(move |(_, line)| *line != header)
        .skip(1)
        .take_while(|(_, line)| !line.starts_with('['))
}

/// Versions of dependencies stand in the root's `[workspace.dependencies]`.
pub(super) fn versions(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, _, text) in tree.manifests() {
        let mut inside = false;
        for (number, line) in numbered(text) {
            let line = line.trim();
            if line.starts_with('[') {
                inside = line.contains("dependencies");
            } else if inside && names_version(line) {
                let message = "a version here; put it into the root's `[workspace.dependencies]`";
                found.push(Violation::at(path, number, message));
            }
        }
    }
    found
}

fn names_version(line: &str) -> bool {
    let Some((key, value)) = line.split_once('=') else { return false };
    let (key, value) = (key.trim(), value.trim());
    !key.starts_with('#')
        && (value.starts_with('"') && key != "path" || value.contains("version ="))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"baldur-x\"\nversion.workspace = true\n\
        edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n\n\
        [dependencies]\n# a note = \"yes\"\nserde.workspace = true\n\
        tokio = { workspace = true, features = [\"rt\"] }\nx = { path = \"../x\" }\n\n\
        [lints]\nworkspace = true\n";

    fn count(check: fn(&Tree) -> Vec<Violation>, manifest: &str) -> usize {
        check(&Tree::of(&[("crates/x/Cargo.toml", manifest)])).len()
    }

    #[test]
    fn a_manifest_that_inherits_passes() {
        assert_eq!((count(inheritance, GOOD), count(versions, GOOD)), (0, 0));
    }

    #[test]
    fn each_missing_inheritance_is_named() {
        for key in INHERITED {
            let bad = GOOD.replace(&format!("{key}.workspace = true\n"), "");
            assert!(count(inheritance, &bad) >= 1, "{key}");
        }
        assert_eq!(count(inheritance, &GOOD.replace("[lints]\nworkspace = true\n", "")), 1);
        assert_eq!(count(inheritance, &GOOD.replace("[package]", "[other]")), 4);
    }

    #[test]
    fn a_version_outside_the_root_is_found() {
        let with = |line: &str| GOOD.replace("serde.workspace = true", line);
        assert_eq!(count(versions, &with("serde = \"1\"")), 1);
        assert_eq!(count(versions, &with("serde = { version = \"1\" }")), 1);
    }

    #[test]
    fn the_root_is_not_a_member() {
        assert_eq!(inheritance(&Tree::of(&[("Cargo.toml", "[workspace]\n")])), []);
    }
}
