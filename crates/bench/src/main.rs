//! Measures the stores of Baldur beside their physical limits, in the same run: `cargo xtask bench`.
//!
//! Absolute figures depend on the machine and are no claim. The ratios are: both sides of each are measured in turn, on
//! one disk, with the same rows in each commit.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its terminal"
)]

mod args;
mod breaker;
mod figures;
mod floor;
mod load;
mod memory;
mod ours;
mod outbox;
mod postgres;
mod protect;
mod raw;
mod reading;
mod report;
mod spool;
mod sqlite;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{args::Args, figures::Figure, ours::Failure};

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(figures) => {
            let text = if args.json { report::json(&figures) } else { report::table(&figures) };
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the bench failed: {}", baldur_core::Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<Vec<Figure>, Failure> {
    let plan = args.plan();
    let mut figures = Vec::new();
    if args.wants_store(protect::PART) {
        figures.extend(protect::run(args, &plan).await?);
    }
    if args.wants_store(ours::APP) {
        figures.extend(breaker::run(args, &plan).await?);
        figures.extend(outbox::run(args, &plan).await?);
    }
    if args.wants_store(memory::STORE) {
        figures.extend(memory::run(args, &plan).await?);
    }
    if args.wants_store(sqlite::STORE) {
        figures.extend(sqlite::run(args, &plan).await?);
    }
    if args.wants_store(postgres::STORE) {
        figures.extend(postgres::run(args, &plan).await?);
    }
    if args.wants_store(spool::STORE) {
        figures.extend(spool::run(args, &plan).await?);
    }
    Ok(figures)
}
