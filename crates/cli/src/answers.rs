//! Answers to lines of input: one line for each, written once per group.

use baldur_http::forms::LineAnswer;
use serde::Serialize;

use crate::{
    exit::{Code, Failure},
    out::Output,
    progress::Progress,
    text,
};

/// Collects the answers of a group, and counts those of the whole run.
#[derive(Debug)]
pub(crate) struct Answers<'a> {
    out: &'a Output,
    progress: Progress,
    lines: String,
    problems: Vec<String>,
    done: u64,
    failed: u64,
}

impl<'a> Answers<'a> {
    /// None so far; `verb` says what is done to entries.
    pub(crate) fn new(out: &'a Output, verb: &'static str) -> Self {
        let progress = Progress::new(out, verb);
        Self { out, progress, lines: String::new(), problems: Vec::new(), done: 0, failed: 0 }
    }

    /// The line did what it should.
    pub(crate) fn good(&mut self, answer: &impl Serialize) -> Result<(), Failure> {
        self.done += 1;
        self.push(answer)
    }

    /// The line did not.
    pub(crate) fn bad(&mut self, line: u64, code: &str, message: &str) -> Result<(), Failure> {
        self.failed += 1;
        if !self.out.is_json() {
            self.problems.push(format!("line {line}: {} ({code})", text::plain(message)));
        }
        self.push(&LineAnswer::refused(line, code, message))
    }

    fn push(&mut self, answer: &impl Serialize) -> Result<(), Failure> {
        if self.out.is_json() {
            let line = serde_json::to_string(answer).map_err(|error| {
                Failure::new(Code::Failure, "an answer can't be written").because(&error)
            })?;
            self.lines.push_str(&line);
            self.lines.push('\n');
        }
        Ok(())
    }

    /// Writes what was collected, in one go.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let Self { out, progress, lines, problems, done, failed } = self;
        progress.at(*done, *failed);
        if problems.is_empty() && lines.is_empty() {
            return Ok(());
        }
        let written = progress.suspend(|| {
            for problem in problems.drain(..) {
                out.error(&problem);
            }
            if lines.is_empty() { Ok(()) } else { out.lines(lines) }
        });
        lines.clear();
        // Who sent lines and can't hear the answers has not been served.
        written.map_err(|failure| match failure {
            Failure::ReaderGone => Failure::Silent(Code::Failure),
            Failure::Said { .. } | Failure::Silent(_) => failure,
        })
    }

    /// Ends the run: a sentence for people, and the failure that it was.
    pub(crate) fn conclude(self, sentence: &str) -> Result<(), Failure> {
        self.progress.finish();
        if !self.out.is_json() {
            let failed = match self.failed {
                0 => String::new(),
                failed => format!("; {} failed", text::number(failed)),
            };
            self.out.line(&format!("{sentence}{failed}"))?;
        }
        if self.failed == 0 { Ok(()) } else { Err(Failure::Silent(Code::Failure)) }
    }
}
