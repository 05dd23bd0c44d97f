//! Settles, heartbeats and acts of several processes at once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use baldur_core::{
    EntryId, Status,
    command::{Action, Extend, SettleOutcome},
    port::{ClaimError, ClaimStore},
};
use baldur_services::postgres_url;
use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};

use crate::{
    claiming::{
        Dice, claim, claim_ref, failed, find, lock, number, run, settle, succeeded, until,
        until_blocked_by,
    },
    lab::Lab,
};

/// A statement that waits for a row sees the row as it is afterwards, and other tables as they were before it waited. A
/// settle that adds to the attempts must not add to those.
#[tokio::test(flavor = "multi_thread")]
async fn a_settle_that_waited_adds_to_the_attempts_as_they_are() {
    let lab = Arc::new(Lab::new().await);
    let ids = lab.entries(2).await;
    // The attempts that somebody else will have stored meanwhile.
    let model = claim(&lab.store, lab.by_id(&ids[1..])).await;
    settle(&lab.store, lab.settle(&model[0], failed())).await.expect("it is ours");
    let op = claim(&lab.store, lab.by_id(&ids[..1])).await.remove(0);

    let mut other = lab.raw().await;
    run(&mut other, "BEGIN").await;
    lock(&lab, &mut other, ids[0]).await;
    let waiting = tokio::spawn({
        let (lab, op) = (Arc::clone(&lab), op.clone());
        async move {
            let deferred =
                SettleOutcome::Deferred { reason: "closed".to_owned(), delay: Duration::ZERO };
            settle(&lab.store, lab.settle(&op, deferred)).await
        }
    });
    until_blocked_by(&lab, &mut other).await;
    let sql = format!(
        "INSERT INTO baldur.attempts SELECT ns, '{id}', body FROM baldur.attempts \
         WHERE ns = {ns} AND id = '{model}'; \
         UPDATE baldur.states SET evidence_count = evidence_count + 1 \
         WHERE ns = {ns} AND id = '{id}'; COMMIT",
        ns = lab.ns().await,
        id = ids[0],
        model = ids[1]
    );
    run(&mut other, &sql).await;
    waiting.await.expect("no panic").expect("the claim is held");
    let state = find(&lab.store, ids[0]).await.state;
    assert_eq!(state.attempts.total(), 2, "{:?}", state.attempts);
}

/// A row that comes while a statement waits for others is not there for it, rather than read without a lock.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_that_was_not_locked() {
    let lab = Arc::new(Lab::new().await);
    let old = lab.entries(1).await[0];
    let capture = lab.captures.an_op().build();
    let new = capture.op.id;
    let mut other = lab.raw().await;
    run(&mut other, "BEGIN").await;
    lock(&lab, &mut other, old).await;
    let waiting = tokio::spawn({
        let lab = Arc::clone(&lab);
        async move {
            let acts = [old, new].map(|id| lab.act(id, Action::Review));
            lab.store.apply(acts.to_vec()).await
        }
    });
    until_blocked_by(&lab, &mut other).await;
    lab.keep(capture).await.expect("it is kept");
    run(&mut other, "COMMIT").await;
    let answers = waiting.await.expect("no panic");
    assert!(answers[0].is_ok(), "{answers:?}");
    assert!(matches!(answers[1], Err(ClaimError::NotFound(id)) if id == new), "{answers:?}");
    assert_eq!(find(&lab.store, new).await.state.status, Status::Pending);
}

/// The server keeps the new version of the row in its page and touches no index, as long as the page has room: that of one
/// row has.
#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_touch_no_index() {
    const BEATS: u64 = 12;
    let lab = Lab::on(own_database().await, |config| config).await;
    lab.entries(1).await;
    let claimed = claim(&lab.store, lab.due(1)).await;
    for beat in 0..BEATS {
        let claims = claimed.iter().map(claim_ref).collect();
        let extend = Extend { claims, lease: Duration::from_mins(beat + 1) };
        for answer in lab.store.extend(extend).await {
            answer.expect("the claim is held");
        }
    }
    // Connections that end hand in what they counted.
    lab.store.close().await;
    let counted = |of: &str| {
        format!(
            "SELECT sum({of})::bigint FROM pg_stat_user_tables \
             WHERE schemaname = 'baldur' AND relname = 'states'"
        )
    };
    let beats = i64::try_from(BEATS).expect("few");
    let all = counted("n_tup_upd");
    until("the claim and the heartbeats", || async {
        number(&mut lab.raw().await, &all).await == beats + 1
    })
    .await;
    assert_eq!(number(&mut lab.raw().await, &counted("n_tup_hot_upd")).await, beats);
}

/// Statistics that don't know a namespace take it for an empty one; a plan made by them reads all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_and_its_settle_read_what_they_take() {
    let url = own_database().await;
    let known = Lab::on(url.clone(), |config| config).await;
    for _ in 0..4 {
        known.entries(500).await;
    }
    run(&mut known.raw().await, "ANALYZE").await;
    let lab = Lab::on(url, |config| config).await;
    lab.entries(1000).await;
    let claimed = claim(&lab.store, lab.due(20)).await;
    let settles = claimed.iter().map(|op| lab.settle(op, failed())).collect();
    for answer in lab.store.settle_batch(settles).await {
        answer.expect("it is ours");
    }
    for store in [lab.store.clone(), known.store.clone()] {
        store.close().await;
    }
    let read = "SELECT sum(idx_tup_read)::bigint FROM pg_stat_user_indexes \
         WHERE schemaname = 'baldur' AND indexrelname = 'payloads_pkey'";
    until("the count of what was read", || async { number(&mut lab.raw().await, read).await > 0 })
        .await;
    assert_eq!(number(&mut lab.raw().await, read).await, 20, "payloads");
}

/// The URL of a database that nobody else counts in. It goes with its server.
async fn own_database() -> SecretString {
    let lab = Lab::new().await;
    let name = format!("alone_{}_{}", std::process::id(), lab.ns().await);
    run(&mut lab.raw().await, &format!("CREATE DATABASE {name}")).await;
    let url = postgres_url().unwrap_or_else(|missing| panic!("{missing}"));
    let (server, _) = url.expose_secret().rsplit_once('/').expect("a URL with a database");
    SecretString::from(format!("{server}/{name}"))
}

/// Transactions that take the same rows and keys in any order wait for one another or are done again.
#[tokio::test(flavor = "multi_thread")]
async fn acts_on_overlapping_sets_all_get_through() {
    let lab = Arc::new(Lab::new().await);
    let stores = [lab.store.clone(), lab.another().await];
    let captures = (0..40).map(|n| {
        let op = lab.captures.an_op();
        if n % 2 == 0 { op.order_key(&format!("key {}", n % 8)).build() } else { op.build() }
    });
    let ids = Arc::new(lab.keep_all(captures.collect()).await);
    let actors = (0..8).map(|n| {
        let (store, lab, ids) = (stores[n % 2].clone(), Arc::clone(&lab), Arc::clone(&ids));
        tokio::spawn(async move {
            let mut dice = Dice::new(n as u64 + 1);
            for _ in 0..12 {
                let mut some = BTreeSet::new();
                while some.len() < 12 {
                    some.insert(dice.roll(ids.len()));
                }
                let mut some: Vec<EntryId> = some.into_iter().map(|at| ids[at]).collect();
                let middle = dice.roll(some.len());
                some.rotate_left(middle);
                let acts = some.into_iter().map(|id| {
                    let action = if dice.roll(2) == 0 { Action::Review } else { Action::Back };
                    lab.act(id, action)
                });
                for answer in store.apply(acts.collect()).await {
                    assert!(
                        matches!(answer, Ok(_) | Err(ClaimError::NotAllowed { .. })),
                        "{answer:?}"
                    );
                }
            }
        })
    });
    for actor in join_all(actors).await {
        actor.expect("no panic");
    }
    for id in ids.iter() {
        let op = find(&lab.store, *id).await;
        assert!(op.state.evidence_count > 1, "every one was met");
    }
}

/// More keys than one transaction locks.
#[tokio::test(flavor = "multi_thread")]
async fn settles_of_many_order_keys_go_together() {
    let lab = Lab::new().await;
    let line = |n: usize| lab.captures.an_op().order_key(&format!("key {}", n % 100)).build();
    let ids = lab.keep_all((0..200).map(line).collect()).await;
    let claimed = claim(&lab.store, lab.due(1000)).await;
    assert_eq!(claimed.len(), 100, "one of each key");
    let settles = claimed.iter().map(|op| lab.settle(op, succeeded())).collect();
    for answer in lab.store.settle_batch(settles).await {
        assert_eq!(answer.expect("it is ours").status, Status::Resolved);
    }
    let next: BTreeSet<EntryId> =
        claim(&lab.store, lab.due(1000)).await.iter().map(|op| op.id).collect();
    let first: BTreeSet<EntryId> = claimed.iter().map(|op| op.id).collect();
    let rest = ids.into_iter().filter(|id| !first.contains(id)).collect();
    assert_eq!(next, rest);
}
