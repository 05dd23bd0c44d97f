//! `baldur recovery`: whether entries come back by themselves.

use baldur::{
    name::ServiceName,
    recovery::{Arming, DependencyArming},
};
use clap::{Args, Subcommand};
use comfy_table::{Cell, CellAlignment, Color};
use serde::Serialize;

use crate::{args::Globals, exit::Failure, out::Output, session::Session, table, text};

/// What to do about recovery.
#[derive(Debug, Subcommand)]
pub(crate) enum RecoveryCommand {
    /// Shows what waits for each dependency, and whether it would be replayed or what is missing.
    ///
    /// It looks at the store and the settings of this command: handlers that other programs register are not seen here.
    Status(StatusArgs),
}

/// Options of `recovery status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Only this dependency.
    #[arg(long, value_name = "SERVICE", value_parser = crate::text::service)]
    dependency: Option<ServiceName>,
}

/// Does it.
pub(crate) async fn run(
    command: RecoveryCommand,
    globals: &Globals,
    out: &Output,
) -> Result<(), Failure> {
    let RecoveryCommand::Status(args) = command;
    let session = Session::open(globals).await?;
    let recovery = session.baldur.recovery();
    let found = match &args.dependency {
        Some(dependency) => recovery.arming(dependency).await.map(|arming| vec![arming]),
        None => recovery.overview().await,
    };
    let result = match found {
        Ok(armings) => tell(out, &armings),
        Err(error) => Err(error.into()),
    };
    session.close(result).await
}

/// A dependency as programs read it: one object on one line.
#[derive(Serialize)]
struct DependencyLine<'a> {
    dependency: &'a str,
    pending: u64,
    #[serde(flatten)]
    arming: ArmingLine,
    domains: Vec<DomainLine<'a>>,
}

#[derive(Serialize)]
struct DomainLine<'a> {
    domain: &'a str,
    pending: u64,
    #[serde(flatten)]
    arming: ArmingLine,
}

#[derive(Serialize)]
struct ArmingLine {
    armed: bool,
    missing: Vec<&'static str>,
}

impl ArmingLine {
    fn of(arming: &Arming) -> Self {
        let missing = arming.missing().iter().map(|missing| missing.as_str()).collect();
        Self { armed: arming.is_armed(), missing }
    }
}

fn tell(out: &Output, armings: &[DependencyArming]) -> Result<(), Failure> {
    if out.is_json() {
        for arming in armings {
            let domains = arming.domains.iter().map(|domain| DomainLine {
                domain: domain.domain.as_str(),
                pending: domain.pending,
                arming: ArmingLine::of(&domain.arming),
            });
            out.json(&DependencyLine {
                dependency: arming.dependency.as_str(),
                pending: arming.pending,
                arming: ArmingLine::of(&arming.arming),
                domains: domains.collect(),
            })?;
        }
        return Ok(());
    }
    if armings.is_empty() {
        return out.line("nothing waits for any dependency");
    }
    let columns =
        [("DEPENDENCY", 12), ("DOMAIN", 12), ("WAITING", 7), ("STATE", 8), ("MISSING", 7)];
    let mut table = table::table(out, &columns, true);
    for arming in armings {
        let dependency = arming.dependency.as_str();
        for domain in &arming.domains {
            table.add_row(row(
                out,
                dependency,
                domain.domain.as_str(),
                domain.pending,
                &domain.arming,
            ));
        }
        if arming.domains.is_empty() {
            table.add_row(row(out, dependency, "-", arming.pending, &arming.arming));
        }
    }
    out.lines(&table::render(&mut table))
}

fn row(out: &Output, dependency: &str, domain: &str, pending: u64, arming: &Arming) -> [Cell; 5] {
    let missing: Vec<&str> = arming.missing().iter().map(|missing| missing.as_str()).collect();
    let (state, color) =
        if arming.is_armed() { ("armed", Color::Green) } else { ("disarmed", Color::Red) };
    [
        Cell::new(text::plain(dependency)),
        Cell::new(text::plain(domain)),
        Cell::new(text::number(pending)).set_alignment(CellAlignment::Right),
        table::cell(out, state, color),
        Cell::new(missing.join(", ")),
    ]
}
