//! `baldur store check`.

use baldur::port::{CheckDepth, CheckReport};
use serde::Serialize;

use crate::{
    exit::{Code, Failure},
    out::Output,
    session::Session,
    text,
};

/// What was found, as programs read it.
#[derive(Serialize)]
struct Found<'a> {
    ok: bool,
    checked: &'a [String],
    problems: &'a [String],
}

pub(super) async fn run(deep: bool, session: &Session, out: &Output) -> Result<(), Failure> {
    let depth = if deep { CheckDepth::Deep } else { CheckDepth::Quick };
    let CheckReport { checked, problems } = session.baldur.admin().check(depth).await?;
    let ok = problems.is_empty();
    if out.is_json() {
        out.json(&Found { ok, checked: &checked, problems: &problems })?;
    } else {
        for what in &checked {
            out.line(&format!("checked: {}", text::plain(what)))?;
        }
        for problem in &problems {
            out.line(&format!("problem: {}", text::plain(problem)))?;
        }
        out.line(if ok { "the store is in order" } else { "the store is not in order" })?;
    }
    if ok { Ok(()) } else { Err(Failure::Silent(Code::Failure)) }
}
