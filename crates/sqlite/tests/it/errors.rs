//! Real trouble: a busy file, a full disk, damage, a file that takes no writes.

use std::{
    fs::{File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::Path,
    sync::Arc,
};

use baldur_contract::ManualClock;
use baldur_core::{
    BackendError, BackendKind, Chain, EntryId, Outcome, Retry,
    command::WhenFull,
    port::{CaptureError, CaptureStore, CheckDepth, EntryReader, StoreAdmin},
    query::ListQuery,
};
use baldur_sqlite::WriteLock;

use crate::support::{Lab, config, found, impatient, keep, open, open_at, problems, raw, run};

fn backend(answer: Result<impl std::fmt::Debug, CaptureError>) -> BackendError {
    match answer {
        Err(CaptureError::Backend(error)) => error,
        other => panic!("no backend error: {other:?}"),
    }
}

fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    let mut file = OpenOptions::new().write(true).open(path).expect("the file opens");
    file.seek(SeekFrom::Start(at)).expect("a position");
    file.write_all(bytes).expect("room");
    file.sync_all().expect("a sync");
}

#[tokio::test]
async fn a_file_that_others_hold_is_busy() {
    let lab = Lab::with(impatient).await;
    let mut other = lab.raw().await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let capture = lab.captures.an_op().build();
    let error = backend(lab.keep(capture.clone()).await);
    assert_eq!(error.kind(), BackendKind::Busy);
    assert_eq!((error.retry(), error.outcome()), (Retry::Backoff, Outcome::NotApplied));
    assert!(Chain(&error).to_string().starts_with("sqlite failed to capture (busy): "), "{error}");
    // Reads go on meanwhile, and so do writes afterwards.
    assert_eq!(found(&lab.store, &[capture.op.id]).await, 0);
    run(&mut other, "ROLLBACK").await;
    lab.keep(capture).await.expect("the file is free again");
}

#[tokio::test]
async fn an_outage_lasts_as_long_as_the_write_lock_is_held() {
    let lab = Lab::with(impatient).await;
    let path = lab.store.path().to_owned();
    let first = lab.captures.an_op().build();
    lab.keep(first.clone()).await.expect("nobody holds the lock");
    let lock = WriteLock::take(&impatient(config(&path))).await.expect("free");
    let second = lab.captures.an_op().build();
    let error = backend(lab.keep(second.clone()).await);
    assert_eq!((error.kind(), error.outcome()), (BackendKind::Busy, Outcome::NotApplied));
    let taken = WriteLock::take(&impatient(config(&path))).await.expect_err("there is one lock");
    assert_eq!(taken.kind(), BackendKind::Busy);
    // A host that starts meanwhile opens the file and reads it.
    let late = open_at(&path).await.expect("opening writes nothing");
    assert_eq!(found(&late, &[first.op.id, second.op.id]).await, 1);
    lock.release().await.expect("closed in order");
    keep(&late, second).await.expect("the file is free again");
    late.close().await;
}

#[tokio::test]
async fn a_lock_on_a_file_that_is_not_there_is_refused_and_makes_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none.db");
    let error = WriteLock::take(&impatient(config(&path))).await.expect_err("no file");
    assert_eq!(error.kind(), BackendKind::Unavailable);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_write_without_an_answer_in_time_has_an_unknown_outcome() {
    let lab = Lab::with(|mut config| {
        config.answer_timeout = std::time::Duration::from_millis(20);
        config
    })
    .await;
    let mut other = lab.raw().await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let capture = lab.captures.an_op().build();
    let error = backend(lab.keep(capture.clone()).await);
    assert_eq!(error.kind(), BackendKind::Timeout);
    assert_eq!((error.retry(), error.outcome()), (Retry::Backoff, Outcome::Unknown));
    // The writer goes on with it, which is why the outcome is unknown and not `not applied`.
    run(&mut other, "ROLLBACK").await;
    lab.store.close().await;
    let mut after = lab.raw().await;
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM entries")
        .fetch_one(&mut after)
        .await
        .expect("the file is readable");
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn a_damaged_payload_is_an_error_and_never_an_empty_one() {
    let lab = Lab::with(|config| config).await;
    let capture = lab.captures.an_op().build();
    lab.keep(capture.clone()).await.expect("kept");
    run(&mut lab.raw().await, "UPDATE payloads SET request_data = '{broken'").await;
    let error = lab.store.find(vec![capture.op.id]).await.expect_err("damaged");
    assert!(Chain(&error).to_string().contains("corrupt"), "{error}");
}

#[tokio::test]
async fn entries_that_can_not_be_read_make_no_room_and_refuse_no_capture() {
    let lab = Lab::new().await;
    let mut entries = Vec::new();
    for _ in 0..40 {
        let capture = lab.captures.an_op().build();
        entries.push(capture.op.position());
        lab.keep(capture).await.expect("kept");
    }
    entries.sort();
    // More than are looked at in one go.
    let damage = "UPDATE payloads SET request_data = '{broken' WHERE seq IN \
                  (SELECT seq FROM entries ORDER BY created_at, id LIMIT 35)";
    run(&mut lab.raw().await, damage).await;
    let dropping = || lab.captures.an_op().limits(40, 0, WhenFull::DropOldest).build();
    let kept = lab.keep(dropping()).await.expect("there is room for it");
    let gone: Vec<EntryId> = kept.evicted.into_iter().map(|evicted| evicted.id).collect();
    assert_eq!(gone, [entries[35].1]);
    for answer in lab.store.capture_batch((0..9).map(|_| dropping()).collect()).await {
        assert_eq!(answer.expect("there is room for it").evicted.len(), 1);
    }
}

#[tokio::test]
async fn a_full_file_is_told_and_recovers() {
    // SQLite answers at its page limit exactly as it does on a full disk.
    let lab = Lab::with(|mut config| {
        config.max_bytes = Some(1 << 20);
        config
    })
    .await;
    let mut kept: Vec<EntryId> = Vec::new();
    let refused = loop {
        let captures = lab.captures.ops(50);
        let ids: Vec<EntryId> = captures.iter().map(|capture| capture.op.id).collect();
        let answers = lab.store.capture_batch(captures).await;
        if answers.iter().all(Result::is_ok) {
            kept.extend(ids);
            continue;
        }
        for answer in answers {
            let error = backend(answer);
            assert_eq!(error.kind(), BackendKind::Full, "{}", Chain(&error));
            assert_eq!((error.retry(), error.outcome()), (Retry::Backoff, Outcome::NotApplied));
        }
        break ids;
    };
    assert_eq!(found(&lab.store, &refused).await, 0);
    assert_eq!(found(&lab.store, &kept).await, kept.len());
    lab.store.close().await;
    let roomy = lab.another().await;
    keep(&roomy, lab.captures.an_op().build()).await.expect("room again");
    assert_eq!(problems(&roomy).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("notes.db");
    let text = "these are my notes, not a database\n".repeat(100);
    std::fs::write(&path, &text).expect("room");
    let error = open_at(&path).await.expect_err("no database");
    assert_eq!((error.kind(), error.outcome()), (BackendKind::Corrupt, Outcome::NotApplied));
    assert_eq!(std::fs::read_to_string(&path).expect("a text"), text);
}

#[tokio::test]
async fn another_programs_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("theirs.db");
    File::create(&path).expect("room");
    run(&mut raw(&path).await, "CREATE TABLE entries (id INTEGER)").await;
    let error = open_at(&path).await.expect_err("another program's");
    assert_eq!(error.kind(), BackendKind::Corrupt);
    assert!(Chain(&error).to_string().contains("another program's tables"), "{}", Chain(&error));
}

#[tokio::test]
async fn damage_is_told_by_reads_and_by_the_check() {
    let lab = Lab::new().await;
    for answer in lab.store.capture_batch(lab.captures.ops(300)).await {
        answer.expect("room");
    }
    lab.store.close().await;
    let path = lab.path();
    let pages = std::fs::metadata(&path).expect("a file").len() / 4096;
    // The schema and the roots of its trees are in front; entries and payloads follow.
    for page in pages / 2..pages {
        overwrite(&path, page * 4096, &[0xff; 512]);
    }
    let store = lab.another().await;
    let read = store.list(ListQuery::default()).await;
    let check = store.check(CheckDepth::Deep).await;
    let told = check.map_or_else(|e| e.to_string(), |report| report.problems.join("; "));
    assert!(told.contains("damaged") || told.contains("corrupt"), "{told}");
    let error = read.expect_err("the entries are damaged");
    assert!(error.to_string().contains("(corrupt)"), "{error}");
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_read_only() {
    let lab = Lab::new().await;
    let capture = lab.captures.an_op().build();
    lab.keep(capture.clone()).await.expect("a capture");
    lab.store.close().await;
    // A write version that this SQLite doesn't know makes the file read-only, for root as well.
    overwrite(&lab.path(), 18, &[9]);
    let clock = Arc::new(ManualClock::default());
    let error = match open(config(&lab.path()), &clock).await {
        Err(error) => error,
        Ok(store) => backend(keep(&store, lab.captures.an_op().build()).await),
    };
    assert_eq!(error.kind(), BackendKind::ReadOnly, "{}", Chain(&error));
    assert_eq!((error.retry(), error.outcome()), (Retry::Never, Outcome::NotApplied));
}
