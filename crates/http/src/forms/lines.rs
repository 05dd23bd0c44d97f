//! Lines out of bytes that come piece by piece, with a bound on everything.

use std::mem;

/// The longest line: 16 MiB. A longer one is skipped and reported.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// A line of input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1.
    pub number: u64,
    /// What it says.
    pub text: Result<String, BadLine>,
}

/// Why a line can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLine {
    /// It is longer than [`MAX_LINE_BYTES`].
    TooLong,
    /// It is not UTF-8.
    NotUtf8,
}

impl BadLine {
    /// The stable name for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooLong => "line_too_long",
            Self::NotUtf8 => "not_utf8",
        }
    }

    /// The words for people.
    pub const fn message(self) -> &'static str {
        match self {
            Self::TooLong => "the line is longer than 16 MiB",
            Self::NotUtf8 => "the line is not UTF-8",
        }
    }
}

/// Puts lines together. Blank lines are counted and left out.
#[derive(Debug, Default)]
pub struct LineSplitter {
    lines: Vec<Line>,
    bytes: usize,
    number: u64,
    line: Vec<u8>,
    too_long: bool,
}

impl LineSplitter {
    /// Takes bytes up to the end of the next line, or all of them. Returns how many, and whether a line ended.
    pub fn take_line(&mut self, bytes: &[u8]) -> (usize, bool) {
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.append(&bytes[..end]);
            self.end_line();
            (end + 1, true)
        } else {
            self.append(bytes);
            (bytes.len(), false)
        }
    }

    fn append(&mut self, part: &[u8]) {
        if self.too_long || self.line.len() + part.len() > MAX_LINE_BYTES {
            self.too_long = true;
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    /// Ends the line that was begun. At the end of the input, a last line needs no line feed.
    pub fn end_line(&mut self) {
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

    /// How many lines are complete.
    pub fn complete(&self) -> usize {
        self.lines.len()
    }

    /// How many bytes the complete lines have.
    pub fn complete_bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the line that is being put together.
    pub fn current(&self) -> u64 {
        self.number + 1
    }

    /// Hands out the complete lines.
    pub fn drain(&mut self) -> Vec<Line> {
        self.bytes = 0;
        mem::take(&mut self.lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<Line> {
        let mut splitter = LineSplitter::default();
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let (taken, _) = splitter.take_line(rest);
                rest = &rest[taken..];
            }
        }
        splitter.end_line();
        splitter.drain()
    }

    fn line(number: u64, text: &str) -> Line {
        Line { number, text: Ok(text.to_owned()) }
    }

    #[test]
    fn lines_are_numbered_and_blank_ones_left_out() {
        assert_eq!(lines(&[b"a\r\n\n  \nb"]), [line(1, "a\r"), line(4, "b")]);
        assert_eq!(lines(&[]), []);
    }

    #[test]
    fn where_the_input_is_cut_makes_no_difference() {
        let input = "eins\n\nzw\u{f6}lf\nx".as_bytes();
        let whole = lines(&[input]);
        for cut in 0..input.len() {
            assert_eq!(lines(&[&input[..cut], &input[cut..]]), whole, "{cut}");
        }
        assert_eq!(lines(&input.chunks(1).collect::<Vec<_>>()), whole);
    }

    #[test]
    fn a_bad_line_does_not_hide_the_next() {
        let mut input = vec![b'x'; MAX_LINE_BYTES + 1];
        input.extend(b"\n\xff\xfe\nok\n");
        let read = lines(&[&input]);
        assert_eq!(read[0], Line { number: 1, text: Err(BadLine::TooLong) });
        assert_eq!(read[1], Line { number: 2, text: Err(BadLine::NotUtf8) });
        assert_eq!(read[2], line(3, "ok"));
        let longest = vec![b'x'; MAX_LINE_BYTES];
        assert!(lines(&[&longest])[0].text.is_ok());
    }
}
