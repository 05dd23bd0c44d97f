//! `baldur spool verify`.

use baldur::spool::{Inspection, Problem, SpoolConfig, inspect};
use serde::Serialize;

use super::records;
use crate::{
    exit::{Code, Failure},
    out::Output,
    text,
};

/// What was found, as programs read it.
#[derive(Serialize)]
struct Found {
    ok: bool,
    records: u64,
    problems: Vec<Wrong>,
    torn_lanes: Vec<String>,
    quarantined: Vec<String>,
    refused: u64,
}

#[derive(Serialize)]
struct Wrong {
    file: String,
    offset: u64,
    what: &'static str,
}

impl From<&Problem> for Wrong {
    fn from(problem: &Problem) -> Self {
        let file = problem.file.display().to_string();
        Self { file, offset: problem.offset, what: problem.what }
    }
}

pub(super) async fn run(config: SpoolConfig, out: &Output) -> Result<(), Failure> {
    let Inspection { lanes, problems, quarantined, refused, .. } = inspect(config.dir).await?;
    let torn = lanes.iter().filter(|lane| lane.torn).map(|lane| lane.name.clone()).collect();
    let found = Found {
        ok: problems.is_empty() && quarantined.is_empty(),
        records: lanes.iter().map(|lane| lane.records).sum(),
        problems: problems.iter().map(Wrong::from).collect(),
        torn_lanes: torn,
        quarantined: quarantined.iter().map(|file| file.display().to_string()).collect(),
        refused,
    };
    if out.is_json() {
        out.json(&found)?;
    } else {
        tell(out, &found)?;
    }
    if found.ok { Ok(()) } else { Err(Failure::Silent(Code::Failure)) }
}

fn tell(out: &Output, found: &Found) -> Result<(), Failure> {
    for Wrong { file, offset, what } in &found.problems {
        out.line(&format!("damaged: {}, at byte {offset}: {what}", text::plain(file)))?;
    }
    for file in &found.quarantined {
        out.line(&format!("in quarantine: {}", text::plain(file)))?;
    }
    for lane in &found.torn_lanes {
        let lane = text::plain(lane);
        out.line(&format!("torn: the last write of {lane}, which was never acknowledged"))?;
    }
    if found.refused > 0 {
        out.line(&format!("refused by the store and kept: {}", records(found.refused)))?;
    }
    let order = if found.ok { "in order" } else { "not in order" };
    out.line(&format!("the spool is {order}; {} can be read", records(found.records)))
}
