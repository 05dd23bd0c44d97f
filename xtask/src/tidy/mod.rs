//! `cargo xtask tidy`: the house rules that a compiler doesn't check.
//!
//! Each check is a function from the [`Tree`] to violations; all run, and all violations are
//! printed. Every check has a test with a bad sample, so that one that can't fail is noticed.

mod events;
mod exceptions;
mod links;
mod manifests;
mod migrations;
mod names;
mod seed_map;
mod source;
mod text;

use crate::{
    failure::{Failure, report},
    process::{cargo, root, run as start},
    tree::{Tree, Violation},
};

const CHECKS: &[fn(&Tree) -> Vec<Violation>] = &[
    text::whitespace,
    source::length,
    source::module_docs,
    source::stubs,
    source::sleeps,
    manifests::inheritance,
    manifests::versions,
    migrations::append_only,
    links::targets,
    links::summary,
    events::catalogue,
    exceptions::table,
    seed_map::rows,
    seed_map::homes,
];

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [] => check(),
        [flag] if flag == "--bless" => {
            migrations::bless(&root(), &read()?)?;
            metrics_page()?;
            check()
        }
        [first, ..] => {
            Err(Failure::Usage(format!("unexpected argument `{first}`; tidy knows only --bless")))
        }
    }
}

/// The page of metrics is made by a test, which knows the catalogue; this crate knows none of ours.
fn metrics_page() -> Result<(), Failure> {
    let mut command = cargo();
    command.args(["test", "--quiet", "--package", "baldur-app", "--test", "metrics_page"]);
    start("metrics page", command.env("BALDUR_BLESS", "1"))
}

fn check() -> Result<(), Failure> {
    println!("\n=== tidy");
    let tree = read()?;
    report(CHECKS.iter().flat_map(|check| check(&tree)).collect())?;
    println!("    {} rules hold", CHECKS.len());
    Ok(())
}

fn read() -> Result<Tree, Failure> {
    Tree::read(&root()).map_err(|error| Failure::Command {
        command: "tidy".to_owned(),
        why: format!("could not read the repository: {error}"),
    })
}
