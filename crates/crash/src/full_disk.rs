//! The disk of store and spool fills up, and later has room again.

use std::{collections::BTreeSet, path::Path, process::Command, time::Duration};

use baldur_app::{CaptureMode, Who};
use baldur_core::{EntryId, NewFailedOp};
use tokio::time::{Instant, sleep};

use crate::{
    Failure, PATIENCE,
    faults::Hold,
    look,
    stack::{Faults, Stack},
};

/// The size of the small file system, and of the same one when it has room again.
const SMALL: &str = "size=6m";
const LARGE: &str = "size=256m";
/// Room for what one record of a small load needs, many times over.
const PAYLOAD: usize = 8 * 1024;
/// How many refusals in a row show that the disk is full.
const ENOUGH: usize = 20;

/// How it went.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Report {
    /// Acknowledged before the disk was full, and after it had room again.
    pub(crate) acknowledged: usize,
    pub(crate) acknowledged_after: usize,
    /// What callers were told when it was full, each kind once.
    pub(crate) refusals: BTreeSet<String>,
    /// Acknowledged and not there.
    pub(crate) lost: usize,
}

impl Report {
    pub(crate) fn is_good(&self) -> bool {
        self.lost == 0 && !self.refusals.is_empty() && self.acknowledged_after > 0
    }

    /// The report for people.
    pub(crate) fn table(&self) -> String {
        let Self { acknowledged, acknowledged_after, refusals, lost } = self;
        let refusals: Vec<&str> = refusals.iter().map(String::as_str).collect();
        [
            format!(
                "  {:<22}{acknowledged}, and {acknowledged_after} when there was room again",
                "acknowledged"
            ),
            format!("  {:<22}{}", "told when full", refusals.join("; ")),
            format!("  {:<22}{lost}", "lost"),
        ]
        .join("\n")
    }
}

/// A file system in memory, mounted for as long as this lives.
struct Mounted<'p>(&'p Path);

impl<'p> Mounted<'p> {
    fn on(dir: &'p Path) -> Result<Self, Failure> {
        mount(&["-t", "tmpfs", "-o", SMALL, "tmpfs"], dir)?;
        Ok(Self(dir))
    }

    fn grow(&self) -> Result<(), Failure> {
        mount(&["-o", &format!("remount,{LARGE}")], self.0)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily: a file that is still open doesn't keep the directory from being removed.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

fn mount(arguments: &[&str], dir: &Path) -> Result<(), Failure> {
    let status = Command::new("mount").args(arguments).arg(dir).status()?;
    if status.success() {
        Ok(())
    } else {
        Err("a file system can't be mounted; this needs root, or `unshare --user --map-root-user --mount`".into())
    }
}

/// Fills the disk under `dir`, makes room, and looks for everything that was acknowledged.
pub(crate) async fn run(dir: &Path) -> Result<Report, Failure> {
    let disk = Mounted::on(dir)?;
    let faults = Faults { hold: Hold::new(None, 0), twin: None };
    let stack = Stack::open(dir, CaptureMode::Sync, faults).await?;
    let mut there = BTreeSet::new();
    let mut refusals = BTreeSet::new();
    let mut in_a_row = 0;
    while in_a_row < ENOUGH {
        match capture(&stack).await {
            Ok(id) => {
                there.insert(id);
                in_a_row = 0;
            }
            Err(why) => {
                refusals.insert(why);
                in_a_row += 1;
            }
        }
    }
    let acknowledged = there.len();
    disk.grow()?;
    let patience = Instant::now() + PATIENCE;
    let mut acknowledged_after = 0;
    while acknowledged_after < ENOUGH {
        if Instant::now() > patience {
            return Err("nothing was kept although the disk has room again".into());
        }
        match capture(&stack).await {
            Ok(id) => {
                there.insert(id);
                acknowledged_after += 1;
            }
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    stack.settle().await?;
    let seen = look::at(dir).await?;
    let lost = there.iter().filter(|id| !seen.entries.contains_key(*id)).count();
    Ok(Report { acknowledged, acknowledged_after, refusals, lost })
}

async fn capture(stack: &Stack) -> Result<EntryId, String> {
    let op = NewFailedOp::new("payment", "TIMEOUT")
        .request_data(format!(r#"{{"ballast":"{}"}}"#, "b".repeat(PAYLOAD)));
    let answer = stack.capture.capture(op, &Who::system()).await;
    answer.map(|captured| captured.id).map_err(|failure| failure.code().to_owned())
}
