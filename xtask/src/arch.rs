//! `cargo xtask arch`: the edges among our crates, against the table of ARCHITECTURE.md.
//!
//! Dependencies among our crates must be listed in [`CRATES`]; development dependencies
//! are free, and each member has a row in ARCHITECTURE.md. [`OWNERS`] says who may name a third-party crate at all, and [`NOT_IN_CORE`] what
//! would bring a runtime or input and output into the core. `deny.toml` holds the same rules as
//! `wrappers`, where it also sees through third-party crates.

use std::path::Path;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use crate::{
    failure::{Failure, report},
    process::root,
    tree::{Violation, numbered},
};

/// Which of our crates a crate may depend on.
enum May {
    Know(&'static [&'static str]),
    KnowAny,
}
use May::{Know, KnowAny};

const MAP: &str = "ARCHITECTURE.md";

const CORE: May = Know(&["baldur-core"]);

/// Mirrors the table in ARCHITECTURE.md; a crate that is listed need not exist yet.
const CRATES: &[(&str, May)] = &[
    ("baldur-core", Know(&[])),
    ("baldur-contract", CORE),
    ("baldur-memory", CORE),
    ("baldur-sqlite", CORE),
    ("baldur-postgres", CORE),
    ("baldur-redis", CORE),
    ("baldur-spool", CORE),
    ("baldur-http-target", CORE),
    ("baldur-pg-admin", CORE),
    ("baldur-quorum", CORE),
    ("baldur-app", CORE),
    ("baldur-license", CORE),
    ("baldur-pro", Know(&["baldur-core", "baldur-app", "baldur-license"])),
    ("baldur-http", Know(&["baldur-core", "baldur-app", "baldur-pro"])),
    (
        "baldur",
        Know(&[
            "baldur-core",
            "baldur-contract",
            "baldur-memory",
            "baldur-sqlite",
            "baldur-postgres",
            "baldur-redis",
            "baldur-spool",
            "baldur-http-target",
            "baldur-pg-admin",
            "baldur-quorum",
            "baldur-app",
            "baldur-license",
            "baldur-pro",
            "baldur-http",
        ]),
    ),
    ("baldur-cli", Know(&["baldur", "baldur-http"])),
    ("baldur-services", Know(&[])),
    ("baldur-bench", KnowAny),
    ("baldur-crash", KnowAny),
    ("xtask", Know(&[])),
];

/// Third-party crates that only these of ours may name, in any kind of dependency.
const OWNERS: &[(&str, &[&str])] = &[
    ("sqlx", &["baldur-sqlite", "baldur-postgres", "baldur-bench"]),
    ("jiff", &["baldur-core"]),
    ("uuid", &["baldur-core"]),
    ("axum", &["baldur-http", "baldur-http-target", "baldur-cli"]),
    ("reqwest", &["baldur-http-target", "baldur-cli"]),
    ("rustls", &["baldur-http-target", "baldur-cli"]),
    ("toml", &["baldur"]),
    ("clap", &["baldur-cli", "baldur-bench", "baldur-crash"]),
    ("hyper", &["baldur-http"]),
    ("hyper-util", &["baldur-http"]),
    ("subtle", &["baldur-http"]),
    ("metrics-exporter-prometheus", &["baldur-cli"]),
    ("libtest-mimic", &["baldur-contract", "baldur-sqlite", "baldur-postgres"]),
    ("cargo_metadata", &["xtask"]),
];

/// The core performs no input or output and starts no task.
const NOT_IN_CORE: &[&str] = &["tokio", "tokio-util", "getrandom", "rand", "tempfile", "libc"];

pub(crate) fn run() -> Result<(), Failure> {
    let metadata = metadata()?;
    let map = std::fs::read_to_string(root().join(MAP)).unwrap_or_default();
    let names: Vec<&str> =
        metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    let mut found = violations(&edges(&metadata));
    found.extend(missing_from_map(&names, &map));
    println!("\n=== arch");
    report(found)?;
    println!("    {} crates know only whom they may know", names.len());
    Ok(())
}

/// Each member has its row in the table that people read.
fn missing_from_map(names: &[&str], map: &str) -> Vec<Violation> {
    let rows: Vec<&str> = map.lines().filter_map(|line| line.split('|').nth(2)).collect();
    names
        .iter()
        .filter(|name| !rows.contains(&format!(" `{name}` ").as_str()))
        .map(|name| Violation::at(MAP, 1, format!("`{name}` has no row in the table of crates")))
        .collect()
}

/// What cargo knows about the members; nothing is resolved, so this needs no network.
pub(crate) fn metadata() -> Result<Metadata, Failure> {
    MetadataCommand::new().current_dir(root()).no_deps().exec().map_err(|error| Failure::Command {
        command: "cargo metadata --no-deps".to_owned(),
        why: format!("failed: {error}"),
    })
}

/// One dependency of one member.
#[derive(Debug, Clone)]
struct Edge {
    from: String,
    /// `None`: the member itself, for one without dependencies.
    to: Option<String>,
    /// Not for development only.
    normal: bool,
    manifest: String,
    line: usize,
}

fn edges(metadata: &Metadata) -> Vec<Edge> {
    let mut edges = Vec::new();
    for package in metadata.workspace_packages() {
        let path = package.manifest_path.as_std_path();
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let manifest = shown(path);
        let from = package.name.to_string();
        edges.push(Edge {
            from: from.clone(),
            to: None,
            normal: true,
            manifest: manifest.clone(),
            line: 1,
        });
        edges.extend(package.dependencies.iter().map(|dependency| Edge {
            from: from.clone(),
            to: Some(dependency.name.clone()),
            normal: dependency.kind != DependencyKind::Development,
            manifest: manifest.clone(),
            line: line_of(&text, &dependency.name),
        }));
    }
    edges
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn line_of(manifest: &str, dependency: &str) -> usize {
    let names_it = |line: &str| {
        line.trim_start()
            .strip_prefix(dependency)
            .is_some_and(|rest| rest.starts_with([' ', '.', '=']))
    };
    numbered(manifest).find(|(_, line)| names_it(line)).map_or(1, |(number, _)| number)
}

fn violations(edges: &[Edge]) -> Vec<Violation> {
    edges
        .iter()
        .flat_map(|edge| {
            [unlisted(edge), forbidden_edge(edge), foreign_owner(edge), runtime_in_core(edge)]
                .into_iter()
                .flatten()
                .map(|message| Violation::at(&edge.manifest, edge.line, message))
        })
        .collect()
}

fn allowed(name: &str) -> Option<&'static May> {
    CRATES.iter().find(|(listed, _)| *listed == name).map(|(_, may)| may)
}

fn unlisted(edge: &Edge) -> Option<String> {
    (edge.to.is_none() && allowed(&edge.from).is_none()).then(|| {
        format!("`{}` is not in the table of xtask/src/arch.rs and ARCHITECTURE.md", edge.from)
    })
}

fn forbidden_edge(edge: &Edge) -> Option<String> {
    let to = edge.to.as_deref().filter(|to| edge.normal && is_ours(to))?;
    match allowed(&edge.from)? {
        KnowAny => None,
        Know(list) if list.contains(&to) => None,
        Know(_) => Some(format!("`{}` may not depend on `{to}`", edge.from)),
    }
}

fn is_ours(name: &str) -> bool {
    allowed(name).is_some() || name.starts_with("baldur")
}

fn foreign_owner(edge: &Edge) -> Option<String> {
    let to = edge.to.as_deref()?;
    let (_, owners) = OWNERS.iter().find(|(name, _)| *name == to)?;
    (!owners.contains(&edge.from.as_str()))
        .then(|| format!("`{}` may not name `{to}`; only {} may", edge.from, owners.join(", ")))
}

fn runtime_in_core(edge: &Edge) -> Option<String> {
    let to = edge.to.as_deref()?;
    (edge.normal && edge.from == "baldur-core" && NOT_IN_CORE.contains(&to))
        .then(|| format!("the core performs no input or output, so it may not depend on `{to}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: Option<&str>, normal: bool) -> Vec<Violation> {
        let manifest = "crates/x/Cargo.toml".to_owned();
        violations(&[Edge {
            from: from.to_owned(),
            to: to.map(str::to_owned),
            normal,
            manifest,
            line: 3,
        }])
    }

    #[test]
    fn a_listed_edge_passes() {
        assert_eq!(edge("baldur-sqlite", Some("baldur-core"), true), []);
        assert_eq!(edge("baldur-bench", Some("baldur-sqlite"), true), []);
        assert_eq!(edge("baldur-sqlite", Some("sqlx"), true), []);
    }

    #[test]
    fn an_unlisted_edge_is_refused_with_its_place() {
        let found = edge("baldur-sqlite", Some("baldur-memory"), true);
        let expected = "`baldur-sqlite` may not depend on `baldur-memory`";
        assert_eq!(found, [Violation::at("crates/x/Cargo.toml", 3, expected)]);
        assert_eq!(edge("baldur-cli", Some("baldur-core"), true).len(), 1);
        assert_eq!(edge("xtask", Some("baldur-core"), true).len(), 1);
        assert_eq!(edge("baldur-core", Some("baldur-new"), true).len(), 1);
    }

    #[test]
    fn development_dependencies_among_ours_are_free() {
        assert_eq!(edge("baldur-sqlite", Some("baldur-memory"), false), []);
    }

    #[test]
    fn a_crate_that_the_table_does_not_know_is_refused() {
        assert_eq!(edge("baldur-new", None, true).len(), 1);
        assert_eq!(edge("baldur-core", None, true), []);
    }

    #[test]
    fn a_member_without_a_row_in_the_map_is_found() {
        let map = "| path | package | holds |\n|---|---|---|\n| `a` | `baldur-core` | types |\n";
        assert_eq!(missing_from_map(&["baldur-core"], map), []);
        assert_eq!(missing_from_map(&["baldur-core", "baldur"], map).len(), 1);
    }

    #[test]
    fn a_third_party_crate_has_its_owners_also_in_tests() {
        assert_eq!(edge("baldur-app", Some("sqlx"), false).len(), 1);
        assert_eq!(edge("baldur-app", Some("jiff"), true).len(), 1);
    }

    #[test]
    fn the_core_has_no_runtime_but_its_tests_may() {
        assert_eq!(edge("baldur-core", Some("tokio"), true).len(), 1);
        assert_eq!(edge("baldur-core", Some("tokio"), false), []);
    }

    #[test]
    fn the_line_of_a_dependency_is_found_by_its_whole_name() {
        let manifest = "[dependencies]\nsqlx-core = \"1\"\nsqlx.workspace = true\n";
        assert_eq!(line_of(manifest, "sqlx"), 3);
        assert_eq!(line_of(manifest, "absent"), 1);
    }

    #[test]
    fn the_edges_of_this_workspace_are_read() {
        let edges = edges(&metadata().expect("cargo metadata works"));
        assert!(edges.iter().any(|edge| edge.from == "xtask" && edge.to.is_none()));
        let to_core = |edge: &&Edge| edge.to.as_deref() == Some("baldur-core") && edge.normal;
        assert!(edges.iter().filter(to_core).count() >= 3);
    }
}
