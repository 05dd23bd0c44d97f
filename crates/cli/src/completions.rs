//! `baldur completions`: completion scripts for shells.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{
    args::Cli,
    exit::{Code, Failure},
    out::Output,
};

/// Options of `completions`.
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// For which shell.
    shell: Shell,
}

/// Writes the script.
pub(crate) fn run(args: &CompletionsArgs, out: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "baldur", &mut script);
    let script = String::from_utf8(script)
        .map_err(|error| Failure::new(Code::Failure, "no script could be made").because(&error))?;
    out.lines(&script)
}
