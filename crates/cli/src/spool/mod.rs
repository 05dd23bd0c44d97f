//! `baldur spool`: look at what waits on the local disk, and move it into the store by hand.

mod drain;
mod status;
mod verify;

use std::path::PathBuf;

use baldur::spool::SpoolConfig;
use clap::{Args, Subcommand};

use crate::{
    args::Globals,
    exit::{Code, Failure},
    out::Output,
    session,
};

/// What to do with the spool.
#[derive(Debug, Subcommand)]
pub(crate) enum SpoolCommand {
    /// Shows what waits, in which lanes, and what was put aside. Needs no store and disturbs nobody.
    Status(SpoolArgs),
    /// Reads every record and says what is damaged. Changes nothing; fails when something is.
    Verify(SpoolArgs),
    /// Takes over lanes whose processes are gone, and moves their records into the store.
    Drain(DrainArgs),
}

/// What to move.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    spool: SpoolArgs,
    /// Also the records that were put aside, because the store refused them or failed at them: they are offered to it once more,
    /// after all others.
    #[arg(long)]
    refused: bool,
}

/// Which spool.
#[derive(Debug, Args)]
pub(crate) struct SpoolArgs {
    /// The directory of the spool, instead of the one that the settings name.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl SpoolArgs {
    /// The spool that is meant.
    fn config(self, globals: &Globals) -> Result<SpoolConfig, Failure> {
        let mut settings = session::settings(globals, &session::environment()?)?;
        if let Some(dir) = self.dir {
            let dir = std::path::absolute(dir)
                .map_err(|error| Failure::usage("`--dir` is not usable", &error))?;
            settings.spool.dir = Some(dir);
        }
        let config = settings.spool.config();
        config.map_err(|error| Failure::usage("the settings are not usable", &error))?.ok_or_else(
            || {
                Failure::new(Code::Usage, "no spool is set")
                    .hint("name its directory: --dir, or the setting `spool.dir`")
            },
        )
    }
}

/// Does it.
pub(crate) async fn run(
    command: SpoolCommand,
    globals: &Globals,
    out: &Output,
) -> Result<(), Failure> {
    match command {
        SpoolCommand::Status(args) => status::run(args.config(globals)?, out).await,
        SpoolCommand::Verify(args) => verify::run(args.config(globals)?, out).await,
        SpoolCommand::Drain(DrainArgs { spool, refused }) => {
            drain::run(spool.config(globals)?, refused, globals, out).await
        }
    }
}

/// `1 record`, `2 records`.
fn records(count: u64) -> String {
    format!("{} {}", crate::text::number(count), if count == 1 { "record" } else { "records" })
}
