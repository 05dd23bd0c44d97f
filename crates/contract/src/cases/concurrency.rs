//! Many callers at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use baldur_core::{
    Cursor, EntryId, EvidenceEvent, FacetScope, Filter, ListOrder, ListQuery, PageSize, Status,
    command::{Capture, SettleOutcome},
    failed_op::Cause,
    port::{ClaimError, Disposition},
};
use tokio::{sync::Notify, task::JoinSet};

use crate::{
    case::{CaseResult, Failure, cases, ensure, ensure_eq, ensure_matches},
    drive::{LEASE, failed, resolve, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "concurrency",
    None,
    [
        of_eight_claimers_of_one_entry_one_wins,
        claims_of_different_entries_all_succeed,
        sixty_four_claimers_settle_each_entry_once,
        concurrent_captures_of_one_id_make_one_entry,
        concurrent_duplicates_learn_different_occurrences,
        of_several_settles_of_one_claim_one_counts,
        a_claim_ends_by_its_settle_or_by_its_lapse,
        replays_of_one_key_are_serial,
        a_walk_is_exact_while_others_write,
        facets_are_one_snapshot_while_others_write,
        a_caller_that_goes_away_leaves_all_or_nothing,
    ]
);

/// Runs the same thing `times` times at once and returns all answers.
pub(super) async fn at_once<T, F>(times: usize, run: impl Fn(usize) -> F) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for n in 0..times {
        tasks.spawn(run(n));
    }
    let mut answers = Vec::new();
    while let Some(answer) = tasks.join_next().await {
        answers.push(answer.map_err(Failure::from)??);
    }
    Ok(answers)
}

/// Reference 18.
async fn of_eight_claimers_of_one_entry_one_wins(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for _ in 0..10 {
        let id = store.keep_new(captures.an_op().build()).await?;
        let outcomes = at_once(8, |_| {
            let store = store.clone();
            async move { store.claim_ids(&[id]).await }
        })
        .await?;
        let winners = outcomes.iter().filter(|outcome| !outcome.claimed.is_empty()).count();
        ensure_eq!(winners, 1);
        for (_, error) in outcomes.iter().flat_map(|outcome| &outcome.refused) {
            ensure_matches!(error, ClaimError::NotClaimable { status: Status::Replaying, .. });
        }
        ensure_eq!(store.op(id).await?.state.claim_token.0, 1);
    }
    Ok(())
}

/// Reference 19.
async fn claims_of_different_entries_all_succeed(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let batch = captures.ops(16);
    let ids: Arc<Vec<EntryId>> = Arc::new(batch.iter().map(|capture| capture.op.id).collect());
    store.keep_all(batch).await?;
    at_once(16, |n| {
        let (store, ids) = (store.clone(), Arc::clone(&ids));
        async move { store.claim_one(ids[n]).await }
    })
    .await?;
    Ok(())
}

async fn sixty_four_claimers_settle_each_entry_once(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let entries = lab.claim_race_entries;
    for start in (0..entries).step_by(500) {
        store.keep_all(captures.ops(500.min(entries - start))).await?;
    }
    let settled = at_once(64, |_| {
        let store = store.clone();
        async move {
            let mut mine = Vec::new();
            loop {
                let claimed = store.claim_due(10).await?;
                if claimed.is_empty() {
                    return Ok(mine);
                }
                let settles =
                    claimed.iter().map(|op| store.settle_command(op, succeeded())).collect();
                for (op, answer) in claimed.iter().zip(store.claims.settle_batch(settles).await) {
                    ensure!(!answer?.repeated, "{} was settled before", op.id);
                    mine.push(op.id);
                }
            }
        }
    })
    .await?;
    let all: Vec<EntryId> = settled.into_iter().flatten().collect();
    ensure_eq!(all.len(), entries, "settles");
    ensure_eq!(all.iter().collect::<BTreeSet<_>>().len(), entries, "different entries");
    let facets = store.reader.facets(FacetScope::default()).await?;
    let expected = BTreeMap::from([(Status::Resolved, entries as u64)]);
    ensure_eq!(facets.by_status, expected);
    for op in store.reader.find(all).await?.into_iter().flatten() {
        ensure_eq!((op.state.claim_token.0, op.state.evidence_count), (1, 3), "entry {}", op.id);
    }
    store.ensure_sound().await
}

async fn concurrent_captures_of_one_id_make_one_entry(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for _ in 0..10 {
        let capture = captures.an_op().build();
        let answers = at_once(8, |_| {
            let (store, capture) = (store.clone(), capture.clone());
            async move { store.keep(capture).await }
        })
        .await?;
        let new = answers.iter().filter(|a| a.disposition == Disposition::New).count();
        ensure_eq!(new, 1);
        ensure_eq!(store.trail(capture.op.id).await?.len(), 1);
    }
    Ok(())
}

async fn concurrent_duplicates_learn_different_occurrences(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let batch: Arc<Vec<Capture>> =
        Arc::new((0..32).map(|_| captures.an_op().dedup_key("d").build()).collect());
    let answers = at_once(32, |n| {
        let (store, batch) = (store.clone(), Arc::clone(&batch));
        async move { store.keep(batch[n].clone()).await }
    })
    .await?;
    let occurrences: BTreeSet<u64> = answers.iter().map(|answer| answer.occurrence).collect();
    ensure_eq!(occurrences, (1..=32).collect::<BTreeSet<_>>());
    let ids: BTreeSet<EntryId> = answers.iter().map(|answer| answer.id).collect();
    ensure_eq!(ids.len(), 1);
    ensure_eq!(store.op(answers[0].id).await?.state.occurrences, 32);
    store.trail(answers[0].id).await.map(|_| ())
}

async fn of_several_settles_of_one_claim_one_counts(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for _ in 0..10 {
        let id = store.keep_new(captures.an_op().max_retries(5).build()).await?;
        let claimed = Arc::new(store.claim_one(id).await?);
        let answers = at_once(8, |n| {
            let (store, claimed) = (store.clone(), Arc::clone(&claimed));
            let outcome = if n % 2 == 0 { succeeded() } else { failed() };
            async move { store.try_settle(&claimed, outcome).await }
        })
        .await?;
        let applied = answers.iter().flatten().filter(|settled| !settled.repeated).count();
        let repeated = answers.iter().flatten().filter(|settled| settled.repeated).count();
        ensure_eq!((applied, repeated), (1, 3));
        ensure_eq!(store.op(id).await?.state.attempts.total(), 1);
        ensure_eq!(store.trail(id).await?.len(), 3 + 4);
    }
    Ok(())
}

async fn a_claim_ends_by_its_settle_or_by_its_lapse(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_all(captures.ops(40)).await?;
    let claimed = Arc::new(store.claim_due(40).await?);
    ensure_eq!(claimed.len(), 40);
    store.clock.advance(LEASE);
    at_once(44, |n| {
        let (store, claimed) = (store.clone(), Arc::clone(&claimed));
        async move {
            match claimed.get(n) {
                // Losing against a sweep is fine here; what counts is that both can't win.
                Some(op) => drop(store.try_settle(op, succeeded()).await?),
                None => drop(store.lapse(15).await?),
            }
            Ok(())
        }
    })
    .await?;
    for op in claimed.iter() {
        let ends = store.trail(op.id).await?;
        let ends = ends.iter().filter(|record| {
            matches!(record.event, EvidenceEvent::Moved(Cause::Succeeded | Cause::Lapsed))
        });
        ensure_eq!(ends.count(), 1, "ends of the claim of {}", op.id);
    }
    store.ensure_sound().await
}

async fn replays_of_one_key_are_serial(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let keys = ["a", "b", "c", "d", "e"];
    for _ in 0..20 {
        store.clock.advance(Duration::from_micros(1));
        store
            .keep_all(keys.iter().map(|key| captures.an_op().order_key(key).build()).collect())
            .await?;
    }
    let replayed = Arc::new(std::sync::Mutex::new(BTreeMap::<String, Vec<_>>::new()));
    at_once(8, |_| {
        let (store, replayed) = (store.clone(), Arc::clone(&replayed));
        async move {
            // A worker that finds all keys taken tries again, until everything is replayed.
            let pending = Filter { statuses: Status::LIVE.to_vec(), ..Filter::default() };
            while store.reader.count(pending.clone(), 1).await? != baldur_core::Count::Exactly(0) {
                for op in store.claim_due(3).await? {
                    if let (Some(key), Ok(mut replayed)) = (&op.order_key, replayed.lock()) {
                        replayed.entry(key.to_string()).or_default().push(op.position());
                    }
                    store.settle(&op, succeeded()).await?;
                }
                tokio::task::yield_now().await;
            }
            Ok(())
        }
    })
    .await?;
    let replayed = replayed.lock().map_err(|_| Failure::new("a worker panicked"))?.clone();
    ensure_eq!(replayed.len(), keys.len());
    for (key, positions) in replayed {
        ensure_eq!(positions.len(), 20, "replays of key {key}");
        ensure!(positions.is_sorted(), "key {key} was replayed out of order");
    }
    Ok(())
}

/// Writes until told to stop: new entries, and moves of the entries given.
async fn write_until(
    store: StoreUnderTest,
    captures: Vec<Capture>,
    moved: Vec<EntryId>,
    stop: Arc<Notify>,
) -> CaseResult {
    let stopped = stop.notified();
    tokio::pin!(stopped);
    let mut moved = moved.into_iter();
    for capture in captures {
        store.keep(capture).await?;
        if let Some(id) = moved.next() {
            store.act(id, resolve()).await?;
        }
        if tokio::time::timeout(Duration::ZERO, &mut stopped).await.is_ok() {
            break;
        }
    }
    Ok(())
}

async fn a_walk_is_exact_while_others_write(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut quiet = BTreeSet::new();
    let mut moved = Vec::new();
    for n in 0..300 {
        store.clock.advance(Duration::from_micros(1));
        let id = store.keep_new(captures.an_op().build()).await?;
        if n % 3 == 0 {
            moved.push(id);
        } else {
            quiet.insert(id);
        }
    }
    for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
        let stop = Arc::new(Notify::new());
        let half = moved.split_off(moved.len() / 2);
        let writer =
            tokio::spawn(write_until(store.clone(), captures.ops(400), half, Arc::clone(&stop)));
        let mut seen: Vec<EntryId> = Vec::new();
        let mut after: Option<Cursor> = None;
        // Bounded: the writer adds at most 400 entries.
        for _ in 0..800 {
            let query =
                ListQuery { order, after, limit: PageSize::new(7)?, ..ListQuery::default() };
            let page = store.reader.list(query).await?;
            seen.extend(page.items.iter().map(|item| item.id));
            after = page.next;
            if after.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        ensure_eq!(after, None, "the walk ends");
        stop.notify_one();
        writer.await??;
        let distinct: BTreeSet<EntryId> = seen.iter().copied().collect();
        ensure_eq!(distinct.len(), seen.len(), "entries seen twice");
        let missed = quiet.difference(&distinct).count();
        ensure_eq!(missed, 0, "entries that were there all along and not seen");
    }
    Ok(())
}

async fn facets_are_one_snapshot_while_others_write(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_all(captures.ops(50)).await?;
    let mover = store.clone();
    let moving = tokio::spawn(async move {
        for _ in 0..20 {
            for op in mover.claim_due(50).await? {
                mover.settle(&op, SettleOutcome::Released).await?;
            }
        }
        Ok::<_, Failure>(())
    });
    while !moving.is_finished() {
        let facets = store.reader.facets(FacetScope::default()).await?;
        ensure_eq!(facets.by_status.values().sum::<u64>(), 50);
        let live = Filter { statuses: Status::LIVE.to_vec(), ..Filter::default() };
        ensure_eq!(store.reader.count(live, 1).await?, baldur_core::Count::Exactly(50));
        tokio::task::yield_now().await;
    }
    moving.await?
}

async fn a_caller_that_goes_away_leaves_all_or_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut batches = Vec::new();
    for n in 0..30 {
        let batch = captures.ops(5);
        let (going, kept) = (store.clone(), batch.clone());
        let task = tokio::spawn(async move { going.keep_all(kept).await.map(|_| ()) });
        for _ in 0..n % 4 {
            tokio::task::yield_now().await;
        }
        task.abort();
        drop(task.await);
        batches.push(batch);
    }
    for batch in batches {
        // Whatever happened to the first try, trying again makes it whole: each entry once, with one record.
        for captured in store.keep_all(batch).await? {
            ensure!(captured.disposition != Disposition::Merged, "nothing was to merge");
            ensure_eq!(store.trail(captured.id).await?.len(), 1);
        }
    }
    ensure_eq!(store.walk_ids(&Filter::default()).await?.len(), 150);
    store.ensure_sound().await
}
