//! One writer, shared commits, and what becomes of each caller.

use std::time::Duration;

use baldur_core::{
    BackendKind, EntryId, Outcome,
    port::{CaptureError, CaptureStore},
};

use crate::support::{Lab, found, keep, problems, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_captures_share_commits() {
    let lab = Lab::new().await;
    let mut tasks = Vec::new();
    for _ in 0..64 {
        let (store, captures) = (lab.store.clone(), lab.captures.ops(16));
        tasks.push(tokio::spawn(async move {
            for capture in captures {
                keep(&store, capture).await.expect("a capture");
            }
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }
    let stats = lab.store.stats();
    assert_eq!(stats.items, 64 * 16);
    assert!(stats.commits * 10 <= stats.items, "{stats:?}");
}

#[tokio::test]
async fn a_lonely_capture_is_one_commit() {
    let lab = Lab::new().await;
    for n in 1..=3 {
        lab.keep(lab.captures.an_op().build()).await.expect("a capture");
        assert_eq!(lab.store.stats().commits, n);
    }
}

#[tokio::test]
async fn a_group_ends_at_the_row_limit() {
    let lab = Lab::with(|mut config| {
        config.max_rows_per_commit = 10;
        config
    })
    .await;
    // The writer can't begin while another holds the file, so all of these are queued when it can.
    let mut other = lab.raw().await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let captures = lab.captures.ops(100);
    let all: Vec<_> = captures.into_iter().map(|c| lab.store.capture_batch(vec![c])).collect();
    let release = async { run(&mut other, "COMMIT").await };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(all), release);
    assert!(answers.into_iter().flatten().all(|answer| answer.is_ok()));
    assert_eq!(lab.store.stats().commits, 10);
}

#[tokio::test]
async fn a_row_that_the_database_refuses_fails_alone() {
    let lab = Lab::new().await;
    let mut other = lab.raw().await;
    run(
        &mut other,
        "CREATE TRIGGER picky BEFORE INSERT ON payloads \
         WHEN (SELECT domain FROM entries WHERE seq = NEW.seq) = 'cursed' \
         BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    )
    .await;
    // Hold the file until everything is queued, so that good and bad share a group.
    run(&mut other, "BEGIN IMMEDIATE").await;
    let mut captures = lab.captures.ops(20);
    captures.insert(7, lab.captures.an_op().domain("cursed").build());
    let ids: Vec<EntryId> = captures.iter().map(|capture| capture.op.id).collect();
    let all: Vec<_> = captures.into_iter().map(|c| lab.store.capture_batch(vec![c])).collect();
    let release = async { run(&mut other, "COMMIT").await };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(all), release);
    for (n, answer) in answers.into_iter().flatten().enumerate() {
        match answer {
            Ok(answer) => assert_eq!(answer.id, ids[n]),
            Err(CaptureError::Invalid(text)) => {
                assert_eq!(n, 7);
                assert!(text.contains("not this one"), "{text}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(found(&lab.store, &ids).await, 20);
    assert!(lab.store.stats().isolated > 0);
    run(&mut other, "DROP TRIGGER picky").await;
    assert_eq!(problems(&lab.store).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_bad_row_inside_one_batch_fails_alone() {
    let lab = Lab::new().await;
    let mut other = lab.raw().await;
    run(
        &mut other,
        "CREATE TRIGGER picky BEFORE INSERT ON entries WHEN NEW.domain = 'cursed' \
         BEGIN SELECT RAISE(ABORT, 'not this one'); END",
    )
    .await;
    let mut captures = lab.captures.ops(3);
    captures.insert(1, lab.captures.an_op().domain("cursed").build());
    let answers = lab.store.capture_batch(captures).await;
    let kept: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(kept, [true, false, true, true]);
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nobody_along() {
    let lab = Lab::new().await;
    let mut other = lab.raw().await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let captures = lab.captures.ops(30);
    let ids: Vec<EntryId> = captures.iter().map(|capture| capture.op.id).collect();
    let mut tasks = Vec::new();
    for capture in captures {
        let store = lab.store.clone();
        tasks.push(tokio::spawn(async move { keep(&store, capture).await }));
    }
    // Everyone has queued; every third goes away before the group can commit.
    tokio::task::yield_now().await;
    for task in tasks.iter().step_by(3) {
        task.abort();
    }
    run(&mut other, "COMMIT").await;
    for (n, task) in tasks.into_iter().enumerate() {
        match task.await {
            Ok(answer) => assert_eq!(answer.expect("a capture").id, ids[n]),
            Err(gone) => assert!(gone.is_cancelled() && n % 3 == 0),
        }
    }
    // Whatever became of the others' entries, they are whole.
    assert!(found(&lab.store, &ids).await >= 20);
    assert_eq!(problems(&lab.store).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_full_queue_is_busy_and_changes_nothing() {
    let lab = Lab::with(|mut config| {
        config.queue = 1;
        config.max_rows_per_commit = 1;
        config.busy_timeout = Duration::from_millis(300);
        config
    })
    .await;
    let mut other = lab.raw().await;
    run(&mut other, "BEGIN IMMEDIATE").await;
    let captures = lab.captures.ops(8);
    let ids: Vec<EntryId> = captures.iter().map(|capture| capture.op.id).collect();
    let all: Vec<_> = captures.into_iter().map(|c| lab.store.capture_batch(vec![c])).collect();
    let answers = futures_util::future::join_all(all).await;
    for answer in answers.into_iter().flatten() {
        let Err(CaptureError::Backend(error)) = answer else { panic!("{answer:?}") };
        assert_eq!((error.kind(), error.outcome()), (BackendKind::Busy, Outcome::NotApplied));
    }
    run(&mut other, "COMMIT").await;
    assert_eq!(found(&lab.store, &ids).await, 0);
}

#[tokio::test]
async fn what_was_queued_before_close_is_kept() {
    let lab = Lab::new().await;
    let captures = lab.captures.ops(50);
    let ids: Vec<EntryId> = captures.iter().map(|capture| capture.op.id).collect();
    let all: Vec<_> = captures.into_iter().map(|c| lab.store.capture_batch(vec![c])).collect();
    let (answers, ()) = tokio::join!(futures_util::future::join_all(all), lab.store.close());
    let kept = answers.into_iter().flatten().flatten().count();
    assert_eq!(kept, 50, "they were polled, and so queued, before the close");
    assert!(!lab.path().with_extension("db-wal").exists(), "the log was written back");
    assert_eq!(found(&lab.another().await, &ids).await, 50);
}

#[tokio::test]
async fn dropping_the_store_loses_nothing_acknowledged() {
    let lab = Lab::new().await;
    let captures = lab.captures.ops(5);
    let ids: Vec<EntryId> = captures.iter().map(|capture| capture.op.id).collect();
    let store = lab.another().await;
    for answer in store.capture_batch(captures).await {
        answer.expect("a capture");
    }
    drop(store);
    assert_eq!(found(&lab.store, &ids).await, 5);
}
