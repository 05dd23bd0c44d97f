//! How the demo is told: one line for each thing that happened, and a bar while it happens.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::tally::Summary;
use crate::{
    exit::Failure,
    out::{Output, Stream},
};

/// Where the second column begins.
const LABEL: usize = 36;

const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[1;31m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";

fn paint(stream: Stream, style: &str, text: &str) -> String {
    if stream.color { format!("{style}{text}\x1b[0m") } else { text.to_owned() }
}

/// Tells the story on standard error, so that standard output holds the result alone.
#[derive(Debug)]
pub(super) struct Story<'a> {
    out: &'a Output,
}

impl<'a> Story<'a> {
    pub(super) fn new(out: &'a Output) -> Self {
        Self { out }
    }

    /// The first line.
    pub(super) fn title(&self, text: &str) {
        self.out.message(&paint(self.out.messages(), BOLD, text));
    }

    /// Something begins that takes `total` steps, or an unknown number of them for 0.
    pub(super) fn begin(&self, label: &'static str, total: usize) -> Step<'a> {
        let stream = self.out.messages();
        let bar = if stream.terminal {
            let bar = ProgressBar::with_draw_target(
                Some(total as u64),
                ProgressDrawTarget::stderr_with_hz(15),
            );
            bar.set_style(style(total, stream.color));
            bar.set_message(label);
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        } else {
            ProgressBar::hidden()
        };
        Step { out: self.out, label, bar }
    }

    /// Something that was done to the services.
    pub(super) fn event(&self, label: &str, detail: &str) {
        self.line(YELLOW, "!", label, detail);
    }

    /// Something that is well.
    pub(super) fn done(&self, label: &str, detail: &str) {
        self.line(GREEN, "✓", label, detail);
    }

    fn line(&self, style: &str, mark: &str, label: &str, detail: &str) {
        let stream = self.out.messages();
        let detail = paint(stream, DIM, detail);
        self.out.message(&format!("  {} {label:<LABEL$} {detail}", paint(stream, style, mark)));
    }

    /// The result, on standard output.
    pub(super) fn end(&self, summary: &Summary) -> Result<(), Failure> {
        if self.out.is_json() {
            return self.out.json(summary);
        }
        let stream = self.out.data();
        let mut text = String::from("\n");
        for (label, value, remark) in rows(summary) {
            let bad = matches!(label, "lost" | "duplicated") && value != "0";
            let good = matches!(label, "lost" | "duplicated") && value == "0";
            let padded = format!("{value:>8}");
            let value = match (bad, good) {
                (true, _) => paint(stream, RED, &padded),
                (false, true) => paint(stream, GREEN, &padded),
                (false, false) => padded,
            };
            let remark = paint(stream, DIM, &remark);
            text.push_str(format!("  {label:<17}{value}   {remark}").trim_end());
            text.push('\n');
        }
        let broken = summary.broken_promises();
        if broken.is_empty() {
            let verdict = "Nothing was lost, and nothing was charged twice.";
            text.push('\n');
            text.push_str("  ");
            text.push_str(&paint(stream, BOLD, verdict));
            text.push('\n');
        }
        self.out.lines(&text)
    }
}

fn rows(summary: &Summary) -> Vec<(&'static str, String, String)> {
    let Summary {
        orders,
        captured,
        replayed,
        lost,
        duplicated,
        kills,
        charged_at_once,
        merged,
        sent_again,
        charged_unanswered,
        recognised,
        rate_limit,
        busiest_second,
        spooled,
        drained,
        milliseconds,
    } = summary;
    let row = |label, value: u64, remark: &str| (label, value.to_string(), remark.to_owned());
    let rate =
        format!("at {rate_limit}/s; the gateway's busiest second had {busiest_second} calls");
    let merged_of = format!("of {sent_again} that were sent again after a kill");
    let recognised_of =
        format!("by their key; {charged_unanswered} had been charged without an answer");
    let mut rows = vec![
        row("orders", *orders, "answered by checkout with 2xx"),
        row("charged at once", *charged_at_once, ""),
        row("captured", *captured, "accepted for later while the gateway failed"),
        row("merged", *merged, &merged_of),
    ];
    if *spooled > 0 || *drained > 0 {
        rows.push(row("spooled", *spooled, "of the captured; the store did not take them"));
        let brought = "records of the spool, brought to the store when it was back";
        rows.push(row("drained", *drained, brought));
    }
    rows.extend([
        row("replayed", *replayed, &rate),
        row("recognised", *recognised, &recognised_of),
        row("kills", *kills, "of checkout, with SIGKILL"),
        row("lost", *lost, "orders without a charge in the gateway's ledger"),
        row("duplicated", *duplicated, "charges beyond the first of an order"),
        (
            "time",
            format!("{}.{} s", milliseconds / 1_000, milliseconds % 1_000 / 100),
            String::new(),
        ),
    ]);
    rows
}

fn style(total: usize, color: bool) -> ProgressStyle {
    let template = match (total, color) {
        (0, false) => "  {spinner} {msg:36} {elapsed}",
        (0, true) => "  {spinner:.cyan} {msg:36} {elapsed:.dim}",
        (_, false) => "  {spinner} {msg:36} {bar:24} {pos}/{len}",
        (_, true) => "  {spinner:.cyan} {msg:36} {bar:24.cyan/dim} {pos}/{len}",
    };
    // The templates are constants; a wrong one would show the default style.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

/// Something that is going on. Its bar goes away with it.
#[derive(Debug)]
pub(super) struct Step<'a> {
    out: &'a Output,
    label: &'static str,
    bar: ProgressBar,
}

impl Step<'_> {
    /// One more is done.
    pub(super) fn tick(&self) {
        self.bar.inc(1);
    }

    /// All is done: the bar makes way for a line.
    pub(super) fn done(self, detail: &str) {
        let (out, label) = (self.out, self.label);
        drop(self);
        Story { out }.done(label, detail);
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
