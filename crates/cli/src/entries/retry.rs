//! `baldur entries retry`.

use baldur::replay::{ItemResult, ReplayError};
use clap::Args;
use serde::Serialize;

use super::{IdsArgs, act::Problem};
use crate::{
    exit::{Code, Failure, HasCode as _},
    out::Output,
    replay::{HandlerArgs, ItemLine, domains_of, failed, not_run},
    session::Session,
    text,
};

/// Entries to replay.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    #[command(flatten)]
    ids: IdsArgs,
    #[command(flatten)]
    pub(super) handler: HandlerArgs,
    /// Also entries that wait for a person; they get a fresh budget.
    #[arg(long)]
    force: bool,
    /// Why, for the evidence.
    #[arg(long)]
    reason: Option<String>,
}

/// An entry that was not replayed, as programs read it.
#[derive(Serialize)]
struct Refused {
    id: String,
    error: Problem,
}

pub(super) async fn run(args: RetryArgs, session: &Session, out: &Output) -> Result<(), Failure> {
    let RetryArgs { ids: IdsArgs { ids }, handler, force, reason } = args;
    let who = session.who(reason.as_deref())?;
    let engine = handler.engine(session, domains_of(session, &ids).await?)?;
    let mut codes = Vec::new();
    for id in ids {
        match engine.retry(id, force, &who).await {
            Ok(item) => {
                if failed(item.outcome) {
                    codes.push(Code::Failure);
                }
                tell(out, &item)?;
            }
            Err(ReplayError::NotClaimed(error)) => {
                codes.push(error.exit_code());
                if out.is_json() {
                    out.json(&Refused { id: id.to_string(), error: Problem::of(&error) })?;
                } else {
                    out.error(&error.to_string());
                }
            }
            Err(error) => return Err(not_run(&error)),
        }
    }
    Code::of_all(codes).map_or(Ok(()), |code| Err(Failure::Silent(code)))
}

fn tell(out: &Output, item: &ItemResult) -> Result<(), Failure> {
    if out.is_json() {
        return out.json(&ItemLine::of(item));
    }
    let status = item.status.map_or("", |status| status.as_str());
    let note = text::short(&item.note, 200);
    out.line(format!("{}  {}  {status}  {note}", item.id, item.outcome.as_str()).trim_end())
}
