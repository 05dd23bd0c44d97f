//! `baldur store`: look after a store, and move entries between stores.

mod check;
mod export;
mod import;

use clap::{Args, Subcommand};

use crate::{args::Globals, exit::Failure, out::Output, session::Session};

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Checks the store and says what is wrong with it. Changes nothing.
    Check(CheckArgs),
    /// Writes all entries with their evidence to standard output, one JSON object a line, oldest first.
    Export,
    /// Reads what `export` wrote from standard input. Entries that are there already are left as they are.
    Import,
}

/// Options of `store check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Also read every entry and recompute every counter. Takes as long as there are entries.
    #[arg(long)]
    deep: bool,
}

/// Does it.
pub(crate) async fn run(
    command: StoreCommand,
    globals: &Globals,
    out: &Output,
) -> Result<(), Failure> {
    let session = Session::open(globals).await?;
    let result = match command {
        StoreCommand::Check(args) => check::run(args.deep, &session, out).await,
        StoreCommand::Export => export::run(&session, out).await,
        StoreCommand::Import => import::run(&session, out).await,
    };
    session.close(result).await
}
