//! Settles that come too late, or twice.

use std::time::Duration;

use baldur_core::{
    ClaimToken, EvidenceEvent, FailedOp, ResolutionType, Status,
    command::{Action, Settle, SettleOutcome},
    port::ClaimError,
};

use crate::{
    build::evidence,
    case::{CaseResult, cases, ensure, ensure_eq, ensure_matches},
    drive::{LEASE, deferred, failed, only, permanent, resolve, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "settle_stale",
    None,
    [
        a_stale_claim_is_refused,
        a_stale_settle_changes_nothing_and_is_recorded,
        a_stale_claim_is_refused_after_a_force_redrive,
        a_lapsed_claim_is_refused,
        a_token_from_the_future_is_refused,
        a_never_claimed_entry_is_not_settled,
        a_repeated_settle_changes_nothing_and_succeeds,
        a_repeat_with_another_outcome_is_stale,
        a_repeat_after_the_next_claim_is_stale,
        a_repeat_after_a_reopen_does_not_close_it_again,
    ]
);

/// Settles with `op`'s token, which must be stale, and checks that only a record of the refusal is left.
async fn refused(store: &StoreUnderTest, op: &FailedOp, outcome: SettleOutcome) -> CaseResult {
    let before = store.op(op.id).await?;
    store.clock.advance(Duration::from_micros(1));
    let held = op.state.claim_token;
    let answer = store.try_settle(op, outcome).await?;
    ensure_matches!(
        answer,
        Err(ClaimError::Stale { id, held: said, current, status })
            if *id == op.id && *said == held
            && *current == before.state.claim_token && *status == before.state.status
    );
    let mut after = store.op(op.id).await?;
    let trail = store.trail(op.id).await?;
    ensure_matches!(trail.last(), Some(record)
        if record.event == EvidenceEvent::SettleRefused
        && record.claim_token == held
        && record.from == Some(before.state.status)
        && record.to == Some(before.state.status));
    ensure_eq!(after.state.evidence_count, before.state.evidence_count + 1);
    after.state.evidence_count = before.state.evidence_count;
    after.state.updated_at = before.state.updated_at;
    ensure_eq!(after, before);
    Ok(())
}

async fn a_stale_claim_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(9).build()).await?;
    let first = store.claim_one(id).await?;
    store.settle(&first, failed()).await?;
    let second = store.claim_one(id).await?;
    refused(&store, &first, succeeded()).await?;
    ensure_eq!(store.settle(&second, succeeded()).await?.status, Status::Resolved);
    refused(&store, &first, succeeded()).await
}

async fn a_stale_settle_changes_nothing_and_is_recorded(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let first = store.claim_one(id).await?;
    store.settle(&first, deferred()).await?;
    store.claim_one(id).await?;
    for outcome in [succeeded(), failed(), permanent(), deferred(), SettleOutcome::Released] {
        refused(&store, &first, outcome).await?;
    }
    store.ensure_sound().await
}

async fn a_stale_claim_is_refused_after_a_force_redrive(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(1).build()).await?;
    let first = store.claim_one(id).await?;
    store.settle(&first, failed()).await?;
    let redriven = store.claim_forced(id).await?;
    refused(&store, &first, succeeded()).await?;
    refused(&store, &first, failed()).await?;
    ensure_eq!(store.settle(&redriven, succeeded()).await?.status, Status::Resolved);
    Ok(())
}

async fn a_lapsed_claim_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(5).build()).await?;
    let first = store.claim_one(id).await?;
    store.clock.advance(LEASE);
    ensure_eq!(store.lapse(10).await?.lapsed, [(id, Status::Pending)]);
    refused(&store, &first, succeeded()).await?;
    store.claim_one(id).await?;
    refused(&store, &first, succeeded()).await
}

async fn a_token_from_the_future_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let mut forged = store.claim_one(id).await?;
    for token in
        [forged.state.claim_token.next(), ClaimToken(0), ClaimToken(i64::MAX.unsigned_abs())]
    {
        forged.state.claim_token = token;
        refused(&store, &forged, succeeded()).await?;
    }
    Ok(())
}

async fn a_never_claimed_entry_is_not_settled(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let op = store.op(id).await?;
    refused(&store, &op, succeeded()).await?;
    store.act(id, resolve()).await?;
    refused(&store, &op, failed()).await
}

async fn a_repeated_settle_changes_nothing_and_succeeds(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let already_done = SettleOutcome::AlreadyDone { note: "seen".to_owned() };
    for outcome in
        [succeeded(), already_done, failed(), permanent(), deferred(), SettleOutcome::Released]
    {
        let id = store.keep_new(captures.an_op().build()).await?;
        let claimed = store.claim_one(id).await?;
        let first = store.settle(&claimed, outcome.clone()).await?;
        ensure!(!first.repeated, "the first settle of {outcome:?}");
        let before = store.op(id).await?;
        store.clock.advance(Duration::from_secs(1));
        let second = store.settle(&claimed, outcome.clone()).await?;
        ensure!(second.repeated, "the second settle of {outcome:?}");
        ensure_eq!((second.status, second.retry_count), (first.status, first.retry_count));
        ensure_eq!(store.op(id).await?, before, "after repeating {outcome:?}");
        store.trail(id).await?;
    }
    Ok(())
}

async fn a_repeat_with_another_outcome_is_stale(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    store.settle(&claimed, failed()).await?;
    refused(&store, &claimed, succeeded()).await
}

async fn a_repeat_after_the_next_claim_is_stale(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let first = store.claim_one(id).await?;
    store.settle(&first, deferred()).await?;
    store.claim_one(id).await?;
    refused(&store, &first, deferred()).await
}

async fn a_repeat_after_a_reopen_does_not_close_it_again(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    store.settle(&claimed, failed()).await?;
    store.act(id, resolve()).await?;
    store.act(id, Action::Reopen).await?;
    let settle = Settle {
        id,
        token: claimed.state.claim_token,
        outcome: failed(),
        trigger: ResolutionType::ScheduledBatch,
        evidence: evidence(&store.clock),
    };
    only(store.claims.settle_batch(vec![settle]).await)??;
    let state = store.op(id).await?.state;
    ensure_eq!((state.status, state.retry_count), (Status::Pending, 0));
    Ok(())
}
