//! `cargo xtask tidy`: the house rules that a compiler doesn't check.
//!
//! Each check is a function from the [`Tree`] to violations; all run, and all violations are
//! printed. Every check has a test with a bad sample, so that one that can't fail is noticed.

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
    process::root,
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
    exceptions::table,
    seed_map::rows,
    seed_map::homes,
];

pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    match arguments {
        [] => check(),
        [flag] if flag == "--bless" => {
            migrations::bless(&root(), &read()?)?;
            check()
        }
        [first, ..] => {
            Err(Failure::Usage(format!("unexpected argument `{first}`; tidy knows only --bless")))
        }
    }
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
