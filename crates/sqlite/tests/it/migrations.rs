//! The schema, and who makes it.

use baldur_core::{BackendKind, Chain};

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
    run(&mut lab.raw().await, "INSERT INTO baldur_migrations VALUES (3, 'later', 'x')").await;
    let error = open_at(&lab.path()).await.expect_err("it is newer");
    assert_eq!(error.kind(), BackendKind::Corrupt);
    let text = Chain(&error).to_string();
    assert!(text.contains("schema version 3, this program knows up to 2"), "{text}");
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
