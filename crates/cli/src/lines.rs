//! Standard input, line by line, with a bound on everything.

use std::{
    io::{self, BufRead, BufReader, Read},
    thread,
};

use baldur_http::forms::{Line, LineSplitter};
use tokio::sync::mpsc;

/// A chunk is handed on when it has this many lines …
const CHUNK_LINES: usize = 128;

/// … or this many bytes, or when no more input is there at once.
const CHUNK_BYTES: usize = 256 << 10;

/// How many chunks may wait.
const CHUNKS: usize = 4;

/// How much is asked of the system at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Lines that were there together, or why there are no more.
pub(crate) type Chunk = Result<Vec<Line>, io::Error>;

/// Reads standard input on a thread of its own until its end, or until nobody takes chunks any more.
///
/// The thread is not joined: it may wait for input for ever, and ends with the process.
pub(crate) fn stdin() -> io::Result<mpsc::Receiver<Chunk>> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        read(io::stdin(), |chunk| sender.blocking_send(chunk).is_ok());
    })?;
    Ok(receiver)
}

/// Reads lines and hands them on in chunks, as long as `give` takes them. Blank lines are counted and left out.
fn read(input: impl Read, mut give: impl FnMut(Chunk) -> bool) {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let mut lines = LineSplitter::default();
    loop {
        let mut buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let _ = hand_on(&mut lines, &mut give) && give(Err(error));
                return;
            }
        };
        if buffer.is_empty() {
            lines.end_line();
            hand_on(&mut lines, &mut give);
            return;
        }
        let length = buffer.len();
        while !buffer.is_empty() {
            let (taken, _) = lines.take_line(buffer);
            buffer = &buffer[taken..];
            let full = lines.complete() >= CHUNK_LINES || lines.complete_bytes() >= CHUNK_BYTES;
            if full && !hand_on(&mut lines, &mut give) {
                return;
            }
        }
        input.consume(length);
        // The next read may wait: what is complete goes out before.
        if !hand_on(&mut lines, &mut give) {
            return;
        }
    }
}

/// Whether there is somebody to hand on to.
fn hand_on(lines: &mut LineSplitter, give: &mut impl FnMut(Chunk) -> bool) -> bool {
    lines.complete() == 0 || give(Ok(lines.drain()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        read(input, |chunk| {
            lines.extend(chunk.expect("a slice can be read"));
            true
        });
        lines
    }

    fn line(number: u64, text: &str) -> Line {
        Line { number, text: Ok(text.to_owned()) }
    }

    #[test]
    fn lines_are_numbered_and_blank_ones_left_out() {
        assert_eq!(lines(b"a\r\n\n  \nb"), [line(1, "a\r"), line(4, "b")]);
        assert_eq!(lines(b""), []);
    }

    #[test]
    fn chunks_are_bounded_and_reading_stops_when_nobody_takes_them() {
        let input = "x\n".repeat(10 * CHUNK_LINES);
        let mut chunks = 0;
        read(input.as_bytes(), |chunk| {
            assert!(chunk.expect("readable").len() <= CHUNK_LINES);
            chunks += 1;
            chunks < 3
        });
        assert_eq!(chunks, 3);
    }
}
