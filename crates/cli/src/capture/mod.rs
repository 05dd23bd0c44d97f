//! `baldur capture`: keep failed operations, one from options or many from standard input.

mod one;
mod prepare;
mod stream;

use clap::Args;

use crate::{args::Globals, exit::Failure, out::Output, session::Session};

/// Options of `capture`.
///
/// Without `--domain`, operations are read from standard input: one JSON object a line (NDJSON).
#[derive(Debug, Args)]
pub(crate) struct CaptureArgs {
    #[command(flatten)]
    one: one::OneArgs,
    /// Stop reading at the first line that can't be kept. Lines before it are kept and answered.
    #[arg(long, conflicts_with = "domain", help_heading = "Many operations, from standard input")]
    strict: bool,
}

/// Keeps them.
pub(crate) async fn run(args: CaptureArgs, globals: &Globals, out: &Output) -> Result<(), Failure> {
    let CaptureArgs { one, strict } = args;
    let op = one.op()?;
    let session = Session::open_with_spool(globals).await?;
    let result = match op {
        Some(op) => one::run(op, &session, out).await,
        None => stream::run(strict, &session, out).await,
    };
    session.close(result).await
}
