//! `baldur spool drain`.

use std::sync::Arc;

use baldur::{
    BackendKind, Chain, Outcome, SystemClock,
    port::{CaptureError, CaptureStore, Disposition, Spool as _, SpoolError, Spooled},
    spool::{DiskSpool, SpoolConfig},
};
use serde::Serialize;

use super::records;
use crate::{
    args::Globals,
    exit::{Code, Failure, HasCode},
    out::Output,
    progress::Progress,
    session::Session,
    text,
};

/// How many records go into the store at a time.
const BATCH: usize = 200;

/// What went, as programs read it.
#[derive(Debug, Default, Serialize)]
struct Went {
    drained: u64,
    new: u64,
    merged: u64,
    repeated: u64,
    taken_back: u64,
    set_aside: u64,
    left: u64,
}

impl HasCode for SpoolError {
    fn exit_code(&self) -> Code {
        Code::Unavailable
    }
}

pub(super) async fn run(
    config: SpoolConfig,
    refused: bool,
    globals: &Globals,
    out: &Output,
) -> Result<(), Failure> {
    let session = Session::open(globals).await?;
    let result = match DiskSpool::open(config, Arc::new(SystemClock)).await {
        Ok(spool) => {
            let result = drain(&spool, refused, &session, out).await;
            spool.close().await;
            result
        }
        Err(error) => Err(error.into()),
    };
    session.close(result).await
}

async fn drain(
    spool: &DiskSpool,
    refused: bool,
    session: &Session,
    out: &Output,
) -> Result<(), Failure> {
    let store = session.baldur.capture_store();
    let mut went = Went::default();
    if refused {
        went.taken_back = spool.restore_refused().await?.restored;
    }
    let mut progress = Progress::new(out, "moved");
    progress.expect(Some(spool.status().records));
    let moved = loop {
        let batch = spool.peek(BATCH).await?;
        if batch.is_empty() {
            break Ok(());
        }
        let moved = move_batch(spool, &*store, batch, &mut went).await;
        progress.at(went.drained + went.set_aside, went.set_aside);
        if moved.is_err() {
            break moved;
        }
    };
    progress.finish();
    went.left = spool.status().records;
    tell(out, &went)?;
    moved?;
    if went.set_aside > 0 { Err(Failure::Silent(Code::Failure)) } else { Ok(()) }
}

/// Moves records up to the first one that the store does not take, and puts that one aside if it never will.
async fn move_batch(
    spool: &DiskSpool,
    store: &dyn CaptureStore,
    batch: Vec<Spooled>,
    went: &mut Went,
) -> Result<(), Failure> {
    let positions: Vec<_> = batch.iter().map(|record| record.position).collect();
    let captures = batch.into_iter().map(|record| record.capture).collect();
    let answers = store.capture_batch(captures).await;
    let mut stored = None;
    let mut refused = None;
    for (position, answer) in positions.into_iter().zip(answers) {
        match answer {
            Ok(kept) => {
                stored = Some(position);
                went.drained += 1;
                match kept.disposition {
                    Disposition::New => went.new += 1,
                    Disposition::Merged => went.merged += 1,
                    Disposition::Repeated => went.repeated += 1,
                }
            }
            Err(error) => {
                // Those behind it stay in their order; the store knows the ids of the ones that it took.
                refused = Some((position, error));
                break;
            }
        }
    }
    if let Some(through) = stored {
        spool.remove(through).await?;
    }
    match refused {
        None => Ok(()),
        Some((position, error)) if is_refused(&error) => {
            let reason = Chain(&error).to_string();
            spool.set_aside(position, reason).await?;
            went.set_aside += 1;
            Ok(())
        }
        Some((_, error)) => Err(Failure::new(Code::Unavailable, "the store takes no more of them")
            .because(&error)
            .hint("drain again later: what is left stays in the spool")),
    }
}

/// Whether the store will never take it.
fn is_refused(error: &CaptureError) -> bool {
    match error {
        CaptureError::Invalid(_) => true,
        CaptureError::Backend(error) => {
            error.kind() == BackendKind::Refused && error.outcome() == Outcome::NotApplied
        }
        CaptureError::LimitReached { .. } | _ => false,
    }
}

fn tell(out: &Output, went: &Went) -> Result<(), Failure> {
    if out.is_json() {
        return out.json(went);
    }
    let Went { drained, new: _, merged, repeated, taken_back, set_aside, left } = went;
    let mut text = format!("moved {}", records(*drained));
    let counts = [
        (merged, ", ", "merged"),
        (repeated, ", ", "there before"),
        (taken_back, "; ", "taken back from those put aside"),
        (set_aside, "; ", "refused and put aside"),
        (left, "; ", "left"),
    ];
    for (count, sign, what) in counts.into_iter().filter(|(count, ..)| **count > 0) {
        text.extend([sign, &text::number(*count), " ", what]);
    }
    out.line(&text)
}
