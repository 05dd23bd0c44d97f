//! Logs, for those who ask for them: `BALDUR_LOG=debug`.

use tracing_subscriber::EnvFilter;

use crate::{exit::Failure, out::Output};

/// The variable that turns logs on, by the rules of `tracing`'s filters.
const VARIABLE: &str = "BALDUR_LOG";

/// Writes logs to standard error if they are asked for.
pub(crate) fn start(out: &Output) -> Result<(), Failure> {
    let Some(wanted) = std::env::var_os(VARIABLE).filter(|wanted| !wanted.is_empty()) else {
        return Ok(());
    };
    let filter = EnvFilter::try_new(wanted.to_string_lossy()).map_err(|error| {
        Failure::usage(&format!("{VARIABLE} is not usable"), &error)
            .hint("write a level or directives, such as debug or baldur_app=trace")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(out.messages().color)
        .init();
    Ok(())
}
