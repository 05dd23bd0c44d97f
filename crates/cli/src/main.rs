//! The `baldur` command: capture, look at, and replay failed operations from a terminal or a script.

mod args;
mod demo;
mod exit;
mod out;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::{Cli, Command},
    exit::{Code, Failure},
    out::Output,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Output::new(&cli.globals);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(run(cli, &out)),
        Err(error) => Err(Failure::new(Code::Failure, "the runtime did not start").because(&error)),
    };
    exit::finish(&out, result)
}

async fn run(cli: Cli, out: &Output) -> Result<(), Failure> {
    let Cli { globals, command } = cli;
    match command {
        Command::Demo(args) => demo::run(args, &globals, out).await,
        Command::DemoGateway(args) => demo::run_gateway(args, out).await,
        Command::DemoCheckout(args) => demo::run_checkout(args, out).await,
    }
}
