//! `baldur entries resolve`, `reject` and `reopen`.

use baldur::{Chain, EntryId, OpState, port::ClaimError};
use clap::Args;
use serde::Serialize;

use super::IdsArgs;
use crate::{
    exit::{Code, Failure, HasCode as _},
    out::Output,
    session::Session,
};

/// Entries to close.
#[derive(Debug, Args)]
pub(crate) struct NoteArgs {
    #[command(flatten)]
    ids: IdsArgs,
    /// Why, for those who look at the entry later.
    #[arg(long, default_value = "", hide_default_value = true)]
    note: String,
}

/// Entries to take up again.
#[derive(Debug, Args)]
pub(crate) struct ReopenArgs {
    #[command(flatten)]
    ids: IdsArgs,
    /// Why, for the evidence.
    #[arg(long)]
    reason: Option<String>,
}

pub(super) async fn resolve(
    args: NoteArgs,
    session: &Session,
    out: &Output,
) -> Result<(), Failure> {
    let NoteArgs { ids: IdsArgs { ids }, note } = args;
    let answers = session.baldur.entries().resolve(&ids, &note, &session.who).await;
    tell(out, &ids, answers)
}

pub(super) async fn reject(args: NoteArgs, session: &Session, out: &Output) -> Result<(), Failure> {
    let NoteArgs { ids: IdsArgs { ids }, note } = args;
    let answers = session.baldur.entries().reject(&ids, &note, &session.who).await;
    tell(out, &ids, answers)
}

pub(super) async fn reopen(
    args: ReopenArgs,
    session: &Session,
    out: &Output,
) -> Result<(), Failure> {
    let ReopenArgs { ids: IdsArgs { ids }, reason } = args;
    let who = session.who(reason.as_deref())?;
    let answers = session.baldur.entries().reopen(&ids, &who).await;
    tell(out, &ids, answers)
}

/// What became of one entry, as programs read it.
#[derive(Serialize)]
struct Answer {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

/// Why an entry stayed as it was.
#[derive(Serialize)]
pub(super) struct Problem {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Problem {
    pub(super) fn of(error: &ClaimError) -> Self {
        Self { code: code(error), message: Chain(error).to_string() }
    }
}

/// The stable name of an error for programs.
fn code(error: &ClaimError) -> &'static str {
    match error {
        ClaimError::NotFound(_) => "not_found",
        ClaimError::NotClaimable { .. } => "not_claimable",
        ClaimError::NotReplayable(_) => "not_replayable",
        ClaimError::Changed(_) => "changed",
        ClaimError::Blocked { .. } => "blocked",
        ClaimError::Stale { .. } => "stale",
        ClaimError::NotAllowed { .. } => "not_allowed",
        ClaimError::Invalid(_) => "invalid",
        ClaimError::Backend(error) => error.kind().as_str(),
        _ => "other",
    }
}

fn tell(
    out: &Output,
    ids: &[EntryId],
    answers: Vec<Result<OpState, ClaimError>>,
) -> Result<(), Failure> {
    let mut codes = Vec::new();
    for (id, answer) in ids.iter().zip(answers) {
        if let Err(error) = &answer {
            codes.push(error.exit_code());
        }
        match answer {
            Ok(state) if out.is_json() => {
                let status = Some(state.status.as_str());
                out.json(&Answer { id: id.to_string(), status, error: None })?;
            }
            Ok(state) => out.line(&format!("{id}  {}", state.status))?,
            Err(error) if out.is_json() => {
                let error = Some(Problem::of(&error));
                out.json(&Answer { id: id.to_string(), status: None, error })?;
            }
            Err(error) => out.error(&Chain(&error).to_string()),
        }
    }
    Code::of_all(codes).map_or(Ok(()), |code| Err(Failure::Silent(code)))
}
