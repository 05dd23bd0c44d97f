//! From prepared lines to kept ones, group by group.

use std::time::Duration;

use baldur_app::{CaptureFailure, CaptureMode};
use baldur_core::{
    BackendKind, EntryId, Retry,
    command::Capture,
    port::{CaptureError, Captured},
};
use serde::Serialize;
use tokio::{
    sync::mpsc::{self, error::TryRecvError},
    time::{sleep, timeout},
};

use super::read::{End, Prepared, Step};
use crate::{
    forms::{CaptureAnswer, ErrorAnswer, LineAnswer},
    problem::{Problem, outcome_word},
    state::{ApiState, late},
};

/// The most lines that go to the store at once.
const GROUP_LINES: usize = 500;

/// The most bytes of lines that go to the store at once. A single line may be longer.
const GROUP_BYTES: usize = 4 << 20;

/// How often a group is offered again to a store that is busy, with growing pauses: 2 s in all. Ids are fixed, so
/// nothing is kept twice.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1_500)];

/// Lines that go to the store together, and how the input ended if it did.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) lines: Vec<Prepared>,
    pub(super) end: Option<End>,
}

impl Group {
    /// Waits for lines and takes along what is ready besides.
    pub(super) async fn next(steps: &mut mpsc::Receiver<Step>) -> Self {
        let mut lines = Vec::new();
        let mut bytes = 0;
        let mut next = steps.recv().await;
        loop {
            match next {
                Some(Step::Lines(more)) => {
                    bytes += more.iter().map(|line| line.bytes).sum::<usize>();
                    lines.extend(more);
                }
                Some(Step::End(end)) => return Self { lines, end: Some(end) },
                // The reader is gone without a word.
                None => return Self { lines, end: Some(End::Broken) },
            }
            if lines.len() >= GROUP_LINES || bytes >= GROUP_BYTES {
                return Self { lines, end: None };
            }
            match steps.try_recv() {
                Ok(step) => next = Some(step),
                Err(TryRecvError::Empty) => return Self { lines, end: None },
                Err(TryRecvError::Disconnected) => next = None,
            }
        }
    }
}

/// What became of a group.
#[derive(Debug, Default)]
pub(super) struct Kept {
    /// One line for each.
    pub(super) answers: Vec<u8>,
    /// Whether any line was kept, or refused for what it says while the store was well.
    pub(super) any: bool,
    /// What the store's trouble is, if it is in trouble.
    pub(super) problem: Option<Problem>,
}

/// Hands groups to the store.
pub(super) struct Keeper {
    state: ApiState,
    mode: CaptureMode,
    /// What the store's trouble was: later lines are not tried, or each group would wait for the same timeout.
    lost: Option<&'static str>,
}

const NOT_TRIED: &str = "not tried, since the store failed for a line before; nothing was kept";

impl Keeper {
    pub(super) fn new(state: ApiState, mode: CaptureMode) -> Self {
        Self { state, mode, lost: None }
    }

    /// Keeps a group, and makes an answer for each line, in order.
    pub(super) async fn keep(&mut self, group: Vec<Prepared>) -> Kept {
        let mut lines = Vec::with_capacity(group.len());
        let mut captures = Vec::with_capacity(group.len());
        for Prepared { line, bytes: _, capture } in group {
            match capture {
                Ok(capture) => {
                    lines.push((line, Ok(capture.op.id)));
                    captures.push(*capture);
                }
                Err(refused) => lines.push((line, Err(refused))),
            }
        }
        let before = self.lost;
        let mut stored = match before {
            None => self.store(captures).await,
            Some(_) => Vec::new(),
        }
        .into_iter();
        let mut kept = Kept::default();
        for (line, prepared) in lines {
            let answers = &mut kept.answers;
            let id = match prepared {
                Ok(id) => id,
                Err((code, message)) => {
                    put_error(answers, line, code, &message);
                    continue;
                }
            };
            if let Some(code) = before {
                put_error(answers, line, code, NOT_TRIED);
            } else {
                match stored.next() {
                    Some(Ok(answer)) => {
                        kept.any = true;
                        put(answers, &CaptureAnswer::of(Some(line), &answer));
                    }
                    Some(Err(failure)) => {
                        put_failure(answers, line, id, &failure);
                        if is_store_down(&failure) {
                            self.lost.get_or_insert(failure.code());
                            let problem = || Problem::of_capture(&failure, None);
                            kept.problem.get_or_insert_with(problem);
                        }
                    }
                    None => put_error(answers, line, "other", "the store gave no answer"),
                }
            }
        }
        kept
    }

    /// Has the store keep them. What it could not keep for the moment is offered again.
    async fn store(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureFailure>> {
        let mut answers = self.attempt(captures.clone()).await;
        for pause in PAUSES {
            let open: Vec<usize> =
                (0..answers.len()).filter(|i| is_worth_a_retry(&answers[*i])).collect();
            if open.is_empty() {
                break;
            }
            sleep(pause).await;
            let again = open.iter().map(|index| captures[*index].clone()).collect();
            for (index, answer) in open.into_iter().zip(self.attempt(again).await) {
                answers[index] = answer;
            }
        }
        answers
    }

    async fn attempt(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureFailure>> {
        let asked = captures.len();
        let keeping = self.state.parts().capture.keep_as(captures, self.mode);
        match timeout(self.state.limits().request_timeout, keeping).await {
            Ok(answers) => answers,
            Err(_) => (0..asked)
                // It had all its time: asking again would double the wait.
                .map(|_| Err(CaptureFailure::Store(CaptureError::Backend(late("capture")))))
                .collect(),
        }
    }
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

fn put_error(answers: &mut Vec<u8>, line: u64, code: &str, message: &str) {
    put(answers, &LineAnswer::refused(line, code, message));
}

/// Says what the store made of a line, and how it is sent again without being kept twice.
fn put_failure(answers: &mut Vec<u8>, line: u64, id: EntryId, failure: &CaptureFailure) {
    let message = failure.to_string();
    let outcome = Some(outcome_word(failure.outcome()));
    let error = ErrorAnswer { code: failure.code(), message: &message, outcome };
    put(answers, &LineAnswer { line, id: Some(id.to_string()), error });
}

/// Adds a line. Writing to memory does not fail.
pub(super) fn put(answers: &mut Vec<u8>, answer: &impl Serialize) {
    if serde_json::to_writer(&mut *answers, answer).is_ok() {
        answers.push(b'\n');
    }
}
