//! The crash harness: what callers were told is kept, whatever happens to processes, stores and disks.
//!
//! `kills` starts processes that capture under load, kills them with SIGKILL at random and at named fail points, and at
//! the end looks for every entry that a caller was told of. `outage` lets the store die under load, `full-disk` the disk
//! fill up, and `swarm` has many processes settle the same entries. `cargo xtask crash` builds and runs it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its terminal"
)]

mod faults;
mod full_disk;
mod handling;
mod kills;
mod look;
mod outage;
mod place;
mod promises;
mod protocol;
mod random;
mod reckoning;
mod stack;
mod swarm;
mod victim;
mod work;

use std::{error::Error, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

use crate::{
    outage::Way,
    place::{Ground, Kind, Place, PlaceArgs},
    protocol::{FailPoint, Mode, Said, Twin},
};

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
        /// The kind of store. PostgreSQL is the one that `BALDUR_TEST_POSTGRES_URL` names, else one that is started.
        #[arg(long, default_value = "sqlite")]
        store: Kind,
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
        /// How the store is out. All but the first have a PostgreSQL of their own, and claimers beside the load.
        #[arg(long, default_value = "injected")]
        way: Way,
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
    /// Has processes with many claimers each settle the same entries.
    Swarm {
        /// How many entries.
        #[arg(long, default_value_t = 20_000)]
        entries: usize,
        /// How many processes.
        #[arg(long, default_value_t = 8)]
        processes: usize,
        /// How many claimers each has.
        #[arg(long, default_value_t = 8)]
        claimers: usize,
        /// How many processes are killed on the way, and replaced.
        #[arg(long, default_value_t = 0)]
        kills: usize,
        /// How long a claim lasts, in milliseconds.
        #[arg(long, default_value_t = 5_000)]
        lease_ms: u64,
        /// How many entries a claim asks for.
        #[arg(long, default_value_t = 20)]
        batch: usize,
        /// The kind of store, as for `kills`.
        #[arg(long, default_value = "postgres")]
        store: Kind,
        /// One JSON object instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// A process that captures until it is killed.
    #[command(hide = true)]
    Victim(VictimArgs),
    /// A process that brings everything into the store, and ends.
    #[command(hide = true)]
    Settler(PlaceArgs),
    /// A process of claimers.
    #[command(hide = true)]
    Claimers(ClaimersArgs),
}

#[derive(Clone, Debug, clap::Args)]
struct ClaimersArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[arg(long)]
    book: PathBuf,
    #[arg(long)]
    claimers: usize,
    #[arg(long)]
    lease_ms: u64,
    #[arg(long)]
    batch: usize,
}

#[derive(Clone, Debug, clap::Args)]
struct VictimArgs {
    #[command(flatten)]
    place: PlaceArgs,
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
        Command::Kills { kills, seed, twin, store, json } => {
            let ground = Ground::new(store)?;
            let plan = kills::Plan { kills, seed, twin };
            let progress = |done: u32| {
                if !json && done.is_multiple_of(50) {
                    eprintln!("  {done} of {kills} kills");
                }
            };
            let report = kills::run(&ground.place, plan, progress).await?;
            println!("{}", if json { serde_json::to_string(&report)? } else { report.table() });
            Ok(report.is_good())
        }
        Command::Outage { seconds, per_second, way, json } => {
            let mut ground = match way {
                Way::Injected => Ground::new(Kind::Sqlite)?,
                Way::Stopped | Way::Killed | Way::Restarted => Ground::with_server()?,
            };
            let plan = outage::Plan { outage: Duration::from_secs(seconds), per_second, way };
            let report = outage::run(&mut ground, plan).await?;
            println!("{}", if json { serde_json::to_string(&report)? } else { report.table() });
            Ok(report.is_good())
        }
        Command::FullDisk { prepared: false, json } => full_disk::run_prepared(json),
        Command::FullDisk { prepared: true, json } => {
            let ground = Ground::new(Kind::Sqlite)?;
            let report = full_disk::run(&ground.place).await?;
            println!("{}", if json { serde_json::to_string(&report)? } else { report.table() });
            Ok(report.is_good())
        }
        Command::Swarm { entries, processes, claimers, kills, lease_ms, batch, store, json } => {
            let ground = Ground::new(store)?;
            let lease = Duration::from_millis(lease_ms);
            let plan = swarm::Plan { entries, processes, claimers, kills, lease, batch };
            let report = swarm::run(&ground.place, plan).await?;
            println!("{}", if json { serde_json::to_string(&report)? } else { report.table() });
            Ok(report.is_good())
        }
        Command::Victim(VictimArgs { place, mode, seed, fail_point, twin }) => {
            let orders = victim::Orders { mode, seed, fail_point, twin };
            let failed = work::capture_for_ever(&Place::told(&place)?, orders).await;
            victim::say(&Said::Failed(failed.to_string()));
            Ok(false)
        }
        Command::Settler(place) => {
            end_with(work::settle(&Place::told(&place)?).await);
            Ok(true)
        }
        Command::Claimers(ClaimersArgs { place, book, claimers, lease_ms, batch }) => {
            let lease = Duration::from_millis(lease_ms);
            let plan = swarm::Plan { entries: 0, processes: 1, claimers, kills: 0, lease, batch };
            end_with(swarm::claim(&Place::told(&place)?, &book, plan).await);
            Ok(true)
        }
    }
}

/// The last words of a process.
fn end_with(result: Result<(), Failure>) {
    match result {
        Ok(()) => victim::say(&Said::Settled),
        Err(error) => victim::say(&Said::Failed(error.to_string())),
    }
}

/// How many, and the first few.
pub(crate) fn listed(items: &[String]) -> String {
    let few: Vec<&str> = items.iter().take(5).map(String::as_str).collect();
    if few.is_empty() { "0".to_owned() } else { format!("{}: {}", items.len(), few.join(", ")) }
}
