//! `baldur serve`: the store of this machine for services of any language.

mod recorder;
mod setup;
mod signals;

use std::net::SocketAddr;

use baldur::Baldur;
use baldur_http::{ApiState, ServerConfig};
use clap::{Args, ValueEnum};
use serde::Serialize;
use tokio::net::TcpListener;

use self::{setup::Plan, signals::Signals};
use crate::{
    args::Globals,
    exit::{Code, Failure},
    out::Output,
    session::{self, Session},
};

/// Options of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen, instead of `serve.listen`. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// How logs are written to standard error; for people on a terminal, else as JSON, unless given.
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// For programs: one JSON object a line.
    Json,
}

/// Where the server is, as programs read it.
#[derive(Serialize)]
struct Listening {
    listening: String,
    pid: u32,
}

/// Serves until a signal.
pub(crate) async fn run(args: ServeArgs, globals: &Globals, out: &Output) -> Result<(), Failure> {
    let ServeArgs { listen, log_format: _ } = args;
    // Signals are heard from the start: one that comes early is not lost.
    let signals = Signals::listen()?;
    let render = recorder::install()?;
    // The settings are read before the store is opened: a mistake in them creates nothing.
    let mut settings = session::settings(globals, &session::environment()?)?.serve;
    settings.listen = listen.unwrap_or(settings.listen);
    let plan = Plan::of(&settings)?;
    let session = Session::open_with_spool(globals).await?;
    let state = ApiState::new(plan.parts(&session.baldur, render));
    let result = serve(&session.baldur, state, &plan, signals, out).await;
    // Recovery, outbox, drainer, spool and store end in this order.
    let closed = session.close_within(plan.config.grace, result).await;
    tracing::info!("serve.stopped");
    closed
}

async fn serve(
    baldur: &Baldur,
    state: ApiState,
    plan: &Plan,
    signals: Signals,
    out: &Output,
) -> Result<(), Failure> {
    let no_address = |error: std::io::Error| {
        Failure::new(Code::Failure, format!("{} can't be listened on", plan.listen))
            .because(&error)
            .hint("choose another address: --listen 127.0.0.1:0, or `serve.listen`")
    };
    let listener = TcpListener::bind(plan.listen).await.map_err(no_address)?;
    let address = listener.local_addr().map_err(no_address)?;
    // Recovery and housekeeping run as long as the server does.
    baldur.start_recovery().map_err(|error| {
        Failure::new(Code::Failure, "recovery can't be started").because(&error)
    })?;
    tracing::info!(%address, keys = plan.has_keys(), "serve.started");
    let said = say(out, address);
    let config: ServerConfig = plan.config;
    let served = match &said {
        Ok(()) => baldur_http::serve(listener, state, config, signals.first()).await,
        // Whoever started it doesn't know where it is.
        Err(_) => baldur_http::serve(listener, state, config, std::future::ready(())).await,
    };
    said?;
    if served.cut > 0 {
        out.message(&format!("{} connections were cut off after {:?}", served.cut, config.grace));
    }
    Ok(())
}

fn say(out: &Output, address: SocketAddr) -> Result<(), Failure> {
    let listening = format!("http://{address}");
    if out.is_json() || !out.data().terminal {
        return out.json(&Listening { listening, pid: std::process::id() });
    }
    out.line(&format!("listening on {listening} (Ctrl-C stops)"))
}
