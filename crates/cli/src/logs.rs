//! Logs, for those who ask for them: `BALDUR_LOG=debug`.

use tracing_subscriber::EnvFilter;

use crate::{
    exit::Failure,
    out::Output,
    serve::{LogFormat, ServeArgs},
};

/// The variable that turns logs on, by the rules of `tracing`'s filters.
const VARIABLE: &str = "BALDUR_LOG";

/// Writes logs to standard error if they are asked for.
pub(crate) fn start(out: &Output) -> Result<(), Failure> {
    let Some(filter) = filter()? else { return Ok(()) };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(out.messages().color)
        .init();
    Ok(())
}

/// What is asked for, if anything is.
fn filter() -> Result<Option<EnvFilter>, Failure> {
    let wanted = std::env::var_os(VARIABLE).filter(|wanted| !wanted.is_empty());
    let filter = wanted.map(|wanted| EnvFilter::try_new(wanted.to_string_lossy())).transpose();
    filter.map_err(|error| {
        Failure::usage(&format!("{VARIABLE} is not usable"), &error)
            .hint("write a level or directives, such as debug or baldur_app=trace")
    })
}

/// What a server tells of itself, unless it is asked for more or less.
const OF_A_SERVER: &str = "info";

/// Writes the logs of a server to standard error: for people on a terminal, else as JSON lines.
pub(crate) fn start_server(args: &ServeArgs, out: &Output) -> Result<(), Failure> {
    let filter = filter()?.map_or_else(|| EnvFilter::try_new(OF_A_SERVER), Ok);
    let filter = filter.map_err(|error| Failure::usage("no logs can be written", &error))?;
    let messages = out.messages();
    let as_json = args.log_format.map_or(!messages.terminal, |format| format == LogFormat::Json);
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(messages.color && !as_json);
    if as_json {
        logs.json().flatten_event(true).init();
    } else {
        logs.init();
    }
    Ok(())
}
