//! SIGKILL: what was acknowledged is there afterwards.
//!
//! This program is its own victim: started with `--victim`, it captures for ever and prints each id once it was
//! acknowledged. The tests start victims, kill them at some point, and look for every printed id. A broken twin
//! prints ids before they are acknowledged; the same look must notice it.

use std::{
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    sync::{Arc, mpsc},
};

use baldur_contract::{Captures, ManualClock, StoreUnderTest};
use baldur_core::{
    EntryId, Retry, SystemClock,
    command::Capture,
    name::Namespace,
    port::{CaptureError, CaptureStore, CheckDepth, EntryReader, StoreAdmin},
};
use baldur_sqlite::{SqliteConfig, SqliteStore};
use libtest_mimic::{Arguments, Failed, Trial};

const VICTIM: &str = "--victim";
const TRACED: &str = "--traced";

/// How many captures a victim has under way at a time.
const TASKS: usize = 16;

/// How many captures a traced process makes.
const TRACED_CAPTURES: usize = 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, path, seed, honesty] = arguments.as_slice()
        && flag == VICTIM
    {
        let seed = seed.parse().expect("a seed");
        runtime().block_on(be_victim(Path::new(path), seed, honesty == "honest"));
        return ExitCode::SUCCESS;
    }
    if let [_, flag, path] = arguments.as_slice()
        && flag == TRACED
    {
        runtime().block_on(be_traced(Path::new(path)));
        return ExitCode::SUCCESS;
    }
    let trials = vec![
        Trial::test("acknowledged_captures_survive_a_kill", || each_kill(&[11, 60, 250, 600])),
        Trial::test("captures_of_two_killed_processes_survive", two_victims),
        Trial::test("acknowledging_before_the_commit_is_noticed", the_twin_is_noticed),
        traced(),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

async fn open(path: &Path) -> SqliteStore {
    let config = SqliteConfig::new(path, Namespace::default_namespace());
    SqliteStore::open(config, Arc::new(SystemClock)).await.expect("the file opens")
}

fn captures(store: &SqliteStore, seed: u64) -> Captures {
    let clock = Arc::new(ManualClock::default());
    let close = |store: SqliteStore| async move { store.close().await };
    let namespace = Namespace::default_namespace();
    Captures::new(&StoreUnderTest::new(store.clone(), namespace, clock, close), seed)
}

async fn keep(store: &SqliteStore, capture: Capture) -> Result<(), CaptureError> {
    store.capture_batch(vec![capture]).await.pop().expect("an answer").map(|_| ())
}

/// Captures until it is killed.
async fn be_victim(path: &Path, seed: u64, honest: bool) {
    let store = open(path).await;
    let captures = Arc::new(captures(&store, seed));
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let (store, captures) = (store.clone(), Arc::clone(&captures));
        tasks.push(tokio::spawn(async move {
            loop {
                let capture = captures.an_op().build();
                let id = capture.op.id;
                if !honest {
                    print_line(id);
                }
                // Two victims compete for the file, and who loses for too long is told that it is busy.
                while let Err(error) = keep(&store, capture.clone()).await {
                    assert_eq!(error.retry(), Retry::Backoff, "{error}");
                }
                if honest {
                    print_line(id);
                }
            }
        }));
    }
    // They run until the process is killed; one that panics ends it.
    futures_util::future::select_all(tasks).await.0.expect("no panic");
}

/// Captures a few entries, one after the other, and ends.
async fn be_traced(path: &Path) {
    let store = open(path).await;
    for capture in captures(&store, 4 << 32).ops(TRACED_CAPTURES) {
        let id = capture.op.id;
        keep(&store, capture).await.expect("a capture");
        print_line(id);
    }
}

fn print_line(id: EntryId) {
    let mut out = std::io::stdout().lock();
    // A victim must not outlive the test that reads it.
    writeln!(out, "{id}").and_then(|()| out.flush()).expect("a reader");
}

struct Victim {
    child: Child,
    /// Read by a thread of its own: a victim that nobody listens to would block in the middle of a write, and keep
    /// the file from the other one.
    lines: mpsc::Receiver<String>,
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(path: &Path, seed: u64, honesty: &str) -> Result<Victim, Failed> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(VICTIM)
        .arg(path)
        .args([&seed.to_string(), honesty])
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take().ok_or("no output")?;
    Ok(Victim { child, lines: listen(out) })
}

/// The lines of `out`, until it ends.
fn listen(out: ChildStdout) -> mpsc::Receiver<String> {
    let (heard, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if heard.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Victim {
    /// Kills it after so many lines. Answers every id that it printed, also those that were on their way.
    fn kill_after(mut self, lines: usize) -> Result<Vec<EntryId>, Failed> {
        let mut ids = Vec::new();
        for line in self.lines.iter().take(lines) {
            ids.push(line.parse()?);
        }
        if ids.len() < lines {
            self.child.wait()?;
            return Err(Failed::from("the victim ended by itself"));
        }
        self.child.kill()?;
        self.child.wait()?;
        // The last line may be cut.
        ids.extend(self.lines.iter().filter_map(|line| line.parse::<EntryId>().ok()));
        Ok(ids)
    }
}

/// How many of these are not in the store; also looks the whole store over.
fn missing(path: PathBuf, ids: Vec<EntryId>) -> Result<usize, Failed> {
    runtime().block_on(async move {
        let store = open(&path).await;
        let found = store.find(ids).await?;
        let report = store.check(CheckDepth::Deep).await?;
        store.close().await;
        if report.problems.is_empty() {
            Ok(found.iter().filter(|op| op.is_none()).count())
        } else {
            Err(Failed::from(report.problems.join("; ")))
        }
    })
}

/// Kills one process after the other on the same file.
fn each_kill(kills: &[usize]) -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("baldur.db");
    let mut all = Vec::new();
    for (seed, lines) in (1..).zip(kills) {
        all.extend(start(&path, seed << 32, "honest")?.kill_after(*lines)?);
        match missing(path.clone(), all.clone())? {
            0 => {}
            lost => return Err(Failed::from(format!("{lost} of {} were lost", all.len()))),
        }
    }
    Ok(())
}

fn two_victims() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("baldur.db");
    let one = start(&path, 1 << 32, "honest")?;
    let two = start(&path, 2 << 32, "honest")?;
    let mut all = one.kill_after(80)?;
    all.extend(two.kill_after(160)?);
    match missing(path, all)? {
        0 => Ok(()),
        lost => Err(Failed::from(format!("{lost} were lost"))),
    }
}

fn the_twin_is_noticed() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("baldur.db");
    let ids = start(&path, 3 << 32, "hasty")?.kill_after(100)?;
    match missing(path, ids)? {
        0 => Err(Failed::from("nothing was lost, so this test can't tell a broken store")),
        _ => Ok(()),
    }
}

/// A kill leaves what the kernel has; only the system calls show that it was told to bring it to the disk.
fn traced() -> Trial {
    const NAME: &str = "the_log_is_synced_between_write_and_answer";
    let there = Command::new("strace").arg("--version").output().is_ok_and(|o| o.status.success());
    if there {
        Trial::test(NAME, the_log_is_synced)
    } else {
        Trial::test(NAME, || Ok(())).with_kind("strace is not installed").with_ignored_flag(true)
    }
}

fn the_log_is_synced() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let trace = dir.path().join("trace");
    let ended = Command::new("strace")
        .args(["-f", "-y", "-e", "trace=write,pwrite64,fsync,fdatasync", "-o"])
        .arg(&trace)
        .arg(std::env::current_exe()?)
        .arg(TRACED)
        .arg(dir.path().join("baldur.db"))
        .stdout(Stdio::null())
        .status()?;
    if !ended.success() {
        return Err(Failed::from("the traced process failed, or may not be traced here"));
    }
    let trace = std::fs::read_to_string(trace)?;
    let answers = answers_after_sync(&trace);
    if answers != [true; TRACED_CAPTURES] {
        return Err(Failed::from(format!("answers after a sync: {answers:?}")));
    }
    // The reading of traces can fail: without the syncs every answer is too early.
    let broken: Vec<&str> = trace.lines().filter(|line| !line.contains("sync")).collect();
    if answers_after_sync(&broken.join("\n")).contains(&true) {
        return Err(Failed::from("a trace without syncs looks right"));
    }
    Ok(())
}

/// For each answer in a trace: whether the log was written before, and synced after that.
fn answers_after_sync(trace: &str) -> Vec<bool> {
    let (mut written, mut synced) = (false, false);
    let mut answers = Vec::new();
    for line in trace.lines() {
        // A call that other threads interrupt in the trace is done where it is resumed.
        let sync_is_done = line.contains("sync resumed>")
            || (line.contains("sync(") && line.contains("-wal>") && !line.contains("<unfinished"));
        if sync_is_done {
            synced = true;
        } else if line.contains("pwrite64(") && line.contains("-wal>") {
            (written, synced) = (true, false);
        } else if line.contains("write(1<") {
            answers.push(written && synced);
            written = false;
        }
    }
    answers
}
