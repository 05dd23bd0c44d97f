//! `baldur breakers`: how the circuit breakers of all processes stand, and orders that override them.

mod list;
mod order;

use std::time::Duration;

use baldur::{
    name::ServiceName,
    policy::BreakerState,
    port::{ForcedBreaker, ForcedState, SharedBreaker},
};
use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{args::Globals, exit::Failure, out::Output, session::Session};

/// What to do with circuit breakers.
#[derive(Debug, Subcommand)]
pub(crate) enum BreakersCommand {
    /// Lists the breakers that processes share, in order of name.
    List,
    /// Has every process reject the calls to a dependency.
    Open(ForceArgs),
    /// Has every process let the calls to a dependency pass.
    Close(ForceArgs),
    /// Ends an order: breakers go on by themselves from where they stood.
    Auto(AutoArgs),
}

/// An order.
#[derive(Debug, Args)]
pub(crate) struct ForceArgs {
    #[command(flatten)]
    whose: AutoArgs,
    /// How long, such as `10m`, at most a year; without it until `auto`.
    #[arg(long = "for", value_name = "DURATION", value_parser = lasting)]
    lasts: Option<Duration>,
}

/// Whose order, and why.
#[derive(Debug, Args)]
pub(crate) struct AutoArgs {
    /// The dependency, spelled as its processes spell it.
    name: ServiceName,
    /// Why, for those who look at the breaker later.
    #[arg(long)]
    reason: Option<String>,
}

/// How long an order may last, for clap.
fn lasting(text: &str) -> Result<Duration, String> {
    let lasts = crate::text::duration(text)?;
    let year = Duration::from_hours(365 * 24);
    if lasts < Duration::from_secs(1) || lasts > year {
        return Err("an order lasts a second at least, and a year at most".to_owned());
    }
    Ok(lasts)
}

/// Does it.
pub(crate) async fn run(
    command: BreakersCommand,
    globals: &Globals,
    out: &Output,
) -> Result<(), Failure> {
    let session = Session::open(globals).await?;
    let forced = |state, lasts| Some(ForcedBreaker { state, lasts });
    let result = match command {
        BreakersCommand::List => list::run(&session, out).await,
        BreakersCommand::Open(ForceArgs { whose, lasts }) => {
            order::run(whose, forced(ForcedState::Open, lasts), &session, out).await
        }
        BreakersCommand::Close(ForceArgs { whose, lasts }) => {
            order::run(whose, forced(ForcedState::Closed, lasts), &session, out).await
        }
        BreakersCommand::Auto(whose) => order::run(whose, None, &session, out).await,
    };
    session.close(result).await
}

/// What callers meet.
fn met(breaker: &SharedBreaker) -> BreakerState {
    breaker.forced.map_or(breaker.state, |order| order.state.state())
}

/// The order, in words.
fn words(forced: Option<ForcedBreaker>) -> String {
    match forced {
        None => "auto".to_owned(),
        Some(ForcedBreaker { state, lasts: None }) => format!("{} until lifted", state.as_str()),
        Some(ForcedBreaker { state, lasts: Some(lasts) }) => {
            format!("{} for {}", state.as_str(), rest(lasts))
        }
    }
}

/// A remaining time in whole seconds, the last of which counts.
fn rest(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

/// A breaker as programs read it. Times are RFC 3339 texts, remaining times are seconds.
#[derive(Serialize)]
struct Answer<'a> {
    name: &'a str,
    state: &'static str,
    own_state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    open_for: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<OrderAnswer>,
    reopenings: u32,
    trips: u64,
    changed_by: &'a str,
    changed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    version: u64,
}

#[derive(Serialize)]
struct OrderAnswer {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    remaining: Option<f64>,
}

fn answer(breaker: &SharedBreaker) -> Answer<'_> {
    let SharedBreaker {
        name,
        version,
        state,
        open_for,
        reopenings,
        forced,
        trips,
        changed_by,
        changed_at,
        reason,
    } = breaker;
    Answer {
        name: name.as_str(),
        state: met(breaker).as_str(),
        own_state: state.as_str(),
        open_for: open_for.as_ref().map(Duration::as_secs_f64),
        order: forced.map(|ForcedBreaker { state, lasts }| OrderAnswer {
            state: state.as_str(),
            remaining: lasts.as_ref().map(Duration::as_secs_f64),
        }),
        reopenings: *reopenings,
        trips: *trips,
        changed_by: changed_by.as_str(),
        changed_at: changed_at.to_string(),
        reason: reason.as_ref().map(AsRef::as_ref),
        version: *version,
    }
}
