//! What the command line accepts.

use std::path::PathBuf;

use clap::{ArgAction, Args, ColorChoice, Parser, Subcommand, ValueEnum};

use crate::{
    breakers::BreakersCommand, capture::CaptureArgs, completions::CompletionsArgs, demo,
    entries::EntriesCommand, facets::FacetsArgs, recovery::RecoveryCommand, replay::ReplayArgs,
    serve::ServeArgs, spool::SpoolCommand, store::StoreCommand,
};

/// Keeps failed operations and brings them back.
#[derive(Debug, Parser)]
#[command(name = "baldur", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// The store: `sqlite:///absolute/path.db`, `postgres://user@host/database` or `memory:`. Without it, and without `BALDUR__STORE__URL` and a
    /// settings file, an SQLite file in the platform's data directory is used.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// A settings file in TOML.
    #[arg(long, global = true, value_name = "FILE", env = "BALDUR_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The deployment whose entries are meant.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Who acts, for the evidence; your user name unless given.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) actor: Option<String>,
    /// How answers are written to standard output.
    #[arg(long, short = 'o', global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// The same as `--output json`.
    #[arg(long, global = true, action = ArgAction::SetTrue)]
    pub(crate) json: bool,
    /// When to use colour.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: ColorChoice,
}

/// How answers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: one JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the whole way: a payment gateway goes down and comes back, and no order is lost or charged twice.
    Demo(demo::Args),
    /// Keeps failed operations: one from options, or many from standard input as NDJSON.
    Capture(Box<CaptureArgs>),
    /// Looks at entries and decides about them.
    #[command(subcommand)]
    Entries(EntriesCommand),
    /// Counts entries by status, domain, failure type and dependency.
    Facets(FacetsArgs),
    /// Brings entries back, at a rate that their target can take.
    Replay(ReplayArgs),
    /// Tells whether entries come back by themselves once their dependency is back.
    #[command(subcommand)]
    Recovery(RecoveryCommand),
    /// Serves the store over HTTP: capture, reading, health and metrics.
    Serve(ServeArgs),
    /// Looks at circuit breakers and overrides them, in all processes that share the store.
    #[command(subcommand)]
    Breakers(BreakersCommand),
    /// Looks after the store, and moves entries between stores.
    #[command(subcommand)]
    Store(StoreCommand),
    /// Looks after the spool, where captures wait that the store can't take.
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Shows the settings that hold, without secrets.
    Config,
    /// Writes the completion script of a shell.
    Completions(CompletionsArgs),
    /// The payment gateway of the demo, as a process of its own.
    #[command(hide = true)]
    DemoGateway(demo::GatewayArgs),
    /// The checkout service of the demo, as a process of its own.
    #[command(hide = true)]
    DemoCheckout(demo::CheckoutArgs),
    /// The outage of the demo's store, as a process of its own.
    #[command(hide = true)]
    DemoOutage(demo::OutageArgs),
}
