//! Bodies, read within bounds of time and memory.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use futures_util::StreamExt as _;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout_at},
};

use crate::{
    problem::{self, Problem},
    state::ApiState,
};

/// A body in memory, and its share of the memory that bodies may have.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

/// Reads a body whole.
pub(crate) async fn read(
    state: &ApiState,
    headers: &HeaderMap,
    body: Body,
) -> Result<Held, Problem> {
    let limits = state.limits();
    let most = limits.body_bytes;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if announced.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > most) {
        return Err(too_large(most));
    }
    let mut held = Held { bytes: Vec::new(), room: None };
    let mut body = body.into_data_stream();
    let until = Instant::now() + limits.request_timeout;
    loop {
        match timeout_at(until, body.next()).await {
            Ok(Some(Ok(piece))) if held.bytes.len() + piece.len() > most => {
                return Err(too_large(most));
            }
            Ok(Some(Ok(piece))) => held.take(state, &piece)?,
            Ok(Some(Err(_))) => {
                return Err(problem::BAD_REQUEST.because("the body can't be read to its end"));
            }
            Ok(None) => return Ok(held),
            Err(_) => return Err(problem::REQUEST_TIMEOUT.because("the body took too long")),
        }
    }
}

impl Held {
    fn take(&mut self, state: &ApiState, piece: &Bytes) -> Result<(), Problem> {
        let kib = |bytes: usize| u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        let more = kib(self.bytes.len() + piece.len()) - kib(self.bytes.len());
        if more > 0 {
            let room = state.buffers().try_acquire_many_owned(more).map_err(|_| {
                let why = "other bodies fill the memory that they may have";
                problem::OVERLOADED.because(why).retry_after(1)
            })?;
            match &mut self.room {
                Some(held) => held.merge(room),
                None => self.room = Some(room),
            }
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }
}

fn too_large(most: usize) -> Problem {
    problem::BODY_TOO_LARGE.because(format!("the body has more than {most} bytes"))
}
