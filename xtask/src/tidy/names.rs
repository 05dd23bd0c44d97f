//! Whether a name that the documentation gives exists in the source.
//!
//! This reads source text, not types, which is enough to notice that something was renamed or
//! never written:
//! - A **home** is a Rust path, `crate_name::…::Name` or `crate_name::…::Owner::name`. The first
//!   segment is a package of the workspace with `_` for `-`. The last must be defined somewhere in
//!   that package's `src` (`fn`, `struct`, `enum`, `trait`, `type`, `const`, `mod` or a macro). If
//!   the one before begins with a capital, it must be defined there too, and the last may then
//!   also be one of its variants or fields. Modules in between are not looked at.
//! - A **test** is `path/to/file.rs::test_name`, where the file must define `fn test_name`, or
//!   `contract::case_name`, where the contract crate must define `fn case_name` or name
//!   `"case_name"`.

use super::source::words;
use crate::tree::{Tree, code_lines};

const CONTRACT: &str = "crates/contract/src/";
const KEYWORDS: &[&str] =
    &["fn", "struct", "enum", "trait", "type", "const", "static", "mod", "macro_rules"];

/// Why `home` is not a name in our source, or `None` if it is.
pub(super) fn missing_home(tree: &Tree, home: &str) -> Option<String> {
    let Some((package, path)) = home.split_once("::") else {
        return Some(format!("`{home}` names no item; write `crate_name::…::Name`"));
    };
    let Some(folder) = source_of(tree, package) else {
        return Some(format!("`{home}`: there is no crate `{package}`"));
    };
    let mut backwards = path.rsplit("::");
    let last = backwards.next().unwrap_or_default();
    let owner = backwards.next().filter(|it| starts_upper(it));
    match owner {
        Some(owner) if !defines(tree, &folder, owner) => {
            Some(format!("`{home}`: `{owner}` is not defined in {folder}"))
        }
        Some(_) if has_member(tree, &folder, last) => None,
        _ if defines(tree, &folder, last) => None,
        _ => Some(format!("`{home}`: `{last}` is not defined in {folder}")),
    }
}

/// The `src/` of the package that Rust code calls `name`.
fn source_of(tree: &Tree, name: &str) -> Option<String> {
    let package = format!("name = \"{}\"", name.replace('_', "-"));
    tree.manifests()
        // The package's own name comes first; binaries and tests have names too.
        .find(|(_, _, text)| text.lines().find(|it| it.starts_with("name = ")) == Some(&package))
        .map(|(_, folder, _)| format!("{folder}src/"))
}

fn starts_upper(name: &str) -> bool {
    name.starts_with(|c: char| c.is_uppercase())
}

fn defines(tree: &Tree, folder: &str, name: &str) -> bool {
    tree.rust_below(folder).any(|(_, text)| text_defines(text, KEYWORDS, name))
}

fn text_defines(text: &str, keywords: &[&str], name: &str) -> bool {
    code_lines(text).any(|(_, line)| {
        words(line).zip(words(line).skip(1)).any(|(a, b)| keywords.contains(&a) && b == name)
    })
}

/// A line that begins like a variant (`Name`, `Name,`, `Name {`, `Name(…`, `Name = …`) or like a
/// field (`name: …`).
fn has_member(tree: &Tree, folder: &str, name: &str) -> bool {
    let follows = |rest: &str| match rest.trim_start().chars().next() {
        Some(':') => !rest.trim_start().starts_with("::"),
        Some(',' | '{' | '(' | '=') | None => starts_upper(name),
        Some(_) => false,
    };
    tree.rust_below(folder).any(|(_, text)| {
        code_lines(text).any(|(_, line)| {
            let line = line.trim_start();
            let line = line.strip_prefix("pub ").unwrap_or(line);
            line.strip_prefix(name).is_some_and(follows)
        })
    })
}

/// Why `test` is not a test of ours, or `None` if it is.
pub(super) fn missing_test(tree: &Tree, test: &str) -> Option<String> {
    match test.rsplit_once("::") {
        Some(("contract", case)) => missing_case(tree, case),
        Some((path, name)) => match tree.text(path) {
            None => Some(format!("`{test}`: there is no file `{path}`")),
            Some(source) if text_defines(source, &["fn"], name) => None,
            Some(_) => Some(format!("`{test}`: the file has no `fn {name}`")),
        },
        None => Some(format!("`{test}` is neither `path.rs::test` nor `contract::case`")),
    }
}

fn missing_case(tree: &Tree, case: &str) -> Option<String> {
    let quoted = format!("\"{case}\"");
    let known = tree.rust_below(CONTRACT).any(|(_, text)| {
        text_defines(text, &["fn"], case) || code_lines(text).any(|(_, it)| it.contains(&quoted))
    });
    (!known).then(|| format!("the contract crate has no case `{case}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree::of(&[
            ("crates/cli/Cargo.toml", "name = \"baldur-cli\"\n[[bin]]\nname = \"baldur\"\n"),
            ("crates/cli/src/main.rs", "pub fn serve() {}\n"),
            ("crates/core/Cargo.toml", "[package]\nname = \"baldur-core\"\n"),
            ("crates/core/src/port.rs", "//! Ports.\npub trait CaptureStore: Debug {}\n"),
            (
                "crates/core/src/status.rs",
                "/// fn nowhere\npub enum Status {\n    Pending,\n}\nimpl Status {\n    \
                 pub const fn is_live(self) -> bool {\n        true\n    }\n}\npub struct Op {\n    pub budget: u32,\n}\nfn f() {\n    \
                 spend(1);\n    Op::new();\n}\n",
            ),
            ("crates/core/tests/it/main.rs", "#[test]\nfn one_wins() {}\n"),
            ("crates/contract/src/claim.rs", "case!(\"stale_is_refused\");\nfn two_win() {}\n"),
        ])
    }

    #[test]
    fn homes_that_exist_pass() {
        for home in [
            "baldur_core::port::CaptureStore",
            "baldur_core::CaptureStore",
            "baldur_core::Status::is_live",
            "baldur_core::status::Status::Pending",
            "baldur_core::Op::budget",
            "baldur_cli::serve",
        ] {
            assert_eq!(missing_home(&tree(), home), None, "{home}");
        }
    }

    #[test]
    fn homes_that_do_not_exist_are_found() {
        for home in [
            "baldur_core",
            "",
            "baldur_moon::CaptureStore",
            "baldur::serve",
            "baldur_core::port::EntryReader",
            "baldur_core::Nobody::is_live",
            "baldur_core::Status::Gone",
            "baldur_core::Op::spend",
            "baldur_core::Op::new",
            "baldur_core::status::nowhere",
        ] {
            assert!(missing_home(&tree(), home).is_some(), "{home}");
        }
    }

    #[test]
    fn tests_that_exist_pass() {
        for test in [
            "crates/core/tests/it/main.rs::one_wins",
            "contract::stale_is_refused",
            "contract::two_win",
        ] {
            assert_eq!(missing_test(&tree(), test), None, "{test}");
        }
    }

    #[test]
    fn tests_that_do_not_exist_are_found() {
        for test in [
            "crates/core/tests/it/main.rs::one_win",
            "crates/core/tests/other.rs::one_wins",
            "contract::stale",
            "one_wins",
        ] {
            assert!(missing_test(&tree(), test).is_some(), "{test}");
        }
    }
}
