//! From lines to captures, on a thread of its own, so that the store never waits for it.

use std::{io, thread};

use baldur::{CaptureService, Chain, Oversize, Who, command::Capture};
use baldur_http::forms::{Line, parse_op};
use tokio::sync::mpsc;

use crate::lines::Chunk;

/// How many prepared chunks may wait for the store.
const PREPARED: usize = 4;

/// A line that is ready for the store, or was refused.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The number of the line.
    pub(super) line: u64,
    /// How long the line was.
    pub(super) bytes: usize,
    /// What it says.
    pub(super) capture: Result<Box<Capture>, Refused>,
}

/// A line that says nothing that can be kept.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: &'static str,
    pub(super) message: String,
}

/// Prepared lines, or how the input ended.
#[derive(Debug)]
pub(super) enum Step {
    /// Lines, in their order.
    Lines(Vec<Prepared>),
    /// The input is at its end.
    End,
    /// A line was refused, and nothing after it is wanted.
    Stopped,
    /// The input can't be read any further.
    Broken(io::Error),
}

/// Prepares lines until the input ends or nobody takes them any more.
pub(super) fn start(
    mut input: mpsc::Receiver<Chunk>,
    service: CaptureService,
    who: Who,
    strict: bool,
) -> io::Result<mpsc::Receiver<Step>> {
    let (sender, receiver) = mpsc::channel(PREPARED);
    thread::Builder::new().name("prepare".to_owned()).spawn(move || {
        loop {
            let (step, last) = match input.blocking_recv() {
                None => (Step::End, true),
                Some(Err(error)) => (Step::Broken(error), true),
                Some(Ok(lines)) => {
                    let (prepared, refused) = prepare(lines, &service, &who, strict);
                    if sender.blocking_send(Step::Lines(prepared)).is_err() {
                        return;
                    }
                    (Step::Stopped, refused)
                }
            };
            if last {
                // Nobody to tell is nobody to care.
                let _ = sender.blocking_send(step);
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// The prepared lines, and whether to stop after them.
fn prepare(
    lines: Vec<Line>,
    service: &CaptureService,
    who: &Who,
    strict: bool,
) -> (Vec<Prepared>, bool) {
    let mut prepared = Vec::with_capacity(lines.len());
    for line in lines {
        let one = one(line, service, who);
        let refused = one.capture.is_err();
        prepared.push(one);
        if strict && refused {
            return (prepared, true);
        }
    }
    (prepared, false)
}

fn one(line: Line, service: &CaptureService, who: &Who) -> Prepared {
    let Line { number, text } = line;
    let bytes = text.as_ref().map_or(0, String::len);
    let capture = text
        .map_err(|bad| Refused { code: bad.code(), message: bad.message().to_owned() })
        .and_then(|text| {
            parse_op(&text).map_err(|error| Refused { code: error.code, message: error.message })
        })
        .and_then(|op| {
            let capture = service.prepare(op, who, Oversize::Refuse);
            capture.map(Box::new).map_err(|failure| Refused {
                code: failure.code(),
                message: Chain(&failure).to_string(),
            })
        });
    Prepared { line: number, bytes, capture }
}
