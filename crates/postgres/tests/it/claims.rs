//! Claims and lapses of several processes at once.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use baldur_core::name::ServiceName;
use baldur_core::{
    EntryId, Status,
    command::SettleOutcome,
    policy::BreakerState,
    port::{BreakerStoreError, CircuitBreakerStore, ClaimError, ClaimStore, SaveBreaker},
};
use futures_util::future::join_all;
use tokio::task::yield_now;

use crate::{
    claiming::{claim, failed, find, lock, run, settle, succeeded, until},
    lab::Lab,
};

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_claimers_in_two_processes_none_gets_what_another_has() {
    let lab = Arc::new(Lab::new().await);
    let stores = [lab.store.clone(), lab.another().await];
    let ids: BTreeSet<EntryId> = lab.entries(400).await.into_iter().collect();
    let claimers = (0..8).map(|n| {
        let (store, lab) = (stores[n % 2].clone(), Arc::clone(&lab));
        tokio::spawn(async move {
            let mut got = Vec::new();
            loop {
                let claimed = claim(&store, lab.due(7)).await;
                if claimed.is_empty() {
                    return got;
                }
                got.extend(claimed.iter().map(|op| op.id));
                for op in &claimed {
                    settle(&store, lab.settle(op, succeeded())).await.expect("it is ours");
                }
            }
        })
    });
    let got: Vec<EntryId> =
        join_all(claimers).await.into_iter().flat_map(|got| got.expect("no panic")).collect();
    assert_eq!(got.len(), ids.len(), "each one once");
    assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), ids);
}

#[tokio::test(flavor = "multi_thread")]
async fn lapses_of_two_processes_share_what_ran_out() {
    let lab = Arc::new(Lab::new().await);
    let stores = [lab.store.clone(), lab.another().await];
    let mut captures = lab.captures.ops(150);
    captures.extend((0..50).map(|n| lab.captures.an_op().order_key(&format!("key {n}")).build()));
    let ids: BTreeSet<EntryId> = lab.keep_all(captures).await.into_iter().collect();
    assert_eq!(claim(&lab.store, lab.due(1000)).await.len(), ids.len());
    lab.clock.advance(Duration::from_secs(31));
    let lapsers = (0..8).map(|n| {
        let (store, lab) = (stores[n % 2].clone(), Arc::clone(&lab));
        tokio::spawn(async move {
            let mut ended = Vec::new();
            loop {
                let step = store.lapse(lab.lapse(20)).await.expect("a lapse is answered");
                ended.extend(step.lapsed.into_iter().map(|(id, _)| id));
                if !step.more {
                    return ended;
                }
            }
        })
    });
    let ended: Vec<EntryId> =
        join_all(lapsers).await.into_iter().flat_map(|ended| ended.expect("no panic")).collect();
    assert_eq!(ended.len(), ids.len(), "each one once");
    assert_eq!(ended.into_iter().collect::<BTreeSet<_>>(), ids);
}

/// Who lapses waits for nobody who works on a claim, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_lapse_passes_over_what_is_locked() {
    let lab = Lab::new().await;
    let ids = lab.entries(3).await;
    claim(&lab.store, lab.by_id(&ids)).await;
    lab.clock.advance(Duration::from_secs(31));
    let mut other = lab.raw().await;
    run(&mut other, "BEGIN").await;
    lock(&lab, &mut other, ids[0]).await;
    let step = lab.store.lapse(lab.lapse(10)).await.expect("it does not wait");
    let ended: Vec<EntryId> = step.lapsed.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ended, ids[1..]);
    run(&mut other, "ROLLBACK").await;
    let step = lab.store.lapse(lab.lapse(10)).await.expect("it is answered");
    assert_eq!(step.lapsed.len(), 1);
}

/// While an old snapshot is open, entries of the index can't be cleaned up, and claims start behind them. An entry that
/// becomes due before that place is claimed all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_snapshot_hides_no_due_entry() {
    let lab = Lab::new().await;
    let mut ids = lab.entries(200).await;
    ids.sort_unstable();
    let ns = lab.ns().await;
    let mut old = lab.raw().await;
    let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM baldur.states";
    run(&mut old, snapshot).await;
    let mut other = lab.raw().await;
    let later = "UPDATE baldur.states SET next_attempt_at = next_attempt_at + 1";
    for _ in 0..60 {
        run(&mut other, &format!("{later} WHERE ns = {ns}")).await;
    }
    lab.clock.advance(Duration::from_secs(1));
    let first = claim(&lab.store, lab.due(10)).await;
    assert_eq!(first.iter().map(|op| op.id).collect::<Vec<_>>(), ids[..10]);
    let early = ids[150];
    let sooner = "UPDATE baldur.states SET next_attempt_at = 0";
    run(&mut other, &format!("{sooner} WHERE ns = {ns} AND id = '{early}'")).await;
    until("the entry before the others", || async {
        let due = claim(&lab.store, lab.due(1)).await;
        for op in due.iter().filter(|op| op.id != early) {
            let released = lab.settle(op, SettleOutcome::Released);
            settle(&lab.store, released).await.expect("it is ours");
        }
        due.iter().any(|op| op.id == early)
    })
    .await;
    let mut left: BTreeSet<EntryId> = ids[10..].iter().copied().filter(|id| *id != early).collect();
    while !left.is_empty() {
        for op in claim(&lab.store, lab.due(50)).await {
            assert!(left.remove(&op.id), "nothing is claimed twice");
        }
    }
    run(&mut old, "ROLLBACK").await;
}

/// A caller that is dropped at any point leaves the claim done or not done, and the connection as it was: there is only
/// one for writes here.
#[tokio::test]
async fn a_caller_that_goes_away_leaves_the_claim_whole() {
    let lab = Lab::with(|mut config| {
        config.max_connections = 2;
        config
    })
    .await;
    let ids = lab.entries(24).await;
    for (turns, id) in ids.iter().enumerate() {
        let gone = async {
            for _ in 0..turns {
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = gone => {}
            _ = lab.store.claim_batch(lab.by_id(&[*id])) => {}
        }
        let again = lab.store.claim_batch(lab.by_id(&[*id])).await.expect("the next is answered");
        if let [(_, error)] = again.refused.as_slice() {
            assert!(
                matches!(error, ClaimError::NotClaimable { status: Status::Replaying, .. }),
                "{error}"
            );
        }
        // Whoever claimed it did so once.
        until("the claim", || async {
            find(&lab.store, *id).await.state.status == Status::Replaying
        })
        .await;
        let op = find(&lab.store, *id).await;
        assert_eq!((op.state.claim_token.0, op.state.evidence_count), (1, 2));
        settle(&lab.store, lab.settle(&op, failed())).await.expect("it is held");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_saves_of_one_version_in_two_processes_one_succeeds() {
    let lab = Lab::new().await;
    let stores = [lab.store.clone(), lab.another().await];
    let name = ServiceName::parse("payment-gateway").expect("a name");
    for expected in 0..4 {
        let saves = (0..8).map(|n| {
            let save = SaveBreaker {
                name: name.clone(),
                expected,
                state: BreakerState::HalfOpen,
                open_for: None,
                reopenings: 0,
                forced: None,
                evidence: baldur_contract::evidence(&lab.clock),
            };
            let store = stores[n % 2].clone();
            async move { store.save(save).await }
        });
        let answers = join_all(saves).await;
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
        for lost in answers.into_iter().filter_map(Result::err) {
            assert!(
                matches!(&lost, BreakerStoreError::Conflict { current } if current.version == expected + 1),
                "{lost:?}"
            );
        }
    }
}
