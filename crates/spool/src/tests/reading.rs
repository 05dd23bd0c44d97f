//! Peek, remove, and what is refused for good.

use baldur_core::{
    BackendKind,
    port::{SpoolError, SpoolPosition},
};

use super::support::{Process, ROOT, config, id, ids, process};
use crate::{aside::refused_file, config::SpoolConfig};

#[test]
fn asking_again_gives_the_same_and_removing_again_changes_nothing() {
    let (_, _, mut process) = process();
    process.append_each(1..=9);
    assert_eq!(process.peek(4), process.peek(4));
    let seen = process.peek(4);
    // A shorter look in between forgets nothing.
    assert_eq!(process.peek(2), seen[..2]);
    process.keeper.remove(seen[3].position).expect("removed");
    process.keeper.remove(seen[3].position).expect("removed");
    process.keeper.remove(seen[0].position).expect("removed");
    assert_eq!(process.status().records, 5);
    assert_eq!(process.drain(), ids(5..=9));
}

#[test]
fn only_what_was_handed_out_can_be_removed() {
    let (_, _, mut process) = process();
    process.append_each(1..=3);
    let seen = process.peek(1);
    let beyond = SpoolPosition { record: 2, ..seen[0].position };
    let error = process.keeper.remove(beyond).expect_err("refused");
    assert!(matches!(&error, SpoolError::Backend(e) if e.kind() == BackendKind::Refused));
    let error = process.keeper.set_aside(beyond, "no").expect_err("refused");
    assert!(matches!(&error, SpoolError::Backend(e) if e.kind() == BackendKind::Refused));
    let nowhere = SpoolPosition { lane: 99, record: 0 };
    process.keeper.remove(nowhere).expect("a lane that is gone holds nothing");
    assert_eq!(process.drain(), ids(1..=3));
}

#[test]
fn a_look_is_bounded_in_records_and_bytes_and_gives_at_least_one() {
    let (disk, clock, mut process) = process();
    process.append_each(1..=20);
    assert_eq!(process.peek(0), []);
    assert_eq!(process.peek(7).len(), 7);
    process.die();
    let tight = SpoolConfig { peek_bytes: 1, ..config() };
    let mut next = Process::start(&disk, &clock, tight).expect("opened");
    assert_eq!(next.peek(7).len(), 1);
    assert_eq!(next.drain(), ids(1..=20));
}

#[test]
fn the_oldest_is_known_after_each_removal() {
    let (_, clock, mut process) = process();
    for n in 1..=3 {
        clock.advance(std::time::Duration::from_secs(1));
        process.append_each(n..=n);
    }
    let seen = process.peek(3);
    assert_eq!(process.status().oldest, Some(seen[0].spooled_at));
    process.keeper.remove(seen[0].position).expect("removed");
    assert_eq!(process.status().oldest, Some(seen[1].spooled_at));
    process.keeper.remove(seen[1].position).expect("removed");
    assert_eq!(process.status().oldest, Some(seen[2].spooled_at));
    process.keeper.remove(seen[2].position).expect("removed");
    assert_eq!(process.status().oldest, None);
}

#[test]
fn a_refused_record_is_kept_with_its_reason_and_makes_way() {
    let (disk, clock, mut process) = process();
    process.append_each(1..=2);
    let first = process.peek(2)[0].position;
    process.keeper.set_aside(first, "the store says \"never\"\n").expect("set aside");
    process.keeper.set_aside(first, "again").expect("it is aside already");
    assert_eq!(process.status().set_aside, 1);
    assert_eq!(process.drain(), ids([2]));
    let file = refused_file(ROOT.as_ref(), &process.core.instance);
    let text = String::from_utf8(disk.get(&file).expect("there")).expect("UTF-8");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["reason"], "the store says \"never\"\n");
    let (capture, _) = baldur_core::wire::decode_spooled(&lines[0]["record"].to_string())
        .expect("a spooled capture");
    assert_eq!(capture.op.id, id(1));
    process.die();
    let next = Process::start(&disk, &clock, config()).expect("opened");
    assert_eq!(next.status().set_aside, 1, "it is remembered");
}

#[test]
fn a_record_that_can_not_be_put_aside_stays_in_its_lane() {
    let (disk, _, mut process) = process();
    process.append_each(1..=2);
    let first = process.peek(1)[0].position;
    let room = Some(disk.used() + 100);
    disk.fail(crate::disk::sim::Faults { room, ..Default::default() });
    process.keeper.set_aside(first, "no").expect_err("the disk is full");
    disk.fail(crate::disk::sim::Faults::default());
    process.keeper.set_aside(first, "no").expect("set aside");
    let file = refused_file(ROOT.as_ref(), &process.core.instance);
    let text = String::from_utf8(disk.get(&file).expect("there")).expect("UTF-8");
    assert_eq!(text.lines().count(), 1, "half a line was taken back");
    assert_eq!(process.drain(), ids([2]));
}

#[test]
fn a_closed_spool_takes_and_gives_nothing_and_an_empty_lane_goes() {
    let (disk, _, mut process) = process();
    process.append_each(1..=1);
    assert_eq!(process.drain(), ids([1]));
    process.keeper.close();
    process.keeper.close();
    assert_eq!(disk.files(ROOT.as_ref()), Vec::<std::path::PathBuf>::new());
    assert!(matches!(
        process.keeper.peek(1),
        Err(SpoolError::Backend(error)) if error.kind() == BackendKind::Closed
    ));
    assert!(process.keeper.adopt().is_err());
}
