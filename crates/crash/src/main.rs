//! The crash harness: what callers were told is kept, whatever happens to processes, stores and disks.
//!
//! `kills` starts processes that capture under load, kills them with SIGKILL at random and at named fail points, and at
//! the end looks for every entry that a caller was told of. `outage` lets the store die under load, `full-disk` the disk
//! fill up. `cargo xtask crash` builds and runs it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its terminal"
)]

mod faults;
mod full_disk;
mod kills;
mod look;
mod outage;
mod promises;
mod protocol;
mod random;
mod stack;
mod victim;
mod work;

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use crate::protocol::{FailPoint, Mode, Said, Twin};

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// How long a process may be silent, or take to end.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Breaks processes, stores and disks, and looks whether every promise was kept.
#[derive(Debug, Parser)]
#[command(name = "crash", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kills processes that capture.
    Kills {
        /// How many.
        #[arg(long, default_value_t = 500)]
        kills: u32,
        /// The same seed makes the same plan; the machine's timing differs.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// With this mistake, which must be noticed.
        #[arg(long)]
        twin: Option<Twin>,
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Lets the store die under load.
    Outage {
        /// For how long, in seconds.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// Captures per second: 64 to 10000.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(64..=10_000))]
        per_second: u64,
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Lets the disk of store and spool fill up: on a file system of its own where one can be mounted, else by a limit on the
    /// size of files.
    FullDisk {
        /// The program was started so that it ignores SIGXFSZ.
        #[arg(long, hide = true)]
        prepared: bool,
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// A process that captures until it is killed.
    #[command(hide = true)]
    Victim(VictimArgs),
    /// A process that brings everything into the store, and ends.
    #[command(hide = true)]
    Settler {
        #[arg(long)]
        dir: PathBuf,
    },
}

#[derive(Clone, Debug, clap::Args)]
struct VictimArgs {
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    mode: Mode,
    #[arg(long)]
    seed: u64,
    #[arg(long)]
    fail_point: Option<FailPoint>,
    #[arg(long)]
    twin: Option<Twin>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse().command).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the harness failed: {}", baldur_core::Chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
async fn run(command: Command) -> Result<bool, Failure> {
    match command {
        Command::Kills { kills, seed, twin, json } => {
            let dir = tempfile::tempdir()?;
            let plan = kills::Plan { kills, seed, twin };
            let progress = |done: u32| {
                if !json && done.is_multiple_of(50) {
                    eprintln!("  {done} of {kills} kills");
                }
            };
            let report = kills::run(dir.path(), plan, progress).await?;
            println!("{}", if json { serde_json::to_string(&report)? } else { report.table() });
            Ok(report.is_good())
        }
        Command::Outage { seconds, per_second, json } => {
            let dir = tempfile::tempdir()?;
            let plan = outage::Plan { outage: Duration::from_secs(seconds), per_second };
            let report = outage::run(dir.path(), plan).await?;
            println!("{}", if json { serde_json::to_string(&report)? } else { report.table() });
            Ok(report.is_good())
        }
        Command::FullDisk { prepared: false, json } => full_disk::run_prepared(json),
        Command::FullDisk { prepared: true, json } => {
            let dir = tempfile::tempdir()?;
            let report = full_disk::run(dir.path()).await?;
            println!("{}", if json { serde_json::to_string(&report)? } else { report.table() });
            Ok(report.is_good())
        }
        Command::Victim(VictimArgs { dir, mode, seed, fail_point, twin }) => {
            let orders = victim::Orders { mode, seed, fail_point, twin };
            let failed = work::capture_for_ever(&dir, orders).await;
            victim::say(&Said::Failed(failed.to_string()));
            Ok(false)
        }
        Command::Settler { dir } => {
            match work::settle(&dir).await {
                Ok(()) => victim::say(&Said::Settled),
                Err(error) => victim::say(&Said::Failed(error.to_string())),
            }
            Ok(true)
        }
    }
}
