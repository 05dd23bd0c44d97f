//! Entries with an order key: one after the other, oldest first.

use std::time::Duration;

use baldur_core::{
    Clock, EntryId, Status,
    command::{Action, ClaimSelect, ClaimTerms},
    port::ClaimError,
};

use crate::{
    build::{Captures, OpBuilder},
    case::{CaseResult, Failure, cases, ensure, ensure_eq, ensure_matches},
    drive::{BACKOFF, deferred, failed, permanent, reject, resolve, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "order",
    None,
    [
        only_the_oldest_live_entry_of_a_key_is_claimable,
        one_batch_claims_one_entry_of_a_key,
        the_next_entry_follows_when_the_first_is_closed,
        an_entry_under_review_blocks_its_key,
        what_the_first_waits_for_the_others_wait_for,
        a_late_older_capture_becomes_the_first,
        a_late_older_capture_waits_for_a_running_replay,
        entries_captured_at_once_are_ordered_by_id,
        keys_do_not_block_each_other,
        order_keys_are_compared_to_the_letter,
        a_reopened_entry_takes_its_place_again,
        a_redrive_waits_for_its_turn_too,
        the_own_state_is_said_before_the_order,
        order_holds_across_domains,
        a_long_key_is_replayed_in_capture_order,
        a_blocked_key_is_told_with_the_entry_that_blocks_it,
        an_imported_older_entry_becomes_the_first,
        a_late_older_duplicate_keeps_the_place_of_the_first,
    ]
);

fn keyed(captures: &Captures) -> OpBuilder {
    captures.an_op().order_key("order 1")
}

/// Entries of one key, a second apart, oldest first.
async fn line(
    store: &StoreUnderTest,
    captures: &Captures,
    count: usize,
) -> Result<Vec<EntryId>, Failure> {
    let mut ids = Vec::new();
    for _ in 0..count {
        store.clock.advance(Duration::from_secs(1));
        ids.push(store.keep_new(keyed(captures).build()).await?);
    }
    Ok(ids)
}

async fn blocked_by(store: &StoreUnderTest, id: EntryId) -> Result<EntryId, Failure> {
    let refusal = store.refusal(id).await?;
    if let ClaimError::Blocked { id: blocked, by } = refusal
        && blocked == id
    {
        return Ok(by);
    }
    Err(Failure::new(format!("expected {id} to be blocked: {refusal:?}")))
}

async fn only_the_oldest_live_entry_of_a_key_is_claimable(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = line(&store, &captures, 3).await?;
    for waiting in &ids[1..] {
        ensure_eq!(blocked_by(&store, *waiting).await?, ids[0]);
    }
    ensure_eq!(store.due_ids(10).await?, [ids[0]]);
    for waiting in &ids[1..] {
        ensure_eq!(blocked_by(&store, *waiting).await?, ids[0]);
        ensure_eq!(store.status(*waiting).await?, Status::Pending);
    }
    Ok(())
}

async fn one_batch_claims_one_entry_of_a_key(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = line(&store, &captures, 3).await?;
    let outcome = store.claim_ids(&ids).await?;
    ensure_eq!(outcome.claimed.iter().map(|c| c.op.id).collect::<Vec<_>>(), ids[..1]);
    ensure_eq!(outcome.refused.iter().map(|(id, _)| *id).collect::<Vec<_>>(), ids[1..]);
    for (_, error) in &outcome.refused {
        ensure_matches!(error, ClaimError::Blocked { by, .. } if *by == ids[0]);
    }
    Ok(())
}

async fn the_next_entry_follows_when_the_first_is_closed(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = line(&store, &captures, 5).await?;
    store.replay(ids[0], succeeded()).await?;
    for (n, close) in [resolve(), reject(), Action::Expire].into_iter().enumerate() {
        ensure_eq!(blocked_by(&store, ids[n + 2]).await?, ids[n + 1]);
        store.act(ids[n + 1], close).await?;
    }
    ensure_eq!(store.due_ids(10).await?, [ids[4]]);
    store.ensure_sound().await
}

async fn an_entry_under_review_blocks_its_key(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = line(&store, &captures, 2).await?;
    store.act(ids[0], Action::Review).await?;
    ensure_eq!(blocked_by(&store, ids[1]).await?, ids[0]);
    ensure!(store.due_ids(10).await?.is_empty(), "the key is blocked by a reviewed entry");
    store.act(ids[0], Action::Back).await?;
    store.replay(ids[0], permanent()).await?;
    ensure_eq!(blocked_by(&store, ids[1]).await?, ids[0]);
    ensure!(store.due_ids(10).await?.is_empty(), "the key is blocked by one that needs review");
    store.act(ids[0], resolve()).await?;
    ensure_eq!(store.due_ids(10).await?, [ids[1]]);
    Ok(())
}

async fn what_the_first_waits_for_the_others_wait_for(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = line(&store, &captures, 2).await?;
    for outcome in [deferred(), failed()] {
        store.replay(ids[0], outcome).await?;
        ensure!(store.due_ids(10).await?.is_empty(), "the second overtook the first");
        store.clock.advance(BACKOFF);
    }
    ensure_eq!(store.due_ids(10).await?, [ids[0]]);
    Ok(())
}

async fn a_late_older_capture_becomes_the_first(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let early = store.clock.now();
    let ids = line(&store, &captures, 1).await?;
    let late = store.keep_new(keyed(&captures).created_at(early).build()).await?;
    ensure_eq!(blocked_by(&store, ids[0]).await?, late);
    ensure_eq!(store.due_ids(10).await?, [late]);
    Ok(())
}

async fn a_late_older_capture_waits_for_a_running_replay(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let early = store.clock.now();
    let ids = line(&store, &captures, 2).await?;
    let running = store.claim_one(ids[0]).await?;
    let late = store.keep_new(keyed(&captures).created_at(early).build()).await?;
    for waiting in [late, ids[1]] {
        ensure_eq!(blocked_by(&store, waiting).await?, ids[0]);
    }
    ensure!(store.due_ids(10).await?.is_empty(), "two replays of one key at a time");
    store.settle(&running, failed()).await?;
    store.clock.advance(BACKOFF);
    ensure_eq!(store.due_ids(10).await?, [late]);
    store.ensure_sound().await
}

async fn entries_captured_at_once_are_ordered_by_id(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let batch: Vec<_> = (0..5).map(|_| keyed(&captures).build()).collect();
    let mut ids: Vec<EntryId> = batch.iter().map(|capture| capture.op.id).collect();
    ids.sort_unstable();
    store.keep_all(batch).await?;
    for id in ids {
        let due = store.claim_due(10).await?;
        ensure_eq!(due.iter().map(|op| op.id).collect::<Vec<_>>(), [id]);
        store.settle(&due[0], succeeded()).await?;
    }
    Ok(())
}

async fn keys_do_not_block_each_other(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut firsts = Vec::new();
    for key in ["a", "b", "c"] {
        firsts.push(store.keep_new(captures.an_op().order_key(key).build()).await?);
        store.clock.advance(Duration::from_secs(1));
        store.keep_new(captures.an_op().order_key(key).build()).await?;
    }
    let free = store.keep_new(captures.an_op().build()).await?;
    firsts.push(free);
    ensure_eq!(store.due_ids(10).await?, firsts);
    Ok(())
}

async fn order_keys_are_compared_to_the_letter(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let texts = crate::cases::hostile::TEXTS;
    for key in texts {
        store.keep_new(captures.an_op().order_key(key).build()).await?;
    }
    ensure_eq!(store.due_ids(100).await?.len(), texts.len());
    Ok(())
}

async fn a_reopened_entry_takes_its_place_again(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = line(&store, &captures, 2).await?;
    store.act(ids[0], resolve()).await?;
    store.act(ids[0], Action::Reopen).await?;
    ensure_eq!(blocked_by(&store, ids[1]).await?, ids[0]);
    store.act(ids[0], reject()).await?;
    let running = store.claim_one(ids[1]).await?;
    store.act(ids[0], Action::Reopen).await?;
    ensure_eq!(blocked_by(&store, ids[0]).await?, ids[1]);
    store.settle(&running, succeeded()).await?;
    ensure_eq!(store.due_ids(10).await?, [ids[0]]);
    Ok(())
}

async fn a_redrive_waits_for_its_turn_too(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = line(&store, &captures, 2).await?;
    store.act(ids[1], Action::Escalate).await?;
    let terms = ClaimTerms { force: true, ..store.terms() };
    let select = ClaimSelect::Ids(vec![ids[1]]);
    let outcome = store.claim(select, terms).await?;
    ensure_matches!(outcome.refused.as_slice(), [(_, ClaimError::Blocked { by, .. })] if *by == ids[0]);
    store.act(ids[0], resolve()).await?;
    store.claim_forced(ids[1]).await.map(|_| ())
}

async fn the_own_state_is_said_before_the_order(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = line(&store, &captures, 2).await?;
    store.act(ids[1], Action::Review).await?;
    ensure_matches!(
        store.refusal(ids[1]).await?,
        ClaimError::NotClaimable { status: Status::Reviewing, .. }
    );
    Ok(())
}

async fn order_holds_across_domains(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let first = store.keep_new(keyed(&captures).domain("other").build()).await?;
    store.clock.advance(Duration::from_secs(1));
    let second = store.keep_new(keyed(&captures).build()).await?;
    ensure!(store.due_ids(10).await?.is_empty(), "a key is one line over all domains");
    ensure_eq!(blocked_by(&store, second).await?, first);
    let claimed = store.claim_due_of(&["payment", "other"], None, 10).await?;
    ensure_eq!(claimed.iter().map(|op| op.id).collect::<Vec<_>>(), [first]);
    Ok(())
}

async fn a_long_key_is_replayed_in_capture_order(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let expected = line(&store, &captures, 30).await?;
    let mut replayed = Vec::new();
    loop {
        let due = store.claim_due(10).await?;
        ensure!(due.len() <= 1, "{} replays of one key at a time", due.len());
        let Some(op) = due.first() else { break };
        replayed.push(op.id);
        store.settle(op, succeeded()).await?;
    }
    ensure_eq!(replayed, expected);
    store.ensure_sound().await
}

async fn a_blocked_key_is_told_with_the_entry_that_blocks_it(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = line(&store, &captures, 3).await?;
    store.act(ids[0], Action::Escalate).await?;
    for waiting in &ids[1..] {
        ensure_eq!(blocked_by(&store, *waiting).await?, ids[0]);
    }
    // Whoever asks can tell why: the one that blocks waits for a person.
    ensure_eq!(store.status(ids[0]).await?, Status::RequiresReview);
    let forced = ClaimTerms { force: true, ..store.terms() };
    let outcome = store.claim(ClaimSelect::Ids(ids.clone()), forced).await?;
    ensure_eq!(outcome.claimed.iter().map(|c| c.op.id).collect::<Vec<_>>(), ids[..1]);
    ensure_eq!(outcome.refused.len(), 2);
    Ok(())
}

/// As one that another store exported.
async fn an_imported_older_entry_becomes_the_first(lab: &Lab) -> CaseResult {
    let (from, captures) = lab.store().await;
    let older = line(&from, &captures, 1).await?;
    let (store, _) = lab.store().await;
    store.clock.set(from.clock.now());
    let ids = line(&store, &captures, 1).await?;
    for answer in store.admin.import_batch(from.export().await?).await {
        answer?;
    }
    ensure_eq!(blocked_by(&store, ids[0]).await?, older[0]);
    ensure_eq!(store.due_ids(10).await?, older);
    store.ensure_sound().await
}

/// A record of a spool that comes late is of the same failure as one that came in time.
async fn a_late_older_duplicate_keeps_the_place_of_the_first(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let early = store.clock.now();
    let ids = line(&store, &captures, 1).await?;
    store.clock.advance(Duration::from_secs(1));
    let keyed = || keyed(&captures).dedup_key("d");
    let second = store.keep_new(keyed().build()).await?;
    let late = store.keep(keyed().created_at(early).build()).await?;
    ensure_eq!((late.id, late.occurrence), (second, 2));
    ensure_eq!(store.op(second).await?.created_at, store.clock.now());
    ensure_eq!(blocked_by(&store, second).await?, ids[0]);
    ensure_eq!(store.due_ids(10).await?, ids);
    store.ensure_sound().await
}
