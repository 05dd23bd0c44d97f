//! Lanes of processes that died.

use std::path::Path;

use super::support::{Process, ROOT, capture, config, ids, key, process};
use crate::inspect::look;

#[test]
fn the_lane_of_a_dead_process_is_taken_over_first_and_goes_when_it_is_empty() {
    let (disk, clock, mut first) = process();
    first.append_each(1..=3);
    let lane = first.lane();
    first.die();
    let mut second = Process::start(&disk, &clock, config()).expect("opened");
    second.append_each(4..=5);
    let status = second.status();
    assert_eq!((status.records, status.adopted_lanes), (5, 1));
    assert_eq!(second.drain(), ids(1..=5));
    assert_eq!(second.status().adopted_lanes, 0);
    assert_eq!(disk.files(&lane), Vec::<std::path::PathBuf>::new());
}

#[test]
fn the_lane_of_a_live_process_is_never_touched() {
    let (disk, clock, mut first) = process();
    first.append_each(1..=3);
    let before = disk.get(&first.segment(1));
    let mut second = Process::start(&disk, &clock, config()).expect("opened");
    assert_eq!(second.keeper.adopt().expect("listed"), 0);
    assert_eq!(second.peek(9), []);
    assert_eq!(disk.get(&first.segment(1)), before);
    first.append_each(4..=4);
    first.die();
    assert_eq!(second.keeper.adopt().expect("listed"), 4, "records are counted");
    assert_eq!(second.keeper.adopt().expect("listed"), 0);
    assert_eq!(second.drain(), ids(1..=4));
}

#[test]
fn of_two_that_want_an_orphan_one_gets_it() {
    let (disk, clock, mut first) = process();
    let mut second = Process::start(&disk, &clock, config()).expect("opened");
    let mut third = Process::start(&disk, &clock, config()).expect("opened");
    first.append_each(1..=3);
    first.die();
    let adopted = [second.keeper.adopt(), third.keeper.adopt()].map(|n| n.expect("listed"));
    assert_eq!(adopted, [3, 0]);
    assert_eq!(third.drain(), []);
    assert_eq!(second.drain(), ids(1..=3));
}

#[test]
fn adopted_lanes_come_in_the_order_of_their_processes_and_survive_their_adopter() {
    let (disk, clock, mut first) = process();
    let mut second = Process::start(&disk, &clock, config()).expect("opened");
    second.append_each(11..=12);
    first.append_each(1..=2);
    second.die();
    first.die();
    let third = Process::start(&disk, &clock, config()).expect("opened");
    assert_eq!(third.status().records, 4);
    third.die();
    let mut fourth = Process::start(&disk, &clock, config()).expect("opened");
    assert_eq!(fourth.drain(), ids([1, 2, 11, 12]));
}

#[test]
fn removed_records_of_a_dead_process_do_not_come_back_after_it_was_killed() {
    let (disk, clock, mut first) = process();
    first.append_each(1..=9);
    let seen = first.peek(9);
    first.keeper.remove(seen[6].position).expect("removed");
    first.die();
    let mut second = Process::start(&disk, &clock, config()).expect("opened");
    assert_eq!(second.status().records, 2);
    assert_eq!(second.drain(), ids([8, 9]));
}

#[test]
fn keys_of_adopted_records_are_held() {
    let (disk, clock, mut first) = process();
    assert!(first.append(&[capture(1, Some("k"))])[0].is_ok());
    first.die();
    let mut second = Process::start(&disk, &clock, config()).expect("opened");
    assert!(second.core.state().holds(&key("k")));
    second.drain();
    assert!(!second.core.state().holds(&key("k")));
}

#[test]
fn a_lane_without_anything_in_it_is_removed() {
    let (disk, clock, first) = process();
    let lane = first.lane();
    first.die();
    let second = Process::start(&disk, &clock, config()).expect("opened");
    assert_eq!(second.status().adopted_lanes, 0);
    assert_eq!(disk.files(&lane), Vec::<std::path::PathBuf>::new());
}

#[test]
fn an_inspection_sees_live_and_dead_lanes_and_changes_nothing() {
    let (disk, clock, mut first) = process();
    first.append_each(1..=3);
    first.die();
    let files = disk.files(ROOT.as_ref());
    let orphans = look(&disk, Path::new(ROOT)).expect("readable");
    assert_eq!(disk.files(ROOT.as_ref()), files);
    let [lane] = &orphans.lanes[..] else { panic!("{orphans:?}") };
    assert_eq!((lane.live, lane.records, lane.torn), (false, 3, false));
    let mut second = Process::start(&disk, &clock, config()).expect("opened");
    let seen = second.peek(2);
    second.keeper.remove(seen[1].position).expect("removed");
    second.append_each(4..=4);
    let all = look(&disk, Path::new(ROOT)).expect("readable");
    let lanes: Vec<_> = all.lanes.iter().map(|lane| (lane.live, lane.records)).collect();
    assert_eq!(lanes, [(true, 1), (true, 1)]);
    assert_eq!(all.problems, []);
}
