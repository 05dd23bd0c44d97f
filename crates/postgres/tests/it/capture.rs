//! Captures of several processes at once.

use std::time::Duration;

use baldur_contract::evidence;
use baldur_core::{
    Clock, EntryId, Timestamp,
    command::{Capture, ClaimBatch, ClaimSelect, ClaimTerms, WhenFull},
    port::{CaptureError, CaptureStore, Captured, ClaimStore, Disposition, EntryReader},
};
use baldur_postgres::PostgresStore;
use futures_util::future::join_all;
use sqlx::PgConnection;

use crate::lab::{Lab, keep};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_in_two_processes_is_new_once() {
    let lab = Lab::new().await;
    let other = lab.another().await;
    for _ in 0..20 {
        let capture = lab.captures.an_op().build();
        let stores = [&lab.store, &other, &lab.store, &other];
        let kept = join_all(stores.map(|store| keep(store, capture.clone()))).await;
        let kept: Vec<Captured> = kept.into_iter().map(|kept| kept.expect("a capture")).collect();
        assert!(kept.iter().all(|captured| captured.id == capture.op.id));
        assert_eq!(dispositions(&kept), [1, 0, 3]);
    }
    other.close().await;
    lab.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_one_dedup_key_one_is_new_and_all_are_counted() {
    const TASKS: usize = 8;
    const EACH: usize = 10;
    let lab = Lab::new().await;
    let other = lab.another().await;
    let key = "the one";
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let store = if task % 2 == 0 { lab.store.clone() } else { other.clone() };
        let captures: Vec<_> =
            (0..EACH).map(|_| lab.captures.an_op().dedup_key(key).build()).collect();
        tasks.push(tokio::spawn(async move {
            let mut kept = Vec::new();
            for capture in captures {
                kept.push(keep(&store, capture).await.expect("a capture"));
            }
            kept
        }));
    }
    let mut kept = Vec::new();
    for task in tasks {
        kept.extend(task.await.expect("no panic"));
    }
    assert_eq!(dispositions(&kept), [1, TASKS * EACH - 1, 0]);
    // Each has an occurrence of its own.
    let mut occurrences: Vec<u64> = kept.iter().map(|captured| captured.occurrence).collect();
    occurrences.sort_unstable();
    assert_eq!(occurrences, (1..=(TASKS * EACH) as u64).collect::<Vec<_>>());
    let found = lab.store.find(vec![kept[0].id]).await.expect("a read");
    let found = found[0].as_ref().expect("it is there");
    assert_eq!(found.state.occurrences, (TASKS * EACH) as u64);
    other.close().await;
    lab.store.close().await;
}

/// Below the reserve all take turns; above it they share the limit until it is near.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_limit_is_exceeded_by_many_writers() {
    for limit in [40, 1_700] {
        let lab = Lab::new().await;
        let other = lab.another().await;
        let batch = if limit < 100 { 1 } else { 30 };
        let kept = flood(&lab, &other, limit, batch).await;
        let ns = lab.ns().await;
        assert_eq!((kept, live(&mut lab.raw().await, ns).await), (limit, i64::from(limit)));
        other.close().await;
        lab.store.close().await;
    }
}

/// 16 writers that go on until each was refused; a witness looks at every moment. Answers how many were kept.
async fn flood(lab: &Lab, other: &PostgresStore, limit: u32, batch: u32) -> u32 {
    let mut tasks = Vec::new();
    for task in 0..16 {
        let store = if task % 2 == 0 { lab.store.clone() } else { other.clone() };
        let mut captures: Vec<Vec<Capture>> = Vec::new();
        // Enough that all of them together are more than the limit.
        for _ in 0..=(limit / batch / 8) {
            let limited = || lab.captures.an_op().limits(limit.into(), 0, WhenFull::Reject).build();
            captures.push((0..batch).map(|_| limited()).collect());
        }
        tasks.push(tokio::spawn(async move {
            let mut kept = 0;
            for captures in captures {
                for answer in store.capture_batch(captures).await {
                    match answer {
                        Ok(_) => kept += 1,
                        Err(CaptureError::LimitReached { live, .. }) => {
                            assert_eq!(live, u64::from(limit));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            kept
        }));
    }
    let ns = lab.ns().await;
    let mut witness = lab.raw().await;
    let mut all = std::pin::pin!(join_all(tasks));
    loop {
        tokio::select! {
            kept = &mut all => return kept.into_iter().map(|kept| kept.expect("no panic")).sum(),
            live = live(&mut witness, ns) => assert!(live <= limit.into(), "{live} of {limit}"),
        }
    }
}

/// Counted in the rows themselves.
async fn live(conn: &mut PgConnection, ns: i32) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM baldur.states WHERE ns = $1 \
         AND status IN ('pending', 'replaying', 'reviewing', 'requires_review')",
    )
    .bind(ns)
    .fetch_one(conn)
    .await
    .expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oldest_entries_go_one_for_each_newcomer_of_many_writers() {
    const LIMIT: usize = 20;
    let lab = Lab::new().await;
    let other = lab.another().await;
    let limited = || lab.captures.an_op().limits(LIMIT as u64, 0, WhenFull::DropOldest).build();
    let mut tasks = Vec::new();
    for task in 0..8 {
        let store = if task % 2 == 0 { lab.store.clone() } else { other.clone() };
        let captures: Vec<Capture> = (0..20).map(|_| limited()).collect();
        tasks.push(tokio::spawn(async move {
            let mut gone = Vec::new();
            for capture in captures {
                let kept = keep(&store, capture).await.expect("there is always one that may go");
                gone.extend(kept.evicted.into_iter().map(|evicted| evicted.id));
            }
            gone
        }));
    }
    let mut gone: Vec<EntryId> = Vec::new();
    for task in tasks {
        gone.extend(task.await.expect("no panic"));
    }
    let evictions = gone.len();
    gone.sort_unstable();
    gone.dedup();
    assert_eq!((gone.len(), evictions), (160 - LIMIT, 160 - LIMIT));
    let ns = lab.ns().await;
    assert_eq!(live(&mut lab.raw().await, ns).await, 20);
    other.close().await;
    lab.store.close().await;
}

/// The entry that came first is being claimed while one arrives that is older: there is never a second claim, and the
/// older one is the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_entry_arrives_while_the_head_is_claimed() {
    let lab = Lab::new().await;
    let other = lab.another().await;
    for round in 0..20 {
        let key = format!("order {round}");
        let now = lab.clock.now();
        let head = lab.captures.an_op().order_key(&key).created_at(now).build();
        let earlier = Timestamp::from_micros(now.as_micros() - 1_000_000).expect("a time");
        let older = lab.captures.an_op().order_key(&key).created_at(earlier).build();
        let (head_id, older_id) = (head.op.id, older.op.id);
        lab.keep(head).await.expect("a capture");
        let (kept, claimed) = tokio::join!(keep(&other, older), claim(&lab.store, &lab));
        assert_eq!(kept.expect("a capture").disposition, Disposition::New);
        let mut claimed = claimed;
        claimed.extend(claim(&other, &lab).await);
        assert_eq!(claimed.len(), 1, "one of the key at a time");
        assert!([head_id, older_id].contains(&claimed[0]));
        let marked: Vec<EntryId> = heads(&mut lab.raw().await, lab.ns().await, &key).await;
        assert_eq!(marked, claimed, "what is being replayed is the head");
    }
    other.close().await;
    lab.store.close().await;
}

async fn claim(store: &PostgresStore, lab: &Lab) -> Vec<EntryId> {
    let claim = ClaimBatch {
        select: ClaimSelect::Due {
            domains: vec![lab.captures.an_op().build().op.domain],
            dependency: None,
            limit: 10,
        },
        terms: ClaimTerms {
            holder: "w".parse().expect("a name"),
            lease: Duration::from_secs(30),
            force: false,
            unchanged_since: None,
            evidence: evidence(&lab.clock),
        },
    };
    let outcome = store.claim_batch(claim).await.expect("a claim");
    outcome.claimed.iter().map(|claimed| claimed.op.id).collect()
}

async fn heads(conn: &mut PgConnection, ns: i32, key: &str) -> Vec<EntryId> {
    let ids: Vec<sqlx::types::Uuid> = sqlx::query_scalar(
        "SELECT id FROM baldur.states WHERE ns = $1 AND order_key = $2 AND order_head",
    )
    .bind(ns)
    .bind(key)
    .fetch_all(conn)
    .await
    .expect("the heads");
    ids.into_iter().map(|id| EntryId::from_bytes(id.into_bytes())).collect()
}

/// More keys than one transaction may lock: they are split, and each is answered in its place.
#[tokio::test]
async fn a_batch_with_many_keys_is_kept_in_several_transactions() {
    let lab = Lab::new().await;
    let captures: Vec<Capture> = (0..150)
        .map(|n| {
            let key = format!("key {}", n % 140);
            lab.captures.an_op().dedup_key(&key).order_key(&key).build()
        })
        .collect();
    let before = lab.store.stats().commits;
    let kept = lab.store.capture_batch(captures.clone()).await;
    let kept: Vec<Captured> = kept.into_iter().map(|kept| kept.expect("a capture")).collect();
    assert_eq!(dispositions(&kept), [140, 10, 0]);
    for (n, captured) in kept.iter().enumerate() {
        assert_eq!(captured.id, captures[n % 140].op.id);
    }
    assert_eq!(lab.store.stats().commits - before, 5);
    lab.store.close().await;
}

/// New, merged, repeated.
fn dispositions(kept: &[Captured]) -> [usize; 3] {
    let count = |of| kept.iter().filter(|captured| captured.disposition == of).count();
    [count(Disposition::New), count(Disposition::Merged), count(Disposition::Repeated)]
}
