//! Standard input, line by line, with a bound on everything.

use std::{
    io::{self, BufRead, BufReader, Read},
    mem, thread,
};

use tokio::sync::mpsc;

/// The longest line: 16 MiB. A longer one is skipped and reported.
pub(crate) const MAX_LINE_BYTES: usize = 16 << 20;

/// A chunk is handed on when it has this many lines …
const CHUNK_LINES: usize = 128;

/// … or this many bytes, or when no more input is there at once.
const CHUNK_BYTES: usize = 256 << 10;

/// How many chunks may wait.
const CHUNKS: usize = 4;

/// How much is asked of the system at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// A line of input.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Counted from 1.
    pub(crate) number: u64,
    /// What it says.
    pub(crate) text: Result<String, BadLine>,
}

/// Why a line can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadLine {
    /// It is longer than [`MAX_LINE_BYTES`].
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
}

impl BadLine {
    /// The stable name for programs.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "line_too_long",
            Self::NotUtf8 => "not_utf8",
        }
    }

    /// The words for people.
    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::TooLong => "the line is longer than 16 MiB",
            Self::NotUtf8 => "the line is not UTF-8",
        }
    }
}

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
    let mut chunk = Chunks::default();
    loop {
        let buffer = match input.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let _ = chunk.hand_on(&mut give) && give(Err(error));
                return;
            }
        };
        if buffer.is_empty() {
            chunk.end_line();
            chunk.hand_on(&mut give);
            return;
        }
        let length = buffer.len();
        for part in buffer.split_inclusive(|byte| *byte == b'\n') {
            match part.split_last() {
                Some((b'\n', text)) => {
                    chunk.append(text);
                    chunk.end_line();
                    if chunk.is_full() && !chunk.hand_on(&mut give) {
                        return;
                    }
                }
                _ => chunk.append(part),
            }
        }
        input.consume(length);
        // The next read may wait: what is complete goes out before.
        if !chunk.hand_on(&mut give) {
            return;
        }
    }
}

/// Lines in the making.
#[derive(Default)]
struct Chunks {
    lines: Vec<Line>,
    bytes: usize,
    number: u64,
    line: Vec<u8>,
    too_long: bool,
}

impl Chunks {
    fn append(&mut self, part: &[u8]) {
        if self.too_long || self.line.len() + part.len() > MAX_LINE_BYTES {
            self.too_long = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end_line(&mut self) {
        let line = mem::take(&mut self.line);
        self.number += 1;
        let text = if mem::take(&mut self.too_long) {
            Err(BadLine::TooLong)
        } else if line.trim_ascii().is_empty() {
            return;
        } else {
            self.bytes += line.len();
            String::from_utf8(line).map_err(|_| BadLine::NotUtf8)
        };
        self.lines.push(Line { number: self.number, text });
    }

    fn is_full(&self) -> bool {
        self.lines.len() >= CHUNK_LINES || self.bytes >= CHUNK_BYTES
    }

    /// Whether there is somebody to hand on to.
    fn hand_on(&mut self, give: &mut impl FnMut(Chunk) -> bool) -> bool {
        self.bytes = 0;
        self.lines.is_empty() || give(Ok(mem::take(&mut self.lines)))
    }
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
    fn a_bad_line_does_not_hide_the_next() {
        let mut input = vec![b'x'; MAX_LINE_BYTES + 1];
        input.extend(b"\n\xff\xfe\nok\n");
        let read = lines(&input);
        assert_eq!(read[0], Line { number: 1, text: Err(BadLine::TooLong) });
        assert_eq!(read[1], Line { number: 2, text: Err(BadLine::NotUtf8) });
        assert_eq!(read[2], line(3, "ok"));
        let longest = vec![b'x'; MAX_LINE_BYTES];
        assert!(lines(&longest)[0].text.is_ok());
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
