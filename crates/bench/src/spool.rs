//! Figures of the spool, each beside a bare loop of `write` and `fdatasync` with the same bytes in the same groups.

use std::{collections::VecDeque, fs::File, io::Write as _, path::Path, sync::Arc, time::Duration};

use baldur_core::{
    Clock as _, SystemClock,
    command::Capture,
    port::{Spool as _, SpoolError},
    wire,
};
use baldur_spool::{DiskSpool, SpoolConfig};
use tokio::{sync::Mutex, task::JoinSet};

use crate::{
    args::{Args, Plan},
    figures::{Figure, Rounds, per_second},
    load::Load,
    ours::Failure,
};

pub(crate) const STORE: &str = "spool";
const AGAINST: &str = "write + fdatasync";

/// What the project promises of the spool, as a part of the limit.
const TARGET: f64 = 0.7;

/// Records in one write of the batch figure, on both sides.
const BATCH: usize = 500;

/// How many batches wait at a time, so that one is written while the next is encoded.
const IN_FLIGHT: usize = 4;

/// The frame around a record.
const FRAME_BYTES: usize = 16;

/// All figures of the spool.
pub(crate) async fn run(args: &Args, plan: &Plan) -> Result<Vec<Figure>, Failure> {
    let mut figures = Vec::new();
    for (name, count, group) in [
        ("spool append one by one", plan.single_ops, 1),
        ("spool append in batches", plan.batch_ops, BATCH),
    ] {
        if args.wants(name) {
            figures.push(append(plan, name, count, group).await?);
        }
    }
    Ok(figures)
}

async fn append(plan: &Plan, name: &str, count: usize, group: usize) -> Result<Figure, Failure> {
    let mut rounds = Rounds::rate(STORE, name, AGAINST).target(TARGET);
    let in_flight = if group == 1 { 1 } else { IN_FLIGHT };
    rounds.note(format!("{group} records in each write, {in_flight} appends at a time"));
    for _ in 0..plan.rounds {
        // Both in one folder, so on one disk.
        let folder = tempfile::tempdir()?;
        let captures = Load::new().take(count);
        let limit = bare(&folder.path().join("bare"), &captures, group)?;
        let ours = spooled(&folder.path().join("spool"), captures, group, in_flight).await?;
        rounds.add(per_second(count, ours), per_second(count, limit));
    }
    Ok(rounds.done())
}

/// Writes the same bytes in the same groups. Only the disk is measured: the text is made before.
fn bare(path: &Path, captures: &[Capture], group: usize) -> Result<Duration, Failure> {
    let now = SystemClock.now();
    let groups: Vec<Vec<u8>> = captures
        .chunks(group)
        .map(|captures| {
            let mut bytes = Vec::new();
            for capture in captures {
                bytes.extend_from_slice(&[0; FRAME_BYTES]);
                bytes.extend_from_slice(wire::encode_spooled(capture, now).as_bytes());
            }
            bytes
        })
        .collect();
    let mut file = File::create_new(path)?;
    let start = SystemClock.mono();
    for bytes in groups {
        file.write_all(&bytes)?;
        file.sync_data()?;
    }
    Ok(SystemClock.mono().saturating_sub(start))
}

async fn spooled(
    dir: &Path,
    captures: Vec<Capture>,
    group: usize,
    in_flight: usize,
) -> Result<Duration, Failure> {
    let mut config = SpoolConfig::new(dir);
    // An append is then a write of its own, whoever else waits.
    config.group_records = group;
    let spool = DiskSpool::open(config, Arc::new(SystemClock)).await?;
    let groups: VecDeque<Vec<Capture>> = captures.chunks(group).map(<[Capture]>::to_vec).collect();
    let groups = Arc::new(Mutex::new(groups));
    let start = SystemClock.mono();
    let mut tasks = JoinSet::new();
    for _ in 0..in_flight {
        let (spool, groups) = (spool.clone(), Arc::clone(&groups));
        tasks.spawn(async move {
            loop {
                let next = groups.lock().await.pop_front();
                let Some(next) = next else { return Ok::<(), SpoolError>(()) };
                for answer in spool.append(next).await {
                    answer?;
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    let took = SystemClock.mono().saturating_sub(start);
    spool.close().await;
    Ok(took)
}
