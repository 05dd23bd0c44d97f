//! `baldur entries`: look at entries and decide about them.

mod act;
mod filter;
mod list;
mod retry;
mod show;

use clap::{Args, Subcommand};

use crate::{args::Globals, exit::Failure, out::Output, session::Session};

/// What to do with entries.
#[derive(Debug, Subcommand)]
pub(crate) enum EntriesCommand {
    /// Lists entries, newest first.
    List(Box<list::ListArgs>),
    /// Shows entries whole, with their payloads, history and evidence.
    Show(IdsArgs),
    /// Replays entries now, one after the other.
    Retry(retry::RetryArgs),
    /// Says that entries are done.
    Resolve(act::NoteArgs),
    /// Refuses entries.
    Reject(act::NoteArgs),
    /// Takes closed entries up again, with a fresh budget.
    Reopen(act::ReopenArgs),
}

/// Entries, by id.
#[derive(Debug, Args)]
pub(crate) struct IdsArgs {
    /// The ids of the entries.
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<baldur::EntryId>,
}

/// Does it.
pub(crate) async fn run(
    command: EntriesCommand,
    globals: &Globals,
    out: &Output,
) -> Result<(), Failure> {
    // The command is read before the store is opened: a mistake in it creates nothing.
    let session = Session::open_with(globals, |settings| match &command {
        EntriesCommand::Retry(args) => args.handler.allow_time(settings),
        EntriesCommand::List(_)
        | EntriesCommand::Show(_)
        | EntriesCommand::Resolve(_)
        | EntriesCommand::Reject(_)
        | EntriesCommand::Reopen(_) => {}
    })
    .await?;
    let result = match command {
        EntriesCommand::List(args) => list::run(*args, &session, out).await,
        EntriesCommand::Show(args) => show::run(args, &session, out).await,
        EntriesCommand::Retry(args) => retry::run(args, &session, out).await,
        EntriesCommand::Resolve(args) => act::resolve(args, &session, out).await,
        EntriesCommand::Reject(args) => act::reject(args, &session, out).await,
        EntriesCommand::Reopen(args) => act::reopen(args, &session, out).await,
    };
    session.close(result).await
}
