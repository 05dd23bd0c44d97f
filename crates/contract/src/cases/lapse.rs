//! Leases: extending them, and ending those that ran out.

use std::time::Duration;

use baldur_core::{
    Clock, EntryId, Status,
    command::{ClaimRef, ClaimTerms, Extend},
    failed_op::AttemptOutcome,
    port::{ClaimError, Lapsed},
};

use crate::{
    case::{CaseResult, cases, ensure, ensure_eq, ensure_matches},
    drive::{BACKOFF, LEASE, failed, succeeded},
    harness::Lab,
};

cases!(
    "lapse",
    None,
    [
        a_claim_ends_when_the_clock_says_so,
        a_lapse_charges_the_budget_and_waits,
        a_lapse_at_the_cap_needs_a_person,
        claims_end_in_the_order_in_which_they_ran_out,
        claims_that_ran_out_at_once_end_by_position,
        a_sweep_is_bounded_and_says_whether_more_remain,
        a_second_sweep_finds_nothing,
        a_sweep_of_nothing_ends_nothing,
        a_lapsed_entry_is_claimable_again,
        an_extended_claim_lasts_longer,
        extending_never_shortens,
        a_claim_that_ran_out_can_be_extended_until_it_lapses,
        a_stale_claim_is_not_extended,
        extensions_are_answered_by_themselves_in_order,
        settled_claims_do_not_lapse,
    ]
);

/// Reference 66: with a lease instead of an age.
async fn a_claim_ends_when_the_clock_says_so(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    store.clock.advance(LEASE.saturating_sub(Duration::from_micros(1)));
    ensure_eq!(store.lapse(10).await?, Lapsed::default());
    ensure_eq!(store.op(id).await?, claimed);
    store.clock.advance(Duration::from_micros(1));
    let lapsed = store.lapse(10).await?;
    ensure_eq!(lapsed, Lapsed { lapsed: vec![(id, Status::Pending)], more: false });
    Ok(())
}

async fn a_lapse_charges_the_budget_and_waits(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(2).build()).await?;
    let claimed = store.claim_one(id).await?;
    store.clock.advance(LEASE);
    store.lapse(10).await?;
    let state = store.op(id).await?.state;
    ensure_eq!((state.status, state.retry_count, state.hold.clone()), (Status::Pending, 1, None));
    ensure_eq!(state.claim_token, claimed.state.claim_token.next());
    ensure_eq!(state.next_attempt_at, store.clock.now().saturating_add(BACKOFF));
    ensure_matches!(state.attempts.newest(), Some(attempt)
        if attempt.outcome == AttemptOutcome::Lapsed
        && attempt.claim_token == claimed.state.claim_token);
    Ok(())
}

async fn a_lapse_at_the_cap_needs_a_person(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(2).build()).await?;
    store.replay(id, failed()).await?;
    store.claim_one(id).await?;
    store.clock.advance(LEASE);
    ensure_eq!(store.lapse(10).await?.lapsed, [(id, Status::RequiresReview)]);
    ensure_eq!(store.op(id).await?.state.retry_count, 2);
    store.trail(id).await.map(|_| ())
}

async fn claims_end_in_the_order_in_which_they_ran_out(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut expected: Vec<(u64, EntryId)> = Vec::new();
    for seconds in [3, 1, 5, 2, 4] {
        let id = store.keep_new(captures.an_op().build()).await?;
        let lease = Duration::from_secs(seconds);
        store.claim_one_on(id, ClaimTerms { lease, ..store.terms() }).await?;
        expected.push((seconds, id));
    }
    expected.sort_unstable();
    store.clock.advance(Duration::from_secs(4));
    let lapsed: Vec<EntryId> = store.lapse(10).await?.lapsed.iter().map(|(id, _)| *id).collect();
    let expected: Vec<EntryId> = expected.iter().take(4).map(|(_, id)| *id).collect();
    ensure_eq!(lapsed, expected);
    Ok(())
}

async fn claims_that_ran_out_at_once_end_by_position(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let now = store.clock.now();
    let mut batch = captures.ops(6);
    for (capture, seconds) in batch.iter_mut().zip([3_u64, 1, 2, 1, 3, 2]) {
        capture.op.created_at = now.saturating_sub(Duration::from_secs(seconds));
    }
    let mut expected: Vec<_> = batch.iter().map(|capture| capture.op.position()).collect();
    expected.sort_unstable();
    let expected: Vec<EntryId> = expected.into_iter().map(|(_, id)| id).collect();
    store.keep_all(batch).await?;
    store.claim_due(10).await?;
    store.clock.advance(LEASE);
    let mut lapsed = store.lapse(4).await?.lapsed;
    lapsed.extend(store.lapse(4).await?.lapsed);
    ensure_eq!(lapsed.iter().map(|(id, _)| *id).collect::<Vec<_>>(), expected);
    Ok(())
}

async fn a_sweep_is_bounded_and_says_whether_more_remain(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_all(captures.ops(7)).await?;
    store.claim_due(5).await?;
    store.clock.advance(LEASE);
    // Two claims that still run must not count as "more".
    store.claim_due(2).await?;
    for (ended, more) in [(2, true), (2, true), (1, false)] {
        let lapsed = store.lapse(2).await?;
        ensure_eq!((lapsed.lapsed.len(), lapsed.more), (ended, more));
    }
    Ok(())
}

/// Reference 66.
async fn a_second_sweep_finds_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_all(captures.ops(3)).await?;
    store.claim_due(3).await?;
    store.clock.advance(LEASE);
    let first = store.lapse(3).await?;
    ensure_eq!((first.lapsed.len(), first.more), (3, false));
    ensure_eq!(store.lapse(3).await?, Lapsed::default());
    Ok(())
}

async fn a_sweep_of_nothing_ends_nothing(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    ensure_eq!(store.lapse(10).await?, Lapsed::default());
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    store.clock.advance(LEASE);
    ensure_eq!(store.lapse(0).await?, Lapsed { lapsed: Vec::new(), more: true });
    ensure_eq!(store.op(id).await?, claimed);
    Ok(())
}

/// Reference 66.
async fn a_lapsed_entry_is_claimable_again(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let first = store.claim_one(id).await?;
    store.clock.advance(LEASE);
    store.lapse(10).await?;
    ensure!(store.due_ids(10).await?.is_empty(), "it was claimed before its delay");
    store.clock.advance(BACKOFF);
    let second = store.claim_due(10).await?;
    ensure_matches!(second.as_slice(), [op] if op.id == id
        && op.state.claim_token > first.state.claim_token);
    Ok(())
}

async fn an_extended_claim_lasts_longer(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    store.clock.advance(LEASE / 2);
    store.extend(&claimed, LEASE).await??;
    let state = store.op(id).await?.state;
    let expires_at = store.clock.now().saturating_add(LEASE);
    ensure_eq!(state.hold.map(|hold| hold.expires_at), Some(expires_at));
    ensure_eq!(state.claim_token, claimed.state.claim_token);
    store.clock.advance(LEASE / 2);
    ensure!(store.lapse(10).await?.lapsed.is_empty(), "the old deadline still held");
    store.clock.advance(LEASE / 2);
    ensure_eq!(store.lapse(10).await?.lapsed.len(), 1);
    Ok(())
}

async fn extending_never_shortens(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    for lease in [Duration::ZERO, Duration::from_secs(1)] {
        store.extend(&claimed, lease).await??;
        ensure_eq!(store.op(id).await?.state.hold, claimed.state.hold);
    }
    store.clock.advance(LEASE.saturating_sub(Duration::from_micros(1)));
    ensure!(store.lapse(10).await?.lapsed.is_empty(), "the claim was shortened");
    Ok(())
}

async fn a_claim_that_ran_out_can_be_extended_until_it_lapses(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    store.clock.advance(LEASE * 2);
    store.extend(&claimed, LEASE).await??;
    ensure!(store.lapse(10).await?.lapsed.is_empty(), "an extended claim lapsed");
    ensure_eq!(store.settle(&claimed, succeeded()).await?.status, Status::Resolved);
    Ok(())
}

async fn a_stale_claim_is_not_extended(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(5).build()).await?;
    let first = store.claim_one(id).await?;
    store.clock.advance(LEASE);
    store.lapse(10).await?;
    ensure_matches!(store.extend(&first, LEASE).await?, Err(ClaimError::Stale { held, status, .. })
        if *held == first.state.claim_token && *status == Status::Pending);
    let second = store.claim_one(id).await?;
    ensure_matches!(store.extend(&first, LEASE).await?, Err(ClaimError::Stale { current, .. })
        if *current == second.state.claim_token);
    ensure_eq!(store.op(id).await?, second);
    store.settle(&second, succeeded()).await?;
    ensure_matches!(store.extend(&second, LEASE).await?, Err(ClaimError::Stale { .. }));
    Ok(())
}

async fn extensions_are_answered_by_themselves_in_order(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_all(captures.ops(2)).await?;
    let claimed = store.claim_due(2).await?;
    ensure_eq!(claimed.len(), 2);
    let held: Vec<ClaimRef> =
        claimed.iter().map(|op| ClaimRef { id: op.id, token: op.state.claim_token }).collect();
    let unknown = ClaimRef { id: captures.an_op().build().op.id, token: held[0].token };
    let stale = ClaimRef { token: held[1].token.next(), ..held[1] };
    let claims = vec![stale, held[1], unknown, held[0], held[0]];
    let answers = store.claims.extend(Extend { claims, lease: LEASE * 3 }).await;
    ensure_matches!(
        answers.as_slice(),
        [Err(ClaimError::Stale { .. }), Ok(()), Err(ClaimError::NotFound(_)), Ok(()), Ok(())]
    );
    store.clock.advance(LEASE * 2);
    ensure!(store.lapse(10).await?.lapsed.is_empty(), "an extended claim lapsed");
    Ok(())
}

async fn settled_claims_do_not_lapse(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    store.keep_all(captures.ops(2)).await?;
    let claimed = store.claim_due(2).await?;
    ensure_eq!(claimed.len(), 2);
    store.settle(&claimed[0], succeeded()).await?;
    store.settle(&claimed[1], failed()).await?;
    store.clock.advance(LEASE * 2);
    ensure_eq!(store.lapse(10).await?, Lapsed::default());
    Ok(())
}
