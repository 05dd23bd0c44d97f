//! `baldur spool status`.

use baldur::{
    Clock as _, SystemClock,
    spool::{Inspection, LaneReport, SpoolConfig, inspect},
};
use comfy_table::{Cell, CellAlignment, Color};
use serde::Serialize;

use super::records;
use crate::{exit::Failure, out::Output, table, text};

/// What waits, as programs read it.
#[derive(Serialize)]
struct Status<'a> {
    records: u64,
    bytes: u64,
    max_bytes: u64,
    oldest: Option<String>,
    lanes: Vec<Lane<'a>>,
    quarantined: u64,
    refused: u64,
    refused_bytes: u64,
    max_refused_bytes: u64,
    problems: u64,
}

#[derive(Serialize)]
struct Lane<'a> {
    name: &'a str,
    live: bool,
    records: u64,
    bytes: u64,
    oldest: Option<String>,
    torn: bool,
}

pub(super) async fn run(config: SpoolConfig, out: &Output) -> Result<(), Failure> {
    let found = inspect(config.dir).await?;
    let oldest = found.lanes.iter().filter_map(|lane| lane.oldest).min();
    let status = Status {
        records: found.lanes.iter().map(|lane| lane.records).sum(),
        bytes: found.lanes.iter().map(|lane| lane.bytes).sum(),
        max_bytes: config.max_bytes,
        oldest: oldest.map(|at| at.to_string()),
        lanes: found.lanes.iter().map(lane).collect(),
        quarantined: found.quarantined.len() as u64,
        refused: found.refused,
        refused_bytes: found.refused_bytes,
        max_refused_bytes: config.max_refused_bytes,
        problems: found.problems.len() as u64,
    };
    if out.is_json() { out.json(&status) } else { tell(out, &found, &status) }
}

fn lane(lane: &LaneReport) -> Lane<'_> {
    let oldest = lane.oldest.map(|at| at.to_string());
    let LaneReport { name, live, records, bytes, torn, .. } = lane;
    Lane { name, live: *live, records: *records, bytes: *bytes, oldest, torn: *torn }
}

fn tell(out: &Output, found: &Inspection, status: &Status<'_>) -> Result<(), Failure> {
    if !found.lanes.is_empty() {
        let columns = [("RECORDS", 7), ("BYTES", 7), ("OLDEST", 6), ("PROCESS", 7), ("LANE", 4)];
        let mut table = table::table(out, &columns, true);
        let now = SystemClock.now();
        let right = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
        for lane in &found.lanes {
            let (word, color) =
                if lane.live { ("lives", Color::Green) } else { ("is gone", Color::Yellow) };
            table.add_row([
                right(text::number(lane.records)),
                right(text::number(lane.bytes)),
                right(lane.oldest.map_or_else(String::new, |at| text::age(now.since(at)))),
                table::cell(out, word, color),
                table::cell(out, &lane.name, Color::DarkGrey),
            ]);
        }
        out.lines(&table::render(&mut table))?;
    }
    let Status { records: count, bytes, max_bytes, quarantined, refused, problems, .. } = status;
    let (bytes, max_bytes) = (text::number(*bytes), text::number(*max_bytes));
    out.line(&format!("{} wait, in {bytes} of {max_bytes} bytes", records(*count)))?;
    let (refused_bytes, max) =
        (text::number(status.refused_bytes), text::number(status.max_refused_bytes));
    let aside = format!(
        "put aside, since the store refused them or failed at them, in {refused_bytes} of {max} bytes"
    );
    for (number, what) in [
        (*quarantined, "in quarantine: damaged or foreign files"),
        (*refused, aside.as_str()),
        (*problems, "found by looking; `baldur spool verify` names them"),
    ] {
        if number > 0 {
            out.line(&format!("{} {what}", text::number(number)))?;
        }
    }
    Ok(())
}
