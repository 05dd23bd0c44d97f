//! What appends answer, and what they leave behind, when all is well and when the disk fails.

use std::io;

use baldur_core::{BackendKind, Outcome, Retry, port::SpoolError};

use super::support::{Process, capture, config, ids, key, process, world};
use crate::{
    config::SpoolConfig,
    disk::sim::{Faults, SimDisk},
};

fn backend(answer: &Result<(), SpoolError>) -> (BackendKind, Retry, Outcome) {
    match answer {
        Err(SpoolError::Backend(error)) => (error.kind(), error.retry(), error.outcome()),
        other => panic!("no failure of the disk: {other:?}"),
    }
}

fn fill(disk: &SimDisk, more: usize) {
    disk.fail(Faults { room: Some(disk.used() + more), ..Faults::default() });
}

#[test]
fn records_come_out_as_they_went_in_and_in_order() {
    let (_, _, mut process) = process();
    let sent: Vec<_> = (1..=20).map(|n| capture(n, None)).collect();
    for group in sent.chunks(3) {
        assert!(process.append(group).iter().all(Result::is_ok));
    }
    let seen = process.peek(100);
    let captures: Vec<_> = seen.iter().map(|record| record.capture.clone()).collect();
    assert_eq!(captures, sent);
    let numbers: Vec<u64> = seen.iter().map(|record| record.position.record).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
    let status = process.status();
    assert_eq!((status.records, status.oldest), (20, Some(seen[0].spooled_at)));
    assert_eq!(process.drain(), ids(1..=20));
    let status = process.status();
    assert_eq!((status.records, status.bytes, status.oldest), (0, 0, None));
}

#[test]
fn segments_are_sealed_at_their_size_and_removed_when_they_are_empty() {
    let (disk, _, mut process) = process();
    process.append_each(1..=30);
    let lane = process.lane();
    let segments = |disk: &SimDisk| {
        let files = disk.files(&lane);
        files.into_iter().filter(|file| file.extension().is_some()).collect::<Vec<_>>()
    };
    let all = segments(&disk);
    assert!(all.len() > 3, "{all:?}");
    for file in &all {
        let length = disk.get(file).expect("there").len();
        assert!(length <= 8 << 10, "{} has {length} bytes", file.display());
    }
    let seen = process.peek(30);
    process.keeper.remove(seen[14].position).expect("removed");
    assert!(segments(&disk).len() < all.len());
    assert_eq!(process.drain(), ids(16..=30));
    assert_eq!(segments(&disk), Vec::<std::path::PathBuf>::new());
    process.append_each(31..=31);
    assert_eq!(process.drain(), ids([31]));
}

#[test]
fn a_record_that_finds_no_room_is_refused_and_a_smaller_one_is_not() {
    let (disk, clock) = world();
    let small = SpoolConfig { max_bytes: 64 << 10, ..config() };
    let mut process = Process::start(&disk, &clock, small).expect("opened");
    let mut accepted = 0;
    let full = loop {
        match process.append(&[capture(accepted + 1, Some("k"))]).remove(0) {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
    };
    let SpoolError::Full { bytes, max_bytes } = full else { panic!("{full}") };
    assert!(bytes <= max_bytes && max_bytes == 64 << 10, "{bytes}");
    assert_eq!(process.status().bytes, bytes);
    assert!(process.core.state().holds(&key("k")));
    assert_eq!(process.drain().len() as u64, accepted);
    assert!(!process.core.state().holds(&key("k")), "the refused one is not held");
    assert!(process.append(&[capture(9_999, None)])[0].is_ok());
}

#[test]
fn a_full_disk_is_said_so_corrupts_nothing_and_works_again_with_room() {
    let (disk, clock, mut process) = process();
    process.append_each(1..=2);
    let before = disk.get(&process.segment(1)).expect("there");
    fill(&disk, 700);
    let group: Vec<_> = (3..=6).map(|n| capture(n, Some("k"))).collect();
    for answer in process.append(&group) {
        let full = (BackendKind::Full, Retry::Backoff, Outcome::NotApplied);
        assert_eq!(backend(&answer), full);
    }
    assert_eq!(disk.get(&process.segment(1)).expect("there"), before, "taken back");
    assert!(!process.core.state().holds(&key("k")));
    disk.fail(Faults::default());
    process.append_each(7..=8);
    assert_eq!(process.status().records, 4);
    process.die();
    let mut next = Process::start(&disk, &clock, config()).expect("opened");
    assert_eq!(next.drain(), ids([1, 2, 7, 8]));
    assert_eq!((next.status().set_aside, next.status().torn_tails), (0, 0));
}

#[test]
fn a_spool_opens_on_a_full_disk_and_lets_records_out() {
    let (disk, clock, mut first) = process();
    first.append_each(1..=3);
    first.die();
    fill(&disk, 0);
    let full = Some(io::ErrorKind::StorageFull);
    disk.fail(Faults { writes: full, ..Faults::default() });
    let mut second = Process::start(&disk, &clock, config()).expect("opened");
    assert_eq!(backend(&second.append(&[capture(4, None)])[0]).0, BackendKind::Full);
    assert_eq!(second.peek(9).len(), 3);
    disk.fail(Faults::default());
    second.append_each(5..=5);
    assert_eq!(second.drain(), ids([1, 2, 3, 5]));
}

#[test]
fn failures_of_the_disk_are_told_apart() {
    let table = [
        (io::ErrorKind::ReadOnlyFilesystem, BackendKind::ReadOnly),
        (io::ErrorKind::FileTooLarge, BackendKind::Full),
        (io::ErrorKind::QuotaExceeded, BackendKind::Full),
        (io::ErrorKind::Other, BackendKind::Unavailable),
    ];
    for (failure, kind) in table {
        let (disk, _, mut process) = process();
        process.append_each(1..=1);
        disk.fail(Faults { writes: Some(failure), ..Faults::default() });
        assert_eq!(backend(&process.append(&[capture(2, None)])[0]).0, kind, "{failure:?}");
        disk.fail(Faults::default());
        process.append_each(3..=3);
        assert_eq!(process.drain(), ids([1, 3]));
    }
}

#[test]
fn after_a_failed_sync_the_segment_is_not_trusted_and_what_was_acknowledged_stays() {
    let (disk, clock, mut process) = process();
    process.append_each(1..=2);
    disk.fail(Faults { sync: true, ..Faults::default() });
    let (kind, _, outcome) = backend(&process.append(&[capture(3, None)])[0]);
    assert_eq!((kind, outcome), (BackendKind::Unavailable, Outcome::Unknown));
    disk.fail(Faults::default());
    process.append_each(4..=4);
    assert!(disk.get(&process.segment(2)).is_some(), "a new segment is begun");
    assert_eq!(process.peek(9).len(), 3);
    process.die();
    let mut next = Process::start(&disk, &clock, config()).expect("opened");
    assert_eq!(next.drain(), ids([1, 2, 4]));
}

#[test]
fn a_write_that_can_not_be_taken_back_is_unknown_and_disturbs_nobody() {
    let (disk, clock, mut process) = process();
    process.append_each(1..=2);
    let room = Some(disk.used() + 300);
    disk.fail(Faults { room, cut: true, ..Faults::default() });
    let (kind, _, outcome) = backend(&process.append(&[capture(3, None)])[0]);
    assert_eq!((kind, outcome), (BackendKind::Full, Outcome::Unknown));
    disk.fail(Faults::default());
    process.append_each(4..=4);
    let status = process.status();
    assert_eq!(status.records, 3);
    process.die();
    let mut next = Process::start(&disk, &clock, config()).expect("opened");
    assert_eq!(next.drain(), ids([1, 2, 4]));
}

#[test]
fn keys_are_held_from_before_the_write_until_the_last_record_is_removed() {
    let (_, _, mut process) = process();
    process.core.expect([Some(&key("early"))].into_iter());
    assert!(process.core.state().holds(&key("early")));
    process.core.drop_expected([Some(&key("early"))].into_iter());
    assert!(!process.core.state().holds(&key("early")));
    for n in 1..=2 {
        assert!(process.append(&[capture(n, Some("k"))])[0].is_ok());
    }
    let seen = process.peek(2);
    process.keeper.remove(seen[0].position).expect("removed");
    assert!(process.core.state().holds(&key("k")));
    process.keeper.remove(seen[1].position).expect("removed");
    assert!(!process.core.state().holds(&key("k")));
}
