//! Shared commits, and what becomes of each caller.

use baldur_core::{
    BackendKind, Outcome,
    port::{CaptureError, CaptureStore, EntryReader},
};
use futures_util::future::join_all;
use secrecy::SecretString;

use crate::{
    database::{Database, run},
    lab::{Lab, keep},
};

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
    // Five writers at a time, and 64 that ask.
    assert!(stats.commits * 3 <= stats.items, "{stats:?}");
    lab.store.close().await;
}

#[tokio::test]
async fn a_lonely_capture_is_one_commit() {
    let lab = Lab::new().await;
    for n in 1..=3 {
        lab.keep(lab.captures.an_op().build()).await.expect("a capture");
        assert_eq!(lab.store.stats().commits, n);
    }
    lab.store.close().await;
}

#[tokio::test]
async fn a_row_that_the_database_refuses_fails_alone() {
    let database = Database::fresh().await;
    let lab = Lab::on(SecretString::from(database.url()), |config| config).await;
    run(
        &mut database.connect().await,
        "CREATE FUNCTION picky() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.domain = 'cursed' THEN RAISE EXCEPTION 'not this one' USING ERRCODE = '23514'; END IF; \
         RETURN NEW; END $$; \
         CREATE TRIGGER picky BEFORE INSERT ON baldur.entries FOR EACH ROW EXECUTE FUNCTION picky()",
    )
    .await;
    let mut captures = lab.captures.ops(20);
    captures.insert(7, lab.captures.an_op().domain("cursed").build());
    let ids: Vec<_> = captures.iter().map(|capture| capture.op.id).collect();
    let answers = lab.store.capture_batch(captures).await;
    for (n, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(kept) => assert_eq!(kept.id, ids[n]),
            Err(CaptureError::Invalid(why)) => {
                assert_eq!(n, 7);
                assert!(why.contains("not this one"), "{why}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(lab.store.stats().isolated, 1);
    let found = lab.store.find(ids).await.expect("a read");
    assert_eq!(found.iter().flatten().count(), 20);
    lab.store.close().await;
    database.remove().await;
}

/// What was asked for before the end is done, and what comes later is told so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_closes_finishes_what_was_asked() {
    let lab = Lab::new().await;
    let captures = lab.captures.ops(100);
    let asked = captures.iter().map(|capture| keep(&lab.store, capture.clone()));
    let (kept, ()) = tokio::join!(join_all(asked), async {
        // All of them are in the queue, or beyond it, before this runs.
        lab.store.close().await;
    });
    let ids: Vec<_> = captures.iter().map(|capture| capture.op.id).collect();
    let again = lab.another().await;
    let found = again.find(ids).await.expect("a read");
    for (kept, found) in kept.iter().zip(&found) {
        match kept {
            Ok(_) => assert!(found.is_some(), "it was acknowledged"),
            Err(CaptureError::Backend(error)) => {
                assert_eq!(error.kind(), BackendKind::Closed);
                assert!(found.is_none(), "it was refused");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(kept.iter().filter(|kept| kept.is_ok()).count() > 0);
    let late = keep(&lab.store, lab.captures.an_op().build()).await;
    assert!(
        matches!(late, Err(CaptureError::Backend(error)) if error.kind() == BackendKind::Closed)
    );
    again.close().await;
}

/// Captures of one order key come in their order or not at all, also where a batch needs several transactions.
#[tokio::test]
async fn nothing_overtakes_what_a_full_database_did_not_keep() {
    let database = Database::fresh().await;
    let lab = Lab::on(SecretString::from(database.url()), |config| config).await;
    run(
        &mut database.connect().await,
        "CREATE FUNCTION full_for() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF NEW.domain = 'large' THEN RAISE EXCEPTION 'no room' USING ERRCODE = '53100'; END IF; \
         RETURN NEW; END $$; \
         CREATE TRIGGER full_for BEFORE INSERT ON baldur.entries FOR EACH ROW EXECUTE FUNCTION full_for()",
    )
    .await;
    let keyed = |n: usize| lab.captures.an_op().order_key(&format!("key-{n}"));
    // The second transaction fails; the third would have the next capture of its keys.
    let captures: Vec<_> = (0..64)
        .map(|n| keyed(n).build())
        .chain((64..128).map(|n| keyed(n).domain("large").build()))
        .chain((64..128).map(|n| keyed(n).build()))
        .collect();
    let ids: Vec<_> = captures.iter().map(|capture| capture.op.id).collect();
    let answers = lab.store.capture_batch(captures).await;
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Ok(_) => assert!(n < 64, "{n} is kept"),
            Err(CaptureError::Backend(error)) => {
                assert_eq!((n >= 64, error.kind()), (true, BackendKind::Full), "{n}");
                assert_eq!(error.outcome(), Outcome::NotApplied, "{n}");
            }
            Err(error) => panic!("{n}: {error}"),
        }
    }
    let found = lab.store.find(ids).await.expect("a read");
    let kept: Vec<bool> = found.iter().map(Option::is_some).collect();
    assert_eq!(kept, (0..192).map(|n| n < 64).collect::<Vec<_>>());
    lab.store.close().await;
    database.remove().await;
}
