//! A stream of operations: lines come in, groups go to the store, answers go back, all at once and all bounded.
//!
//! One part reads lines and has them prepared on another thread; the other has the store keep them and answers in the
//! order of the lines. Who doesn't read answers is not read from any more, and is cut off in the end.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, Response, header},
};
use baldur_app::{CaptureMode, Who};
use futures_util::stream;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::timeout,
};
use tracing::Instrument as _;

use self::{
    keep::{Group, Keeper},
    read::{End, Step},
};
use crate::{
    problem::{self, Problem},
    state::ApiState,
};

mod keep;
mod read;

/// How many prepared chunks may wait for the store.
const PREPARED: usize = 2;

/// How many groups of answers may wait to be read: those of 32 000 lines, when lines come fast.
const ANSWERS: usize = 64;

/// Answers with a stream of lines, or with a problem when nothing at all was kept because of it.
pub(super) async fn answer(
    state: &ApiState,
    body: Body,
    who: Who,
    mode: CaptureMode,
) -> Result<Response<Body>, Problem> {
    let room = state.streams().try_acquire_owned().map_err(|_| {
        let why = "wait for another stream to end, or send single operations";
        problem::TOO_MANY_STREAMS.because(why).retry_after(1)
    })?;
    let (steps, prepared) = mpsc::channel(PREPARED);
    let (answers, to_send) = mpsc::channel(ANSWERS);
    let (start, started) = oneshot::channel();
    let whole = Arc::new(AtomicBool::new(false));
    let writer = Writer {
        state: state.clone(),
        mode,
        start: Some(start),
        answers,
        whole: Arc::clone(&whole),
        _room: room,
    };
    let reading = read::read(state.clone(), body, who, steps);
    let pipeline = async { tokio::join!(reading, writer.run(prepared)) };
    // A task of its own: a group that was handed to the store is seen to its end, also when the caller goes away.
    tokio::spawn(pipeline.in_current_span());
    match started.await {
        Ok(Ok(())) => Ok(response(to_send, whole)),
        Ok(Err(problem)) => Err(problem),
        Err(_) => Err(problem::INTERNAL.because("the stream ended without an answer")),
    }
}

fn response(answers: mpsc::Receiver<Bytes>, whole: Arc<AtomicBool>) -> Response<Body> {
    let lines = stream::unfold(Some((answers, whole)), |open| async {
        let (mut answers, whole) = open?;
        match answers.recv().await {
            Some(lines) => Some((Ok(lines), Some((answers, whole)))),
            None if whole.load(Ordering::Acquire) => None,
            // Ends the connection in the middle of the body: nobody must take this for all answers.
            None => Some((Err(io::Error::other("the stream was cut")), None)),
        }
    });
    let mut response = Response::new(Body::from_stream(lines));
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Has groups kept, and answers them.
struct Writer {
    state: ApiState,
    mode: CaptureMode,
    /// Who waits for the head of the response.
    start: Option<oneshot::Sender<Result<(), Problem>>>,
    answers: mpsc::Sender<Bytes>,
    whole: Arc<AtomicBool>,
    _room: OwnedSemaphorePermit,
}

impl Writer {
    async fn run(mut self, mut prepared: mpsc::Receiver<Step>) {
        let mut keeper = Keeper::new(self.state.clone(), self.mode);
        loop {
            let Some(Group { lines, end }) = self.next_group(&mut prepared).await else { return };
            let kept = keeper.keep(lines).await;
            let mut answers = kept.answers;
            if let Some(end) = &end {
                end.append_to(&mut answers);
            }
            let nothing = kept.problem.or_else(|| end.as_ref().and_then(End::problem));
            if let Some(start) = self.start.take() {
                let begun = match nothing {
                    Some(problem) if !kept.any => Err(problem),
                    None if answers.is_empty() => {
                        Err(problem::EMPTY_BODY.because("send one JSON object a line"))
                    }
                    Some(_) | None => Ok(()),
                };
                let goes_on = begun.is_ok();
                if start.send(begun).is_err() || !goes_on {
                    return;
                }
            }
            if !self.send(answers).await {
                return;
            }
            match end {
                None => {}
                Some(End::Broken) => return,
                Some(End::Done | End::TimedOut(_) | End::Stopping(_)) => {
                    self.whole.store(true, Ordering::Release);
                    return;
                }
            }
        }
    }

    /// The next lines; `None` when the caller is gone.
    async fn next_group(&self, prepared: &mut mpsc::Receiver<Step>) -> Option<Group> {
        tokio::select! {
            biased;
            () = self.answers.closed() => None,
            group = Group::next(prepared) => Some(group),
        }
    }

    /// Whether somebody still listens.
    async fn send(&self, answers: Vec<u8>) -> bool {
        if answers.is_empty() {
            return true;
        }
        let sending = self.answers.send(answers.into());
        matches!(timeout(self.state.limits().request_timeout, sending).await, Ok(Ok(())))
    }
}
