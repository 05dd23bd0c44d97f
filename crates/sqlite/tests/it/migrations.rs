//! The schema, and who makes it.

use baldur_core::{
    BackendKind, Chain, Evidence, Timestamp,
    command::{Act, Action, WhenFull},
    port::{CaptureError, ClaimStore, EvidenceLog, LiveCounts},
};

use crate::support::{Lab, keep, open_at, problems, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn starters_at_the_same_time_make_one_schema() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("baldur.db");
    let starters: Vec<_> = (0..8)
        .map(|_| {
            let path = path.clone();
            tokio::spawn(async move { open_at(&path).await })
        })
        .collect();
    let mut stores = Vec::new();
    for starter in starters {
        stores.push(starter.await.expect("no panic").expect("each opens"));
    }
    for store in &stores {
        assert_eq!(problems(store).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_a_clear_text() {
    let lab = Lab::new().await;
    lab.store.close().await;
    run(&mut lab.raw().await, "INSERT INTO baldur_migrations VALUES (4, 'later', 'x')").await;
    let error = open_at(&lab.path()).await.expect_err("it is newer");
    assert_eq!(error.kind(), BackendKind::Corrupt);
    let text = Chain(&error).to_string();
    assert!(text.contains("schema version 4, this program knows up to 3"), "{text}");
}

#[tokio::test]
async fn an_edited_migration_is_refused() {
    let lab = Lab::new().await;
    lab.store.close().await;
    run(&mut lab.raw().await, "UPDATE baldur_migrations SET digest = 'x'").await;
    let error = open_at(&lab.path()).await.expect_err("another history");
    assert_eq!(error.kind(), BackendKind::Corrupt);
    assert!(Chain(&error).to_string().contains("is not the one of this program"));
}

#[tokio::test]
async fn opening_again_changes_nothing() {
    let lab = Lab::new().await;
    keep(&lab.store, lab.captures.an_op().build()).await.expect("a capture");
    lab.store.close().await;
    let before = std::fs::read(lab.path()).expect("a file");
    lab.another().await.close().await;
    assert!(std::fs::read(lab.path()).expect("a file") == before, "the file changed");
}

/// Takes the newest schema back to the first one.
const BACK_TO_VERSION_1: &str = "
    DROP TABLE breakers;
    DROP TABLE paces;
    DROP INDEX entries_evictable;
    DROP TABLE gone;
    DROP TABLE live_domains;
    ALTER TABLE namespaces DROP COLUMN live;
    CREATE TABLE old (
        entry   INTEGER NOT NULL REFERENCES entries,
        counter INTEGER NOT NULL CHECK (counter > 0),
        body    TEXT    NOT NULL,
        PRIMARY KEY (entry, counter)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO old SELECT * FROM evidence;
    DROP TABLE evidence;
    ALTER TABLE old RENAME TO evidence;
    DELETE FROM baldur_migrations WHERE version > 1;
";

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up() {
    let lab = Lab::new().await;
    let mut captures = lab.captures.ops(3);
    captures.push(lab.captures.an_op().domain("stock").build());
    let ids: Vec<_> = captures.iter().map(|capture| capture.op.id).collect();
    for capture in captures {
        keep(&lab.store, capture).await.expect("a capture");
    }
    let evidence = Evidence::system(Timestamp::UNIX_EPOCH);
    let act = Act { id: ids[0], action: Action::Expire, evidence };
    lab.store.apply(vec![act]).await.remove(0).expect("it waits");
    lab.store.close().await;
    run(&mut lab.raw().await, BACK_TO_VERSION_1).await;

    let store = lab.another().await;
    assert_eq!(problems(&store).await, Vec::<String>::new());
    assert_eq!(store.trail(ids[0], 0, 10).await.expect("a trail").len(), 2);
    // What was live before is counted.
    let limited = || lab.captures.an_op().limits(3, 4, WhenFull::Reject).build();
    let kept = keep(&store, limited()).await.expect("two are live in the domain, three in all");
    assert_eq!(kept.live, Some(LiveCounts { in_domain: 3, in_all: 4 }));
    let refused = keep(&store, limited()).await.expect_err("there is no room");
    assert!(matches!(refused, CaptureError::LimitReached { live: 3, .. }), "{refused:?}");
    store.close().await;
}
