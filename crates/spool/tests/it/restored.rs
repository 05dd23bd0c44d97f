//! Records that were put aside: bounded, and taken back as they were.

use std::{fs::File, path::Path};

use baldur_core::{
    Json,
    command::Capture,
    port::{Spool as _, SpoolError, Spooled},
};
use baldur_spool::{DiskSpool, SpoolConfig, inspect};

use crate::support::{append, capture, drain, ids, open, try_open};

/// Puts the oldest records aside, as many as there are.
async fn put_all_aside(spool: &DiskSpool) -> Vec<Spooled> {
    let mut aside = Vec::new();
    while let Some(record) = spool.peek(1).await.expect("readable").pop() {
        spool.set_aside(record.position, "no".to_owned()).await.expect("put aside");
        aside.push(record);
    }
    aside
}

fn content(records: Vec<Spooled>) -> Vec<(Capture, baldur_core::Timestamp)> {
    records.into_iter().map(|record| (record.capture, record.spooled_at)).collect()
}

fn lines(dir: &Path) -> String {
    let mut text = String::new();
    for file in dir.join("refused").read_dir().expect("there") {
        text += &std::fs::read_to_string(file.expect("there").path()).expect("text");
    }
    text
}

async fn refused(dir: &Path) -> u64 {
    inspect(dir.to_owned()).await.expect("readable").refused
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_aside_is_taken_back_to_the_letter() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, second) = (open(dir.path()).await, open(dir.path()).await);
    let mut odd = capture(1);
    odd.op.request_data = Json::parse("{\n  \"a\": 1.50,\n\t\"b\": \"\\n\"\r\n}").expect("JSON");
    first.append(vec![odd]).await.remove(0).expect("room");
    append(&first, 2..=2_500).await;
    let before = put_all_aside(&first).await;
    assert_eq!(before.len(), 2_500);
    assert_eq!(refused(dir.path()).await, 2_500, "one line for each");
    // The process that put them aside lives, and goes on to do so.
    let restored = second.restore_refused().await.expect("taken back");
    assert_eq!((restored.restored, restored.left), (2_500, 0));
    append(&first, [9_999]).await;
    put_all_aside(&first).await;
    assert_eq!((refused(dir.path()).await, second.status().records), (1, 2_500));
    let after = second.peek(3_000).await.expect("readable");
    assert_eq!(content(after), content(before));
    let restored = second.restore_refused().await.expect("taken back");
    assert_eq!((restored.restored, refused(dir.path()).await), (1, 0));
    let nothing = second.restore_refused().await.expect("taken back");
    assert_eq!((nothing.restored, nothing.left), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_of_what_is_aside_follows() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path()).await;
    append(&spool, 1..=3).await;
    put_all_aside(&spool).await;
    assert_eq!((spool.status().set_aside, spool.status().records), (3, 0));
    spool.restore_refused().await.expect("taken back");
    assert_eq!((spool.status().set_aside, spool.status().records), (0, 3));
    assert_eq!(drain(&spool).await, ids(1..=3));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_are_no_records_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path()).await;
    append(&spool, 1..=2).await;
    put_all_aside(&spool).await;
    let junk = b"not \xff JSON\n{\"record\":{\"v\":1}}\nhalf a li";
    std::fs::write(dir.path().join("refused/mine.ndjson"), junk).expect("written");
    let restored = spool.restore_refused().await.expect("taken back");
    assert_eq!((restored.restored, restored.left), (2, 3));
    let files = dir.path().join("refused").read_dir().expect("there");
    let mut kept = Vec::new();
    for file in files {
        kept.extend(std::fs::read(file.expect("there").path()).expect("readable"));
    }
    assert_eq!(kept, [&junk[..], b"\n"].concat(), "to the byte");
    assert_eq!(spool.status().set_aside, 0, "all that was put aside here was taken back");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_put_aside_is_bounded_and_what_finds_no_room_stays_in_its_lane() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = SpoolConfig::new(dir.path());
    config.max_refused_bytes = 64 << 10;
    let spool = try_open(config).await.expect("opened");
    append(&spool, 1..=100).await;
    let mut aside = 0;
    let error = loop {
        let record = spool.peek(1).await.expect("readable").remove(0);
        match spool.set_aside(record.position, "no".to_owned()).await {
            Ok(()) => aside += 1,
            Err(error) => break error,
        }
    };
    let SpoolError::AsideFull { bytes, max_bytes } = error else { panic!("{error}") };
    assert!(bytes <= max_bytes && max_bytes == 64 << 10, "{bytes} of {max_bytes}");
    assert_eq!(bytes, lines(dir.path()).len() as u64);
    assert_eq!((spool.status().records, spool.status().set_aside), (100 - aside, aside));
    let found = inspect(dir.path().to_owned()).await.expect("readable");
    assert_eq!((found.refused, found.refused_bytes), (aside, bytes));
    let taken = spool.restore_refused().await.expect("taken back");
    assert_eq!((taken.restored, spool.status().records), (aside, 100));
    let record = spool.peek(1).await.expect("readable").remove(0);
    spool.set_aside(record.position, "no".to_owned()).await.expect("room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_takes_nothing_back_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = SpoolConfig::new(dir.path());
    (config.max_bytes, config.segment_bytes) = (64 << 10, 16 << 10);
    config.max_record_bytes = 16 << 10;
    let spool = try_open(config).await.expect("opened");
    append(&spool, 1..=10).await;
    put_all_aside(&spool).await;
    let mut n = 100;
    while spool.append(vec![capture(n)]).await.remove(0).is_ok() {
        n += 1;
    }
    let error = spool.restore_refused().await.expect_err("no room");
    assert!(matches!(error, SpoolError::Full { .. }), "{error}");
    assert_eq!(refused(dir.path()).await, 10);
    assert_eq!(drain(&spool).await.len() as u64, n - 100);
    assert_eq!(spool.restore_refused().await.expect("taken back").restored, 10);
    assert_eq!(drain(&spool).await, ids(1..=10));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_takes_back_and_none_while_another_puts_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path()).await;
    append(&spool, 1..=2).await;
    let first = spool.peek(1).await.expect("readable").remove(0);
    spool.set_aside(first.position, "no".to_owned()).await.expect("put aside");
    for lock in ["restore-lock", "lock"] {
        let file = File::create(dir.path().join("refused").join(lock)).expect("made");
        file.lock().expect("free");
        spool.restore_refused().await.expect_err("another is at work");
    }
    let held = File::open(dir.path().join("refused/lock")).expect("there");
    held.lock().expect("free");
    let next = spool.peek(1).await.expect("readable").remove(0);
    spool.set_aside(next.position, "no".to_owned()).await.expect_err("another is at work");
    assert_eq!(spool.status().records, 1);
    drop(held);
    spool.set_aside(next.position, "no".to_owned()).await.expect("put aside");
    assert_eq!(spool.restore_refused().await.expect("taken back").restored, 2);
}
