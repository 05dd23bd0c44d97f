//! Many operations, from standard input to the store in bounded groups.
//!
//! Three stages work at once: a thread reads, a thread parses and prepares, and this task has the store keep. A group
//! goes to the store when it is full or when nothing more is ready, so a slow producer is answered promptly
//! and a fast one gets large groups.

use std::time::Duration;

use baldur::{
    BackendKind, CaptureFailure, Chain, Retry,
    command::Capture,
    port::{CaptureError, Captured, Disposition},
};
use baldur_http::forms::CaptureAnswer;
use tokio::sync::mpsc;

use super::prepare::{self, Prepared, Step};
use crate::{
    answers::Answers,
    exit::{Code, Failure, HasCode as _},
    lines,
    out::Output,
    session::Session,
    text,
};

/// The most lines that go to the store at once.
const GROUP_LINES: usize = 500;

/// The most bytes of lines that go to the store at once. A single line may be longer.
const GROUP_BYTES: usize = 4 << 20;

/// How often a group is offered again to a store that is busy, with growing pauses: 20 s in all.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1_500),
    Duration::from_secs(3),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// What became of the lines that were kept.
#[derive(Default)]
struct Tally {
    new: u64,
    repeated: u64,
    merged: u64,
}

pub(super) async fn run(strict: bool, session: &Session, out: &Output) -> Result<(), Failure> {
    if out.input_is_terminal() {
        out.message("reading operations from the terminal, one JSON object a line; Ctrl-D ends");
    }
    let no_thread =
        |error| Failure::new(Code::Failure, "no thread could be started").because(&error);
    let input = lines::stdin().map_err(no_thread)?;
    let service = session.baldur.capture().clone();
    let mut steps =
        prepare::start(input, service, session.who.clone(), strict).map_err(no_thread)?;
    let mut answers = Answers::new(out, "captured");
    let mut tally = Tally::default();
    let mut broken = None;
    let mut over = false;
    while !over {
        let (group, end) = next_group(&mut steps).await;
        let kept = keep(session, group, &mut answers, &mut tally).await?;
        answers.flush()?;
        let refused_in_strict = strict && kept.refused;
        if let Some(failure) = kept.store_down {
            broken = Some(failure);
        } else if let Some(Step::Broken(error)) = &end {
            broken =
                Some(Failure::new(Code::Failure, "standard input can't be read").because(error));
        }
        over = end.is_some() || refused_in_strict || broken.is_some();
    }
    let concluded = answers.conclude(&tally.sentence());
    broken.map_or(concluded, Err)
}

/// Waits for lines and takes along what is ready besides. Ends with the step that ended the input.
async fn next_group(steps: &mut mpsc::Receiver<Step>) -> (Vec<Prepared>, Option<Step>) {
    let mut group = Vec::new();
    let mut bytes = 0;
    let mut next = steps.recv().await;
    loop {
        match next {
            Some(Step::Lines(lines)) => {
                bytes += lines.iter().map(|line| line.bytes).sum::<usize>();
                group.extend(lines);
            }
            Some(end @ (Step::End | Step::Stopped | Step::Broken(_))) => return (group, Some(end)),
            None => {
                let lost = std::io::Error::other("the thread that prepares lines is gone");
                return (group, Some(Step::Broken(lost)));
            }
        }
        if group.len() >= GROUP_LINES || bytes >= GROUP_BYTES {
            return (group, None);
        }
        match steps.try_recv() {
            Ok(step) => next = Some(step),
            Err(mpsc::error::TryRecvError::Empty) => return (group, None),
            Err(mpsc::error::TryRecvError::Disconnected) => next = None,
        }
    }
}

/// How a group went.
#[derive(Default)]
struct Kept {
    refused: bool,
    store_down: Option<Failure>,
}

async fn keep(
    session: &Session,
    group: Vec<Prepared>,
    answers: &mut Answers<'_>,
    tally: &mut Tally,
) -> Result<Kept, Failure> {
    let mut lines = Vec::with_capacity(group.len());
    let mut captures = Vec::with_capacity(group.len());
    for Prepared { line, bytes: _, capture } in group {
        match capture {
            Ok(capture) => {
                captures.push(*capture);
                lines.push((line, None));
            }
            Err(refused) => lines.push((line, Some(refused))),
        }
    }
    let mut stored = store(session, captures).await.into_iter();
    let mut kept = Kept::default();
    for (line, refused) in lines {
        if let Some(refused) = refused {
            kept.refused = true;
            answers.bad(line, refused.code, &refused.message)?;
            continue;
        }
        match stored.next() {
            Some(Ok(answer)) => {
                tally.count(answer.disposition);
                answers.good(&CaptureAnswer::of(Some(line), &answer))?;
            }
            Some(Err(failure)) => {
                kept.refused = true;
                answers.bad(line, failure.code(), &Chain(&failure).to_string())?;
                if is_store_down(&failure) {
                    kept.store_down.get_or_insert_with(|| {
                        Failure::new(failure.exit_code(), "the store keeps nothing any more")
                            .because(&failure)
                            .hint("lines without an id in the answers were not kept, or it is not known: give lines ids or dedup keys, and run them again")
                    });
                }
            }
            None => answers.bad(line, "other", "the store gave no answer")?,
        }
    }
    Ok(kept)
}

/// Has the store keep them. What it could not keep for the moment is offered again: the ids are fixed, so nothing is
/// kept twice.
async fn store(session: &Session, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureFailure>> {
    let service = session.baldur.capture();
    let mut answers = service.keep(captures.clone()).await;
    for pause in PAUSES {
        let open: Vec<usize> =
            (0..answers.len()).filter(|i| is_worth_a_retry(&answers[*i])).collect();
        if open.is_empty() {
            break;
        }
        tokio::time::sleep(pause).await;
        let again = open.iter().map(|index| captures[*index].clone()).collect();
        for (index, answer) in open.into_iter().zip(service.keep(again).await) {
            answers[index] = answer;
        }
    }
    answers
}

fn is_worth_a_retry(answer: &Result<Captured, CaptureFailure>) -> bool {
    answer.as_ref().is_err_and(|failure| failure.retry() == Retry::Backoff)
}

/// Whether the store, and not the line, is the trouble.
fn is_store_down(failure: &CaptureFailure) -> bool {
    match failure {
        CaptureFailure::Store(CaptureError::Backend(error)) => error.kind() != BackendKind::Refused,
        CaptureFailure::Store(_) | CaptureFailure::Refused(_) | _ => false,
    }
}

impl Tally {
    fn count(&mut self, disposition: Disposition) {
        match disposition {
            Disposition::New => self.new += 1,
            Disposition::Repeated => self.repeated += 1,
            Disposition::Merged => self.merged += 1,
        }
    }

    fn sentence(&self) -> String {
        let Self { new, repeated, merged } = self;
        let more = [(*repeated, "were there before"), (*merged, "merged")];
        let more = more.iter().filter(|(count, _)| *count > 0);
        let more = more.map(|(count, what)| format!(", {} {what}", text::number(*count)));
        format!("captured {}{}", text::entries(*new), more.collect::<String>())
    }
}
