//! From a body to prepared lines.

use axum::body::{Body, BodyDataStream, Bytes};
use baldur_app::{CaptureService, Oversize, Who};
use baldur_core::command::Capture;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::keep::put;
use crate::{
    forms::{Line, LineAnswer, LineSplitter, parse_op},
    problem::{self, Problem},
    state::ApiState,
};

/// A chunk is handed on when it has this many lines …
const CHUNK_LINES: usize = 128;

/// … or this many bytes, or when no more input is there at once.
const CHUNK_BYTES: usize = 256 << 10;

/// A line that is ready for the store, or was refused.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The number of the line.
    pub(super) line: u64,
    /// How long the line was.
    pub(super) bytes: usize,
    /// What it says, or why it says nothing that can be kept: a code and words.
    pub(super) capture: Result<Box<Capture>, (&'static str, String)>,
}

/// Prepared lines, or how the input ended.
#[derive(Debug)]
pub(super) enum Step {
    Lines(Vec<Prepared>),
    End(End),
}

/// How the input ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// As it should.
    Done,
    /// It can't be read any further: the caller went away.
    Broken,
    /// This line did not come in time.
    TimedOut(u64),
    /// The server stops, and takes this line no more.
    Stopping(u64),
}

impl End {
    /// What the request comes to when no line was kept.
    pub(super) fn problem(&self) -> Option<Problem> {
        Some(match self {
            Self::Done => return None,
            Self::Broken => problem::BAD_REQUEST.because("the body can't be read to its end"),
            Self::TimedOut(_) => problem::REQUEST_TIMEOUT.because(LATE),
            Self::Stopping(_) => problem::NOT_READY.because(STOPS).retry_after(1),
        })
    }

    /// Says what the caller has to know about lines that were not read.
    pub(super) fn append_to(self, answers: &mut Vec<u8>) {
        let (line, code, message) = match self {
            Self::Done | Self::Broken => return,
            Self::TimedOut(line) => (line, problem::REQUEST_TIMEOUT.code, LATE),
            Self::Stopping(line) => (line, "shutting_down", STOPS),
        };
        put(answers, &LineAnswer::refused(line, code, message));
    }
}

const LATE: &str =
    "the line did not come in time; a stream that has nothing to send keeps alive with blank lines";

const STOPS: &str = "the server stops; send this line and those after it again";

/// The input is not wanted any more.
struct Unwanted;

/// Reads lines until they end or nobody takes them.
pub(super) async fn read(state: ApiState, body: Body, who: Who, steps: mpsc::Sender<Step>) {
    let service = state.parts().capture.clone();
    let mut reader = Reader {
        state,
        service,
        who,
        body: body.into_data_stream(),
        lines: LineSplitter::default(),
        steps,
    };
    if let Ok(end) = reader.all().await {
        // Nobody to tell is nobody to care.
        let _ = reader.steps.send(Step::End(end)).await;
    }
}

struct Reader {
    state: ApiState,
    service: CaptureService,
    who: Who,
    body: BodyDataStream,
    lines: LineSplitter,
    steps: mpsc::Sender<Step>,
}

impl Reader {
    async fn all(&mut self) -> Result<End, Unwanted> {
        let mut until = self.patience();
        loop {
            let piece = if let Some(piece) = self.body.next().now_or_never() {
                piece
            } else {
                // The next piece may take long: what is complete goes out before.
                if self.hand_on().await? {
                    until = self.patience();
                }
                match self.wait(until).await? {
                    Ok(piece) => piece,
                    Err(end) => return Ok(end),
                }
            };
            match piece {
                Some(Ok(piece)) if self.take(&piece).await? => until = self.patience(),
                // Drops don't count: each line has its time, however it is cut.
                Some(Ok(_)) => {}
                Some(Err(_)) => {
                    self.hand_on().await?;
                    return Ok(End::Broken);
                }
                None => {
                    self.lines.end_line();
                    self.hand_on().await?;
                    return Ok(End::Done);
                }
            }
        }
    }

    fn patience(&self) -> Instant {
        Instant::now() + self.state.limits().request_timeout
    }

    /// The next piece of the body, or why there is none.
    async fn wait(
        &mut self,
        until: Instant,
    ) -> Result<Result<Option<Result<Bytes, axum::Error>>, End>, Unwanted> {
        let stopping = self.state.stopping();
        let current = self.lines.current();
        tokio::select! {
            biased;
            () = self.steps.closed() => Err(Unwanted),
            () = stopping.cancelled() => Ok(Err(End::Stopping(current))),
            piece = timeout_at(until, self.body.next()) => {
                Ok(piece.map_err(|_| End::TimedOut(current)))
            }
        }
    }

    /// Takes a piece in; whether a line ended in it.
    async fn take(&mut self, piece: &[u8]) -> Result<bool, Unwanted> {
        let mut rest = piece;
        let mut any = false;
        while !rest.is_empty() {
            let (taken, ended) = self.lines.take_line(rest);
            rest = &rest[taken..];
            any |= ended;
            if self.lines.complete() >= CHUNK_LINES || self.lines.complete_bytes() >= CHUNK_BYTES {
                self.hand_on().await?;
            }
        }
        Ok(any)
    }

    /// Has complete lines prepared, and hands them on. Whether there were any.
    async fn hand_on(&mut self) -> Result<bool, Unwanted> {
        if self.lines.complete() == 0 {
            return Ok(false);
        }
        let lines = self.lines.drain();
        let (service, who) = (self.service.clone(), self.who.clone());
        let preparing = tokio::task::spawn_blocking(move || {
            lines.into_iter().map(|line| prepare(line, &service, &who)).collect()
        });
        // A panic in there has lost lines: the stream is cut, and says so by ending early.
        let prepared = preparing.await.map_err(|_| Unwanted)?;
        self.steps.send(Step::Lines(prepared)).await.map_err(|_| Unwanted)?;
        Ok(true)
    }
}

fn prepare(line: Line, service: &CaptureService, who: &Who) -> Prepared {
    let Line { number, text } = line;
    let bytes = text.as_ref().map_or(0, String::len);
    let capture = text
        .map_err(|bad| (bad.code(), bad.message().to_owned()))
        .and_then(|text| parse_op(&text).map_err(|error| (error.code, error.message)))
        .and_then(|op| {
            let capture = service.prepare(op, who, Oversize::Refuse);
            capture.map(Box::new).map_err(|failure| (failure.code(), failure.to_string()))
        });
    Prepared { line: number, bytes, capture }
}
