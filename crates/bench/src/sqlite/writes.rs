//! Captures, claims and settles.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use baldur_core::{Clock as _, SystemClock};

use super::{AGAINST, BATCH, Pair, STORE};
use crate::{
    args::Plan,
    figures::{Figure, Rounds, per_second},
    load::Load,
    ours::Failure,
};

const CLIENTS: usize = 64;

pub(super) async fn capture(plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let mut single = Rounds::rate(STORE, "capture one by one", AGAINST);
    let mut concurrent =
        Rounds::rate(STORE, "capture from 64 at once", "raw sqlx, 64 rows a commit").target(0.7);
    let mut batch =
        Rounds::rate(STORE, "capture in batches of 500", "raw sqlx, 500 rows a commit").target(0.6);
    let mut commits = Vec::new();
    for _ in 0..plan.rounds {
        let mut load = Load::new();
        let mut pair = Pair::fresh().await?;
        let count = plan.single_ops;
        let ours = pair.ports().capture(load.take(count), 1).await?;
        let limit = pair.raw.capture(&load.take(count), 1).await?;
        single.add(per_second(count, ours), per_second(count, limit));

        let count = plan.batch_ops;
        let before = pair.store.stats().commits;
        let ours = pair.ports().capture_concurrently(load.take(count), CLIENTS).await?;
        commits.push(captures_per_commit(count, pair.store.stats().commits - before));
        let limit = pair.raw.capture(&load.take(count), CLIENTS).await?;
        concurrent.add(per_second(count, ours), per_second(count, limit));

        let ours = pair.ports().capture(load.take(count), BATCH).await?;
        let limit = pair.raw.capture(&load.take(count), BATCH).await?;
        batch.add(per_second(count, ours), per_second(count, limit));
        pair.close().await?;
    }
    let fewest = commits.iter().copied().fold(f64::INFINITY, f64::min);
    concurrent.note(format!("at least {fewest:.0} captures for each commit (promised: 10)"));
    Ok(vec![single.done(), concurrent.done(), batch.done()])
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn captures_per_commit(captures: usize, commits: u64) -> f64 {
    captures as f64 / commits as f64
}

pub(super) async fn claim_and_settle(plan: &Plan) -> Result<Figure, Failure> {
    let mut rounds = Rounds::rate(STORE, "claim and settle, 100 at a time", AGAINST);
    let count = plan.batch_ops / 2;
    for _ in 0..plan.rounds {
        let mut load = Load::new();
        let mut pair = Pair::fresh().await?;
        pair.ports().capture(load.take(count), BATCH).await?;
        pair.raw.capture(&load.take(count), BATCH).await?;
        let ours = pair.ports().claim_and_settle(count, 100).await?;
        let limit = pair.raw.claim_and_settle(count, 100).await?;
        rounds.add(per_second(count, ours), per_second(count, limit));
        pair.close().await?;
    }
    Ok(rounds.done())
}

/// The whole command against the store's own batch rate: process start, parsing, redaction and answers included.
pub(super) async fn ndjson(plan: &Plan) -> Result<Figure, Failure> {
    let mut rounds =
        Rounds::rate(STORE, "NDJSON through the command", "the store's own batches").target(0.5);
    let command = command()?;
    let count = plan.batch_ops;
    for _ in 0..plan.rounds {
        let mut load = Load::new();
        let pair = Pair::fresh().await?;
        let limit = pair.ports().capture(load.take(count), BATCH).await?;
        let folder = pair.close().await?;
        let path = folder.path().join("command.db");
        let ours = run_command(&command, &path, &lines(&mut load, count), count)?;
        rounds.add(per_second(count, ours), per_second(count, limit));
    }
    Ok(rounds.done())
}

pub(super) fn lines(load: &mut Load, count: usize) -> String {
    load.take(count).iter().fold(String::new(), |text, capture| {
        let op = &capture.op;
        text + &format!(
            r#"{{"id":"{}","domain":"{}","failure_type":"{}","dependency":"{}","origin_service":"{}","entity_type":"order","entity_id":"{}","request_data":{},"error_code":"{}","error_message":"{}"}}"#,
            op.id,
            op.domain,
            op.failure_type,
            op.dependency,
            op.origin_service,
            op.entity_id.as_ref().map_or("", AsRef::as_ref),
            op.request_data.as_str(),
            op.error_code,
            op.error_message,
        ) + "\n"
    })
}

/// The `baldur` command that was built beside this program.
fn command() -> Result<PathBuf, Failure> {
    let path = std::env::current_exe()?.with_file_name("baldur");
    if path.is_file() {
        Ok(path)
    } else {
        Err("the `baldur` command is not built; run `cargo xtask bench`".into())
    }
}

fn run_command(command: &Path, db: &Path, lines: &str, count: usize) -> Result<Duration, Failure> {
    let start = SystemClock.mono();
    let mut child = Command::new(command)
        .args(["capture", "--output", "json", "--store"])
        .arg(format!("sqlite://{}", db.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("no stdin")?;
    let text = lines.to_owned();
    let feeder = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output()?;
    feeder.join().map_err(|_| "the feeder panicked")??;
    let took = SystemClock.mono().saturating_sub(start);
    let stored = String::from_utf8(output.stdout)?
        .lines()
        .filter(|line| line.contains(r#""durability":"stored""#))
        .count();
    if stored == count {
        Ok(took)
    } else {
        Err(format!("the command stored {stored} of {count} lines").into())
    }
}
