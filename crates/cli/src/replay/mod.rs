//! `baldur replay`: bring entries back.

mod handler;
mod item;
mod summary;

use std::{convert::Infallible, time::Duration};

use baldur::{
    EntryId, ResolutionType,
    name::{Domain, ServiceName},
    replay::{
        Ramp, RateLimit, ReplayEngine, ReplayEvent, ReplayReport, ReplayRequest, ReplaySelect,
    },
};
use clap::Args;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    args::Globals,
    exit::{Code, Failure},
    out::Output,
    progress::Progress,
    session::Session,
    text,
};

pub(crate) use handler::{HandlerArgs, domains_of};
pub(crate) use item::{ItemLine, failed};
pub(crate) use summary::not_run;

/// How many events may wait to be shown. More are counted, not kept.
const EVENTS: usize = 4_096;

/// A rate without a ramp of its own starts with this part of itself.
const RAMP_STARTS_AT: f64 = 0.1;

/// Options of `replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Entries of this domain; repeat it for several.
    #[arg(long, required_unless_present = "id")]
    domain: Vec<Domain>,
    /// Of them, those that failed because of this dependency.
    #[arg(long, value_name = "SERVICE", conflicts_with = "id", value_parser = crate::text::service)]
    dependency: Option<ServiceName>,
    /// This entry, due or not; repeat it for several.
    #[arg(long, value_name = "ID", conflicts_with = "domain")]
    id: Vec<EntryId>,
    #[command(flatten)]
    handler: HandlerArgs,
    /// How many entries to take up per second, at most.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,
    /// Reach the rate slowly, within this time, so that a target which has just recovered is not run over.
    #[arg(long, value_name = "DURATION", value_parser = text::duration, requires = "rate")]
    ramp: Option<Duration>,
    /// How many entries to replay at once, 1 to 256.
    #[arg(long, value_name = "N")]
    concurrency: Option<usize>,
    /// How many entries to take up, at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Look what would happen, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the evidence.
    #[arg(long)]
    reason: Option<String>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "write a number".to_owned())?;
    if rate.is_finite() && rate > 0.0 { Ok(rate) } else { Err("it must be above 0".to_owned()) }
}

/// Replays.
pub(crate) async fn run(args: ReplayArgs, globals: &Globals, out: &Output) -> Result<(), Failure> {
    let session = Session::open_with(globals, |settings| args.handler.allow_time(settings)).await?;
    let result = replay(args, &session, out).await;
    session.close(result).await
}

async fn replay(args: ReplayArgs, session: &Session, out: &Output) -> Result<(), Failure> {
    let ReplayArgs {
        domain,
        dependency,
        id,
        handler,
        rate,
        ramp,
        concurrency,
        limit,
        dry_run,
        reason,
    } = args;
    let mut domains = domains_of(session, &id).await?;
    domains.extend(domain.iter().cloned());
    let engine = handler.engine(session, domains)?;
    let request = ReplayRequest {
        select: if id.is_empty() {
            ReplaySelect::Due { domains: domain, dependency }
        } else {
            ReplaySelect::Ids(id)
        },
        force: false,
        unchanged_since: None,
        limit,
        rate: rate.map(|rate| RateLimit {
            ramp: ramp.map(|over| Ramp { from_per_second: rate * RAMP_STARTS_AT, over }),
            ..RateLimit::per_second(rate)
        }),
        concurrency,
        governor: None,
        dry_run,
        trigger: ResolutionType::ManualReplay,
        who: session.who(reason.as_deref())?,
    };
    let report = watch(&engine, request, out).await?;
    summary::tell(out, &report)?;
    summary::verdict(&report)
}

/// Runs, shows what happens, and lets Ctrl-C end it in order.
async fn watch(
    engine: &ReplayEngine,
    request: ReplayRequest,
    out: &Output,
) -> Result<ReplayReport, Failure> {
    let (events, mut shown) = mpsc::channel(EVENTS);
    let cancel = CancellationToken::new();
    let running = engine.run(request, Some(events), cancel.clone());
    let mut progress = Progress::new(out, "replayed");
    let show = async {
        let mut reader_gone = None;
        while let Some(event) = shown.recv().await {
            match event {
                ReplayEvent::Started { total } => progress.expect(total),
                ReplayEvent::Item(item) => {
                    progress.advance(1, u64::from(failed(item.outcome)));
                    if reader_gone.is_none()
                        && let Err(failure) = item::tell(out, &progress, &item)
                    {
                        // Nobody reads the results any more: stop in order.
                        cancel.cancel();
                        reader_gone = Some(failure);
                    }
                }
                ReplayEvent::Waiting { .. } | ReplayEvent::Finished(_) => {}
            }
        }
        progress.finish();
        reader_gone
    };
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_ok() {
            out.message("stopping: what has begun is finished, the rest is given back");
            cancel.cancel();
        }
        std::future::pending::<Infallible>().await
    };
    let (report, reader_gone) = tokio::select! {
        both = async { tokio::join!(running, show) } => both,
        never = interrupt => match never {},
    };
    match reader_gone {
        // Who can't hear the results has not been served.
        Some(Failure::ReaderGone) => return Err(Failure::Silent(Code::Failure)),
        Some(failure) => return Err(failure),
        None => {}
    }
    report.map_err(|error| summary::not_run(&error))
}
