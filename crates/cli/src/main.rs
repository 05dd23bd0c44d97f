//! The `baldur` command: capture, look at, and replay failed operations from a terminal or a script.

mod answers;
mod args;
mod breakers;
mod capture;
mod completions;
mod config;
mod demo;
mod entries;
mod exit;
mod facets;
mod lines;
mod logs;
mod out;
mod progress;
mod recovery;
mod replay;
mod serve;
mod session;
mod spool;
mod store;
mod table;
mod text;

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
    let logs = if let Command::Serve(args) = &cli.command {
        logs::start_server(args, &out)
    } else {
        logs::start(&out)
    };
    if let Err(failure) = logs {
        return exit::finish(&out, Err(failure));
    }
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
        Command::Capture(args) => capture::run(*args, &globals, out).await,
        Command::Entries(command) => entries::run(command, &globals, out).await,
        Command::Breakers(command) => breakers::run(command, &globals, out).await,
        Command::Facets(args) => facets::run(args, &globals, out).await,
        Command::Replay(args) => replay::run(args, &globals, out).await,
        Command::Recovery(command) => recovery::run(command, &globals, out).await,
        Command::Store(command) => store::run(command, &globals, out).await,
        Command::Spool(command) => spool::run(command, &globals, out).await,
        Command::Serve(args) => serve::run(args, &globals, out).await,
        Command::Config => config::run(&globals, out),
        Command::Completions(args) => completions::run(&args, out),
        Command::DemoGateway(args) => demo::run_gateway(args, out).await,
        Command::DemoCheckout(args) => demo::run_checkout(args, out).await,
        Command::DemoOutage(args) => demo::run_outage(args, out).await,
    }
}
