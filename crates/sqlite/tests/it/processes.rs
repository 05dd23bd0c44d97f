//! Several writers on one file: what one process does, another sees, and nothing is done twice.

use std::collections::BTreeSet;

use baldur_core::{
    EntryId,
    command::{ClaimBatch, ClaimSelect, ClaimTerms},
    name::{Domain, WorkerName},
    port::{CaptureStore, ClaimStore},
};
use baldur_sqlite::SqliteStore;

use crate::support::{Lab, found, problems};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_write_to_one_file() {
    let lab = Lab::new().await;
    let other = lab.another().await;
    let mut ids: Vec<EntryId> = Vec::new();
    let mut tasks = Vec::new();
    for n in 0..20 {
        let captures = lab.captures.ops(10);
        ids.extend(captures.iter().map(|capture| capture.op.id));
        let store = if n % 2 == 0 { lab.store.clone() } else { other.clone() };
        tasks.push(tokio::spawn(async move { store.capture_batch(captures).await }));
    }
    for task in tasks {
        assert!(task.await.expect("no panic").iter().all(Result::is_ok));
    }
    assert_eq!(found(&lab.store, &ids).await, 200);
    assert_eq!(found(&other, &ids).await, 200);
    assert_eq!(problems(&other).await, Vec::<String>::new());
}

async fn claim(store: SqliteStore, terms: ClaimTerms) -> Vec<EntryId> {
    let mut claimed = Vec::new();
    loop {
        let domains = vec![Domain::parse("payment").expect("a domain")];
        let select = ClaimSelect::Due { domains, dependency: None, limit: 7 };
        let batch = ClaimBatch { select, terms: terms.clone() };
        let outcome = store.claim_batch(batch).await.expect("a claim");
        if outcome.claimed.is_empty() {
            return claimed;
        }
        claimed.extend(outcome.claimed.iter().map(|claimed| claimed.op.id));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_never_claim_the_same_entry() {
    let lab = Lab::new().await;
    let other = lab.another().await;
    let captures = lab.captures.ops(300);
    let evidence = captures[0].evidence.clone();
    assert!(lab.store.capture_batch(captures).await.iter().all(Result::is_ok));
    let terms = ClaimTerms {
        holder: WorkerName::parse("worker").expect("a name"),
        lease: std::time::Duration::from_secs(30),
        force: false,
        unchanged_since: None,
        evidence,
    };
    let one = tokio::spawn(claim(lab.store.clone(), terms.clone()));
    let two = tokio::spawn(claim(other.clone(), terms));
    let mut all = one.await.expect("no panic");
    all.extend(two.await.expect("no panic"));
    assert_eq!(all.len(), 300);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 300);
    assert_eq!(problems(&lab.store).await, Vec::<String>::new());
}
