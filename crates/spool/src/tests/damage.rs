//! Torn tails, damage, and files that are none of ours.

use std::path::{Path, PathBuf};

use baldur_core::EntryId;
use proptest::prelude::*;

use super::support::{Process, ROOT, TestClock, capture, config, ids, process};
use crate::{
    disk::{Disk as _, sim::SimDisk},
    frame,
    inspect::look,
};

fn start(disk: &SimDisk, clock: &std::sync::Arc<TestClock>) -> Process {
    Process::start(disk, clock, config()).expect("opened")
}

fn quarantined(disk: &SimDisk) -> Vec<PathBuf> {
    disk.files(&Path::new(ROOT).join("quarantine"))
}

/// A dead process with records 1 to 3 in one segment; its bytes, and where its frames begin.
fn dead() -> (SimDisk, std::sync::Arc<TestClock>, PathBuf, Vec<u8>, Vec<usize>) {
    let (disk, clock, mut first) = process();
    let path = first.segment(1);
    let mut starts = Vec::new();
    for n in 1..=3 {
        let length = disk.get(&path).map_or(16, |bytes| bytes.len());
        starts.push(length);
        first.append_each(n..=n);
    }
    first.die();
    let bytes = disk.get(&path).expect("there");
    (disk, clock, path, bytes, starts)
}

#[test]
fn a_tail_that_is_torn_anywhere_is_cut_and_what_stood_before_is_delivered() {
    let (_, _, _, bytes, starts) = dead();
    for cut in [starts[2] + 1, starts[2] + 15, starts[2] + 16, bytes.len() - 1] {
        let (disk, clock, path, bytes, _) = dead();
        disk.put(&path, &bytes[..cut]);
        let mut next = start(&disk, &clock);
        let status = next.status();
        assert_eq!((status.torn_tails, status.set_aside, status.records), (1, 0, 2), "{cut}");
        assert_eq!(disk.get(&path).expect("there"), bytes[..starts[2]]);
        assert_eq!(next.drain(), ids([1, 2]));
        assert_eq!(quarantined(&disk), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_last_record_with_a_bad_checksum_is_a_torn_tail() {
    let (disk, clock, path, mut bytes, starts) = dead();
    bytes[starts[2] + 40] ^= 1;
    disk.put(&path, &bytes);
    let mut next = start(&disk, &clock);
    assert_eq!((next.status().torn_tails, next.status().set_aside), (1, 0));
    assert_eq!(next.drain(), ids([1, 2]));
}

#[test]
fn a_file_that_ends_in_its_header_or_is_empty_is_no_damage() {
    for (length, torn) in [(0, 0), (7, 1), (16, 0)] {
        let (disk, clock, path, bytes, _) = dead();
        disk.put(&path, &bytes[..length]);
        let mut next = start(&disk, &clock);
        assert_eq!((next.status().torn_tails, next.status().set_aside), (torn, 0), "{length}");
        assert_eq!(next.drain(), []);
        assert!(disk.get(&path).is_none());
    }
}

#[test]
fn records_around_damage_are_delivered_and_the_file_is_kept() {
    for flipped in [0, 20, 60] {
        let (disk, clock, path, mut bytes, starts) = dead();
        bytes[starts[1] + flipped] ^= 1;
        disk.put(&path, &bytes);
        let found = look(&disk, Path::new(ROOT)).expect("readable");
        assert_eq!(found.problems.len(), 1, "{found:?}");
        assert_eq!(found.problems[0].offset, starts[1] as u64);
        let mut next = start(&disk, &clock);
        let status = next.status();
        assert_eq!((status.set_aside, status.records, status.torn_tails), (1, 2, 0));
        assert_eq!(next.drain(), ids([1, 3]));
        assert_eq!(next.status().set_aside, 1);
        let [kept] = &quarantined(&disk)[..] else { panic!("one file is kept") };
        assert_eq!(disk.get(kept).expect("there"), bytes);
        next.die();
        assert_eq!(start(&disk, &clock).status().set_aside, 1, "it is remembered");
    }
}

#[test]
fn a_write_of_which_only_the_end_got_to_the_disk_is_torn_and_no_damage() {
    let (disk, clock, mut first) = process();
    first.append_each(1..=1);
    let path = first.segment(1);
    let start_of_second = disk.get(&path).expect("there").len();
    let group: Vec<_> = (2..=3).map(|n| capture(n, None)).collect();
    assert!(first.append(&group).iter().all(Result::is_ok));
    first.die();
    let mut bytes = disk.get(&path).expect("there");
    bytes[start_of_second..start_of_second + 64].fill(0);
    disk.put(&path, &bytes);
    let mut next = start(&disk, &clock);
    assert_eq!((next.status().torn_tails, next.status().set_aside), (1, 0));
    assert_eq!(next.drain(), ids([1, 3]));
    assert_eq!(quarantined(&disk), Vec::<PathBuf>::new());
}

#[test]
fn a_damaged_header_costs_no_record() {
    let (disk, clock, path, mut bytes, _) = dead();
    bytes[3] ^= 1;
    disk.put(&path, &bytes);
    let mut next = start(&disk, &clock);
    assert_eq!(next.status().set_aside, 1);
    assert_eq!(next.drain(), ids(1..=3));
    assert_eq!(quarantined(&disk).len(), 1);
}

#[test]
fn a_torn_end_is_damage_where_later_segments_follow() {
    let (disk, clock, mut first) = process();
    first.append_each(1..=12);
    let path = first.segment(1);
    first.die();
    let bytes = disk.get(&path).expect("there");
    disk.put(&path, &bytes[..bytes.len() - 1]);
    let mut next = start(&disk, &clock);
    assert_eq!((next.status().set_aside, next.status().torn_tails), (1, 0));
    assert_eq!(next.drain().len(), 11);
    assert_eq!(quarantined(&disk).len(), 1);
}

#[test]
fn a_record_that_can_not_be_decoded_is_kept_and_delays_nobody() {
    let (disk, clock, path, mut bytes, _) = dead();
    frame::put(&mut bytes, 9, br#"{"v":99}"#);
    disk.put(&path, &bytes);
    let mut next = start(&disk, &clock);
    assert_eq!((next.status().set_aside, next.status().records), (1, 3));
    assert_eq!(next.drain(), ids(1..=3));
    assert_eq!(quarantined(&disk).len(), 1);
}

#[test]
fn a_segment_of_a_newer_version_is_kept() {
    let (disk, clock, path, bytes, _) = dead();
    let mut newer = bytes.clone();
    newer[8] = 2;
    let sum = crc32fast::hash(&newer[..12]).to_le_bytes();
    newer[12..16].copy_from_slice(&sum);
    disk.put(&path, &newer);
    let next = start(&disk, &clock);
    assert_eq!((next.status().set_aside, next.status().records), (1, 0));
    let [kept] = &quarantined(&disk)[..] else { panic!("one file is kept") };
    assert_eq!(disk.get(kept).expect("there"), newer);
}

#[test]
fn foreign_files_are_moved_and_never_deleted() {
    let (disk, clock, path, _, _) = dead();
    let lane = path.parent().expect("a lane");
    let foreign = [lane.join("notes.txt"), lane.join("1.seg"), Path::new(ROOT).join("core.4711")];
    for (n, file) in foreign.iter().enumerate() {
        disk.put(file, &[u8::try_from(n).expect("small")]);
    }
    let found = look(&disk, Path::new(ROOT)).expect("readable");
    assert_eq!(found.problems.len(), 3, "{found:?}");
    let mut next = start(&disk, &clock);
    assert_eq!(next.status().set_aside, 3);
    assert_eq!(next.drain(), ids(1..=3));
    let mut kept: Vec<u8> =
        quarantined(&disk).iter().flat_map(|file| disk.get(file).expect("there")).collect();
    kept.sort_unstable();
    assert_eq!(kept, [0, 1, 2]);
    assert_eq!(disk.files(lane), Vec::<PathBuf>::new(), "the lane is gone");
}

#[test]
fn damage_that_appears_later_is_reported_once_and_delays_nobody() {
    let (disk, _, mut process) = process();
    process.append_each(1..=3);
    let path = process.segment(1);
    let mut bytes = disk.get(&path).expect("there");
    let second = bytes.len() / 2;
    bytes[second] ^= 1;
    disk.put(&path, &bytes);
    let seen: Vec<EntryId> = process.peek(9).iter().map(|r| r.capture.op.id).collect();
    assert_eq!(seen, ids([1, 3]));
    assert_eq!(process.peek(9).len(), 2);
    assert_eq!(process.status().set_aside, 1);
    assert_eq!(process.drain(), ids([1, 3]));
    process.peek(1);
    assert_eq!(process.status().records, 0);
    assert_eq!(quarantined(&disk).len(), 1);
    process.append_each(4..=4);
    assert_eq!(process.drain(), ids([4]));
}

#[test]
fn keys_of_records_that_became_unreadable_are_let_go_when_the_lane_is_empty() {
    let (disk, _, mut process) = process();
    assert!(process.append(&[capture(1, Some("k"))])[0].is_ok());
    let path = process.segment(1);
    let length = disk.get(&path).expect("there").len();
    disk.put(&path, &vec![7; length]);
    assert_eq!(process.peek(1), []);
    process.append_each(2..=2);
    assert_eq!(process.drain(), ids([2]));
    assert!(!process.core.state().holds(&super::support::key("k")));
}

/// What may be found in a file of a lane.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        Just(frame::header().to_vec()),
        (any::<u32>(), any::<u32>()).prop_map(|(length, sum)| {
            let mut bytes = vec![0xff, 0xfe, b'B', b'R'];
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&[1, 0, 0, 0]);
            bytes.extend_from_slice(&sum.to_le_bytes());
            bytes
        }),
        prop::collection::vec(any::<u8>(), 1..50).prop_map(|record| {
            let mut bytes = Vec::new();
            frame::put(&mut bytes, 3, &record);
            bytes
        }),
        (1_000..1_004_u64).prop_map(|n| {
            let at = capture(n, None).op.created_at;
            let text = baldur_core::wire::encode_spooled(&capture(n, None), at);
            let mut bytes = Vec::new();
            frame::put(&mut bytes, 3, text.as_bytes());
            bytes
        }),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_stands_in_a_segment_good_records_of_others_are_delivered(
        bytes in content(),
        number in prop_oneof![Just(0_u64), Just(2), Just(99)],
        cursor in prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
    ) {
        let (disk, clock, mut first) = process();
        first.append_each(1..=12);
        let (lane, path) = (first.lane(), first.segment(number));
        let replaced = disk.get(&path).is_some();
        first.die();
        disk.put(&path, &bytes);
        if let Some(cursor) = cursor {
            disk.put(&lane.join("cursor"), &cursor);
        }
        let found = look(&disk, Path::new(ROOT)).expect("readable");
        let mut next = start(&disk, &clock);
        let reported = found.lanes.iter().map(|lane| lane.records).sum::<u64>();
        prop_assert_eq!(reported, next.status().records);
        let delivered = next.drain();
        prop_assert_eq!(delivered.len() as u64, reported);
        let ours: Vec<EntryId> =
            delivered.into_iter().filter(|id| ids(1..=12).contains(id)).collect();
        if replaced {
            prop_assert!(ours.len() >= 6 && ours.is_sorted(), "{ours:?}");
        } else {
            prop_assert_eq!(ours, ids(1..=12));
        }
        prop_assert_eq!(next.status().records, 0);
    }
}

#[test]
fn a_segment_that_somebody_removed_does_not_hold_up_the_others() {
    let (disk, clock, mut first) = process();
    first.append_each(1..=20);
    let lost = first.segment(1);
    let records = first.core.state().own.segments[0].records;
    first.die();
    let mut next = start(&disk, &clock);
    next.append_each(21..=22);
    assert_eq!(next.status().records, 22);
    disk.remove_file(&lost).expect("removed");
    assert_eq!(next.drain(), ids(records + 1..=22));
    assert_eq!((next.status().records, next.status().adopted_lanes), (0, 0));
}

#[test]
fn a_lane_that_can_not_be_read_holds_up_its_own_keys_and_no_others() {
    let (disk, clock, mut first) = process();
    assert!(first.append(&[capture(1, Some("k"))])[0].is_ok());
    let path = first.segment(1);
    first.die();
    let mut next = start(&disk, &clock);
    next.append_each(2..=3);
    assert!(next.append(&[capture(4, Some("k"))])[0].is_ok());
    disk.unreadable(&path, true);
    assert_eq!(next.peek(9).len(), 2, "what waits for the unreadable record stays");
    let through = next.peek(9)[1].position;
    next.keeper.remove(through).expect("removed");
    next.keeper.peek(9).expect_err("all that is left waits");
    disk.unreadable(&path, false);
    assert_eq!(next.drain(), ids([1, 4]));
}

#[test]
fn a_record_that_can_be_read_again_pushes_no_other_out() {
    let (disk, clock, path, bytes, starts) = dead();
    let mut next = start(&disk, &clock);
    let mut broken = bytes.clone();
    broken[starts[0] + 40] ^= 1;
    disk.put(&path, &broken);
    assert_eq!(next.peek(1)[0].capture.op.id, ids([2])[0]);
    disk.put(&path, &bytes);
    let seen = next.peek(1);
    assert_eq!(seen[0].capture.op.id, ids([1])[0]);
    next.keeper.remove(seen[0].position).expect("removed");
    assert_eq!(next.drain(), ids([2, 3]));
}

#[test]
fn what_goes_bad_after_its_torn_tail_was_cut_is_kept_and_reported() {
    let (disk, clock, path, bytes, starts) = dead();
    disk.put(&path, &bytes[..bytes.len() - 1]);
    let mut next = start(&disk, &clock);
    assert_eq!((next.status().torn_tails, next.status().set_aside), (1, 0));
    let mut broken = bytes[..starts[2]].to_vec();
    broken[starts[0] + 40] ^= 1;
    disk.put(&path, &broken);
    assert_eq!(next.drain(), ids([2]));
    assert_eq!(next.status().set_aside, 1);
    assert_eq!(quarantined(&disk).len(), 1);
}
