//! Progress on standard error, where a person looks at it.

use std::{fmt, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::{out::Output, text};

/// How far something is. Invisible when standard error is no terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    failed: u64,
}

impl Progress {
    /// Nothing is done yet; `verb` says what is done to entries.
    pub(crate) fn new(out: &Output, verb: &'static str) -> Self {
        let target = if out.messages().terminal {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_prefix(verb);
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {human_pos} {prefix}{msg}  {rate}")
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, failed: 0 }
    }

    /// This many are to be done, if that is known.
    pub(crate) fn expect(&self, total: Option<u64>) {
        let Some(total) = total.filter(|total| *total > 0) else { return };
        self.bar.set_length(total);
        let template = "{bar:30} {human_pos}/{human_len} {prefix}{msg}  {rate}  {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.progress_chars("━━─").with_key("rate", rate));
        }
    }

    /// So many more are done, and so many of them failed.
    pub(crate) fn advance(&mut self, done: u64, failed: u64) {
        self.bar.inc(done);
        self.failed += failed;
        if failed > 0 {
            self.bar.set_message(format!(", {} not done", text::number(self.failed)));
        }
    }

    /// So many are done and so many failed, all in all.
    pub(crate) fn at(&mut self, done: u64, failed: u64) {
        self.bar.set_position(done);
        self.advance(0, failed - self.failed.min(failed));
    }

    /// Writes something else without tearing the bar.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    /// Takes the bar away: what follows is the summary.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn rate(state: &ProgressState, f: &mut dyn fmt::Write) {
    // A terminal that takes no text has bigger troubles than a missing rate.
    let _ = write!(f, "{:.0}/s", state.per_sec());
}
