//! Claims: who gets an entry, and on which terms.

use std::{collections::BTreeSet, time::Duration};

use baldur_core::{
    Clock, EntryId, EvidenceEvent, NotReplayable, Status,
    command::{Action, ClaimBatch, ClaimSelect, ClaimTerms, MAX_CLAIM},
    failed_op::Cause,
    port::ClaimError,
};

use crate::{
    build::parsed,
    case::{CaseResult, cases, ensure, ensure_eq, ensure_matches},
    drive::{LEASE, deferred, failed, permanent, reject, resolve, succeeded},
    harness::Lab,
};

cases!(
    "claim",
    None,
    [
        a_claim_moves_an_entry_to_replaying,
        a_claim_leaves_everything_else_as_it_was,
        a_claim_is_answered_with_the_entry_as_it_is_kept,
        a_claimed_entry_is_not_claimed_again,
        an_unknown_id_is_not_found,
        only_pending_entries_are_claimable,
        an_entry_that_cannot_be_replayed_is_refused,
        claims_by_id_ignore_the_delay,
        what_changed_since_it_was_looked_at_is_left_alone,
        a_repeated_id_is_claimed_once_and_refused_after,
        grants_and_refusals_come_in_the_order_asked,
        a_claim_of_nothing_or_too_much_is_refused,
        a_claim_of_a_thousand_ids_is_answered,
        tokens_grow_and_are_never_reset,
        a_lease_of_any_length_is_kept,
    ]
);

/// Reference 15: but the budget is charged by failures, not by claims.
async fn a_claim_moves_an_entry_to_replaying(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    store.clock.advance(Duration::from_micros(1_500_001));
    let now = store.clock.now();
    let claimed = store.claim_one(id).await?;
    let state = &claimed.state;
    ensure_eq!((state.status, state.retry_count), (Status::Replaying, 0));
    ensure_eq!((state.claim_token.0, state.last_retry_at), (1, Some(now)));
    ensure_eq!(state.updated_at, now);
    ensure_matches!(&state.hold, Some(hold) if hold.holder.as_str() == "worker"
        && hold.claimed_at == now
        && hold.expires_at == now.saturating_add(LEASE));
    let trail = store.trail(id).await?;
    ensure_eq!(trail.last().map(|r| r.event), Some(EvidenceEvent::Moved(Cause::Claim)));
    Ok(())
}

/// Reference 16.
async fn a_claim_leaves_everything_else_as_it_was(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(super::capture::full(&captures)).await?;
    let mut before = store.op(id).await?;
    let after = store.claim_one(id).await?;
    before.state.status = Status::Replaying;
    before.state.claim_token = after.state.claim_token;
    before.state.hold.clone_from(&after.state.hold);
    before.state.last_retry_at = after.state.last_retry_at;
    before.state.updated_at = after.state.updated_at;
    before.state.evidence_count += 1;
    ensure_eq!(after, before);
    Ok(())
}

async fn a_claim_is_answered_with_the_entry_as_it_is_kept(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(super::capture::full(&captures)).await?;
    ensure_eq!(store.claim_one(id).await?, store.op(id).await?);
    let due = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_due(1).await?;
    ensure_eq!(claimed, [store.op(due).await?]);
    Ok(())
}

/// Reference 17 and 20.
async fn a_claimed_entry_is_not_claimed_again(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    ensure_matches!(
        store.refusal(id).await?,
        ClaimError::NotClaimable { id: refused, status: Status::Replaying } if *refused == id
    );
    ensure!(store.due_ids(10).await?.is_empty(), "a running claim was handed out again");
    ensure_eq!(store.op(id).await?, claimed);
    Ok(())
}

/// Reference 17.
async fn an_unknown_id_is_not_found(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = captures.an_op().build().op.id;
    ensure_matches!(store.refusal(id).await?, ClaimError::NotFound(unknown) if *unknown == id);
    Ok(())
}

/// Reference 17.
async fn only_pending_entries_are_claimable(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut entries: Vec<(EntryId, Status)> = Vec::new();
    for (action, status) in [
        (resolve(), Status::Resolved),
        (reject(), Status::Rejected),
        (Action::Review, Status::Reviewing),
        (Action::Escalate, Status::RequiresReview),
        (Action::Expire, Status::Expired),
    ] {
        let id = store.keep_new(captures.an_op().build()).await?;
        store.act(id, action).await?;
        entries.push((id, status));
    }
    for (id, expected) in entries {
        let before = store.op(id).await?;
        ensure_matches!(
            store.refusal(id).await?,
            ClaimError::NotClaimable { status, .. } if *status == expected
        );
        ensure_eq!(store.op(id).await?, before);
    }
    ensure!(store.due_ids(10).await?.is_empty(), "one was claimed as due");
    Ok(())
}

async fn an_entry_that_cannot_be_replayed_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let why = NotReplayable::RequestTooLarge;
    let id = store.keep_new(captures.an_op().not_replayable(why).build()).await?;
    ensure_matches!(
        store.refusal(id).await?,
        ClaimError::NotClaimable { status: Status::RequiresReview, .. }
    );
    let terms = ClaimTerms { force: true, ..store.terms() };
    let outcome = store.claim(ClaimSelect::Ids(vec![id]), terms).await?;
    ensure_matches!(outcome.refused.as_slice(), [(_, ClaimError::NotReplayable(_))]);
    ensure_eq!(store.status(id).await?, Status::RequiresReview);
    Ok(())
}

async fn claims_by_id_ignore_the_delay(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let wait = Duration::from_hours(1);
    let id = store.keep_new(captures.an_op().next_attempt_in(wait).build()).await?;
    store.claim_one(id).await.map(|_| ())
}

async fn what_changed_since_it_was_looked_at_is_left_alone(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let ids = [
        store.keep_new(captures.an_op().build()).await?,
        store.keep_new(captures.an_op().build()).await?,
    ];
    let seen = store.op(ids[1]).await?.state.updated_at;
    let terms = || ClaimTerms { unchanged_since: Some(seen), ..store.terms() };
    store.clock.advance(Duration::from_micros(1));
    let claimed = store.claim_one(ids[0]).await?;
    store.settle(&claimed, failed()).await?;
    let before = store.op(ids[0]).await?;
    let outcome = store.claim(ClaimSelect::Ids(ids.to_vec()), terms()).await?;
    ensure_matches!(outcome.refused.as_slice(), [(id, ClaimError::Changed(_))] if *id == ids[0]);
    ensure_eq!(outcome.claimed.len(), 1);
    ensure_eq!(store.op(ids[0]).await?, before);
    // What its state forbids is said first.
    let outcome = store.claim(ClaimSelect::Ids(vec![ids[1]]), terms()).await?;
    ensure_matches!(outcome.refused.as_slice(), [(_, ClaimError::NotClaimable { .. })]);
    let due = ClaimSelect::Due { domains: Vec::new(), dependency: None, limit: 1 };
    let claim = ClaimBatch { select: due, terms: terms() };
    ensure_matches!(store.claims.claim_batch(claim).await, Err(ClaimError::Invalid(_)));
    Ok(())
}

async fn a_repeated_id_is_claimed_once_and_refused_after(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let outcome = store.claim_ids(&[id, id, id]).await?;
    ensure_eq!((outcome.claimed.len(), outcome.refused.len()), (1, 2));
    for (refused, error) in &outcome.refused {
        ensure_eq!(*refused, id);
        ensure_matches!(error, ClaimError::NotClaimable { status: Status::Replaying, .. });
    }
    Ok(())
}

async fn grants_and_refusals_come_in_the_order_asked(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut granted: Vec<EntryId> = Vec::new();
    for capture in captures.ops(5) {
        granted.push(store.keep_new(capture).await?);
    }
    granted.reverse();
    let unknown: Vec<EntryId> = captures.ops(5).iter().map(|capture| capture.op.id).rev().collect();
    let mixed: Vec<EntryId> = granted.iter().zip(&unknown).flat_map(|(a, b)| [*a, *b]).collect();
    let outcome = store.claim_ids(&mixed).await?;
    ensure_eq!(outcome.claimed.iter().map(|c| c.op.id).collect::<Vec<_>>(), granted);
    ensure_eq!(outcome.refused.iter().map(|(id, _)| *id).collect::<Vec<_>>(), unknown);
    Ok(())
}

async fn a_claim_of_nothing_or_too_much_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let due =
        |limit| ClaimSelect::Due { domains: vec![parsed("payment")], dependency: None, limit };
    let selects = [
        due(0),
        due(MAX_CLAIM + 1),
        due(usize::MAX),
        ClaimSelect::Ids(Vec::new()),
        ClaimSelect::Ids(vec![id; MAX_CLAIM + 1]),
    ];
    for select in selects {
        let claim = ClaimBatch { select, terms: store.terms() };
        let answer = store.claims.claim_batch(claim).await;
        ensure!(matches!(answer, Err(ClaimError::Invalid(_))), "{answer:?}");
    }
    ensure_eq!(store.status(id).await?, Status::Pending);
    Ok(())
}

async fn a_claim_of_a_thousand_ids_is_answered(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let batch = captures.ops(MAX_CLAIM);
    let ids: Vec<EntryId> = batch.iter().map(|capture| capture.op.id).collect();
    store.keep_all(batch).await?;
    let outcome = store.claim_ids(&ids).await?;
    ensure_eq!((outcome.claimed.len(), outcome.refused.len()), (MAX_CLAIM, 0));
    Ok(())
}

async fn tokens_grow_and_are_never_reset(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(2).build()).await?;
    let mut tokens = Vec::new();
    // Through every way of giving an entry back and taking it again.
    for outcome in [deferred(), baldur_core::command::SettleOutcome::Released, failed()] {
        let claimed = store.claim_one(id).await?;
        tokens.push(claimed.state.claim_token);
        store.settle(&claimed, outcome).await?;
    }
    let claimed = store.claim_one(id).await?;
    tokens.push(claimed.state.claim_token);
    store.clock.advance(LEASE);
    store.lapse(10).await?;
    ensure!(store.op(id).await?.state.claim_token > claimed.state.claim_token, "after the lapse");
    let redriven = store.claim_forced(id).await?;
    tokens.push(redriven.state.claim_token);
    store.settle(&redriven, permanent()).await?;
    store.act(id, resolve()).await?;
    store.act(id, Action::Reopen).await?;
    let last = store.claim_one(id).await?;
    tokens.push(last.state.claim_token);
    store.settle(&last, succeeded()).await?;
    let distinct: BTreeSet<_> = tokens.iter().copied().collect();
    ensure_eq!(distinct.into_iter().collect::<Vec<_>>(), tokens, "tokens in order of claiming");
    Ok(())
}

async fn a_lease_of_any_length_is_kept(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let now = store.clock.now();
    for lease in [Duration::ZERO, Duration::from_micros(1), Duration::MAX] {
        let id = store.keep_new(captures.an_op().build()).await?;
        let claimed = store.claim_one_on(id, ClaimTerms { lease, ..store.terms() }).await?;
        ensure_eq!(claimed.state.hold.map(|hold| hold.expires_at), Some(now.saturating_add(lease)));
    }
    let lapsed = store.lapse(10).await?;
    ensure_eq!((lapsed.lapsed.len(), lapsed.more), (1, false));
    Ok(())
}
