//! The disk of store and spool fills up, and later has room again.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use baldur_app::{CaptureMode, Who};
use baldur_core::{EntryId, NewFailedOp};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::{Instant, sleep};

use crate::{
    Failure, PATIENCE,
    faults::Hold,
    look,
    place::Place,
    stack::{Faults, Stack},
};

/// The size of the small file system, and of the same one when it has room again.
const SMALL: &str = "size=6m";
const LARGE: &str = "size=256m";
/// How long a file may get where no file system can be mounted, and how many bytes the spool may have.
const SMALL_FILE: u64 = 2 << 20;
/// Room for what one record of a small load needs, many times over.
const PAYLOAD: usize = 8 * 1024;
/// How many refusals in a row show that the disk is full.
const ENOUGH: usize = 20;

/// How it went.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct Report {
    /// What filled up.
    pub(crate) disk: &'static str,
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
        let Self { disk, acknowledged, acknowledged_after, refusals, lost } = self;
        let refusals: Vec<&str> = refusals.iter().map(String::as_str).collect();
        [
            format!("  {:<22}{disk}", "full was"),
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

/// What fills up: a small file system where one can be mounted, else files that may not grow.
enum Disk<'p> {
    Mounted(&'p Path),
    Limited(Rlimit),
}

impl<'p> Disk<'p> {
    fn on(dir: &'p Path) -> Self {
        if mount(&["-t", "tmpfs", "-o", SMALL, "tmpfs"], dir) {
            Self::Mounted(dir)
        } else {
            Self::Limited(getrlimit(Resource::Fsize))
        }
    }

    /// Lets it be full soon. The program is started so that it ignores SIGXFSZ, and writes fail instead.
    fn shrink(&self) -> Result<(), Failure> {
        match self {
            Self::Mounted(_) => Ok(()),
            Self::Limited(before) => {
                let limit = Rlimit { current: Some(SMALL_FILE), maximum: before.maximum };
                Ok(setrlimit(Resource::Fsize, limit)?)
            }
        }
    }

    fn grow(&self) -> Result<(), Failure> {
        match self {
            Self::Mounted(dir) if mount(&["-o", &format!("remount,{LARGE}")], dir) => Ok(()),
            Self::Mounted(_) => Err("the small file system can't be made larger".into()),
            Self::Limited(before) => Ok(setrlimit(Resource::Fsize, *before)?),
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Mounted(_) => "a small file system",
            Self::Limited(_) => "a limit on the size of files",
        }
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        if let Self::Mounted(dir) = self {
            // Lazily: a file that is still open doesn't keep the directory from being removed.
            let _ = Command::new("umount").arg("-l").arg(dir).status();
        }
    }
}

fn mount(arguments: &[&str], dir: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(arguments).arg(dir).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Fills the disk under store and spool, makes room, and looks for everything that was acknowledged.
pub(crate) async fn run(place: &Place) -> Result<Report, Failure> {
    let disk = Disk::on(place.dir());
    let faults = Faults { spool_bytes: Some(SMALL_FILE), hold: Hold::new(None, 0), twin: None };
    let stack = Stack::open(place, CaptureMode::Sync, faults).await?;
    disk.shrink()?;
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
    let seen = look::at(place).await?;
    let lost = there.iter().filter(|id| !seen.entries.contains_key(*id)).count();
    Ok(Report { disk: disk.kind(), acknowledged, acknowledged_after, refusals, lost })
}

/// Starts this program again, by a shell that has it ignore the signal for files that are too long.
pub(crate) fn run_prepared(json: bool) -> Result<bool, Failure> {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]);
    command.arg(std::env::current_exe()?).args(["full-disk", "--prepared"]);
    if json {
        command.arg("--json");
    }
    Ok(command.status()?.success())
}

async fn capture(stack: &Stack) -> Result<EntryId, String> {
    let op = NewFailedOp::new("payment", "TIMEOUT")
        .request_data(format!(r#"{{"ballast":"{}"}}"#, "b".repeat(PAYLOAD)));
    let answer = stack.capture.capture(op, &Who::system()).await;
    answer.map(|captured| captured.id).map_err(|failure| failure.code().to_owned())
}
