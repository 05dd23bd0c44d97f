//! Several handles on one directory, queues, and closing.

use baldur_core::{
    BackendKind,
    name::OrderKey,
    port::{Spool as _, SpoolError},
};
use baldur_spool::{SpoolConfig, inspect};

use crate::support::{adopt, append, capture, drain, ids, open, try_open};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_when_the_spool_is_opened_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = open(dir.path()).await;
    append(&first, 1..=50).await;
    assert!(first.holds(&OrderKey::parse("key-1").expect("a key")));
    first.close().await;
    let second = open(dir.path()).await;
    let status = second.status();
    assert_eq!((status.records, status.adopted_lanes, status.set_aside), (50, 1, 0));
    assert_eq!(drain(&second).await, ids(1..=50));
    assert_eq!(second.status().records, 0);
    second.close().await;
    let left = dir.path().read_dir().expect("readable").count();
    assert_eq!(left, 0, "empty lanes are removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_handle_gives_its_lane_up_without_closing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, second) = (open(dir.path()).await, open(dir.path()).await);
    append(&first, 1..=3).await;
    assert_eq!(second.adopt().await.expect("listed"), 0, "its process lives");
    assert_eq!(second.peek(9).await.expect("readable"), []);
    drop(first);
    adopt(&second, 3).await;
    assert_eq!(drain(&second).await, ids(1..=3));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_at_once_are_each_answered_and_share_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..64 {
        let spool = spool.clone();
        tasks.spawn(async move {
            for i in 0..10 {
                append(&spool, [n * 10 + i]).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("appended");
    }
    let mut seen = drain(&spool).await;
    for n in 0..64 {
        let own = ids(n * 10..n * 10 + 10);
        let of_task: Vec<_> = seen.iter().filter(|id| own.contains(id)).copied().collect();
        assert_eq!(of_task, own, "one caller's records keep their order");
    }
    seen.sort_unstable();
    assert_eq!(seen, ids(0..640));
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_and_keys_are_right_after_appends_and_removals_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = SpoolConfig::new(dir.path());
    config.segment_bytes = 8 << 10;
    let spool = try_open(config).await.expect("opened");
    let appending = tokio::spawn({
        let spool = spool.clone();
        async move {
            for n in 0..300 {
                append(&spool, [n]).await;
            }
        }
    });
    let mut seen = Vec::new();
    while seen.len() < 300 {
        seen.extend(drain(&spool).await);
        tokio::task::yield_now().await;
    }
    appending.await.expect("appended");
    assert_eq!(seen, ids(0..300));
    let status = spool.status();
    assert_eq!((status.records, status.oldest, status.set_aside), (0, None, 0));
    for n in 0..3 {
        assert!(!spool.holds(&OrderKey::parse(&format!("key-{n}")).expect("a key")));
    }
    append(&spool, [300]).await;
    assert_eq!(drain(&spool).await, ids([300]));
    assert_eq!(spool.status().bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_loses_nobody_elses_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..32 {
        let spool = spool.clone();
        tasks.spawn(async move { spool.append(vec![capture(n)]).await });
    }
    let gone = spool.append(vec![capture(100)]);
    drop(gone);
    tokio::select! {
        biased;
        _ = spool.append(vec![capture(101)]) => {}
        () = std::future::ready(()) => {}
    }
    while let Some(done) = tasks.join_next().await {
        assert!(done.expect("answered").iter().all(Result::is_ok));
    }
    append(&spool, [200]).await;
    let mut seen = drain(&spool).await;
    seen.retain(|id| !ids([101]).contains(id));
    seen.sort_unstable();
    assert_eq!(seen, ids((0..32).chain([200])));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_record_is_answered_for_itself() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = SpoolConfig::new(dir.path());
    config.max_record_bytes = 4 << 10;
    let spool = try_open(config).await.expect("opened");
    let mut long = capture(2);
    long.op.error_message = "x".repeat(8 << 10);
    let answers = spool.append(vec![capture(1), long, capture(3)]).await;
    let [Ok(()), Err(SpoolError::TooLarge { id, bytes, max }), Ok(())] = &answers[..] else {
        panic!("{answers:?}");
    };
    assert_eq!((*id, *max), (ids([2])[0], 4 << 10));
    assert!(*bytes > 8 << 10);
    assert_eq!(drain(&spool).await, ids([1, 3]));
    assert!(spool.append(Vec::new()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_finishes_what_was_accepted_and_refuses_the_rest() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path()).await;
    append(&spool, 1..=3).await;
    let last = spool.peek(9).await.expect("readable")[0].position;
    spool.close().await;
    spool.close().await;
    let is_closed = |error: &SpoolError| matches!(error, SpoolError::Backend(error) if error.kind() == BackendKind::Closed);
    let answers = spool.append(vec![capture(4)]).await;
    assert!(answers[0].as_ref().is_err_and(is_closed), "{answers:?}");
    assert!(spool.peek(1).await.as_ref().is_err_and(is_closed));
    assert!(spool.remove(last).await.as_ref().is_err_and(is_closed));
    assert!(spool.set_aside(last, String::new()).await.as_ref().is_err_and(is_closed));
    assert!(spool.adopt().await.is_err_and(|error| error.kind() == BackendKind::Closed));
    assert!(!spool.holds(&OrderKey::parse("key-9").expect("a key")));
    assert_eq!(drain(&open(dir.path()).await).await, ids(1..=3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_says_so_and_takes_records_again_when_some_are_removed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut config = SpoolConfig::new(dir.path());
    (config.max_bytes, config.segment_bytes) = (64 << 10, 16 << 10);
    config.max_record_bytes = 16 << 10;
    let spool = try_open(config).await.expect("opened");
    let answers = spool.append((0..100).map(capture).collect()).await;
    let accepted = answers.iter().take_while(|answer| answer.is_ok()).count();
    assert!((10..100).contains(&accepted), "{accepted}");
    assert!(answers[accepted..].iter().all(|a| matches!(a, Err(SpoolError::Full { .. }))));
    assert!(spool.status().bytes <= 64 << 10);
    assert_eq!(drain(&spool).await.len(), accepted);
    append(&spool, [500]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inspection_needs_no_lock_and_finds_damage() {
    let dir = tempfile::tempdir().expect("a directory");
    let spool = open(dir.path()).await;
    append(&spool, 1..=3).await;
    let found = inspect(dir.path().to_owned()).await.expect("readable");
    assert_eq!((found.lanes.len(), found.lanes[0].live, found.lanes[0].records), (1, true, 3));
    assert_eq!(found.problems, []);
    spool.close().await;
    std::fs::write(dir.path().join("stray"), b"?").expect("written");
    let found = inspect(dir.path().to_owned()).await.expect("readable");
    assert_eq!((found.lanes[0].live, found.problems.len()), (false, 1));
    assert!(inspect(dir.path().join("nowhere")).await.is_err());
}
