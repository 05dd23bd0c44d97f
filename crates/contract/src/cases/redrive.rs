//! Another replay after the budget was used up.

use baldur_core::{
    EvidenceEvent, Status,
    command::{Action, ClaimSelect, ClaimTerms},
    failed_op::Cause,
    port::ClaimError,
};

use crate::{
    case::{CaseResult, cases, ensure_eq, ensure_matches},
    drive::{failed, permanent, reject, resolve, succeeded},
    harness::Lab,
};

cases!(
    "redrive",
    None,
    [
        a_redrive_takes_a_reviewed_entry_with_a_fresh_budget,
        a_redrive_keeps_its_scars,
        without_force_a_reviewed_entry_is_refused,
        a_second_redrive_is_refused_while_the_first_runs,
        force_takes_no_closed_entry,
        force_on_a_pending_entry_is_an_ordinary_claim,
    ]
);

/// Reference 31: but the budget starts at 0, since failures are what is charged.
async fn a_redrive_takes_a_reviewed_entry_with_a_fresh_budget(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(2).build()).await?;
    store.replay(id, failed()).await?;
    store.replay(id, failed()).await?;
    let redriven = store.claim_forced(id).await?;
    ensure_eq!((redriven.state.status, redriven.state.retry_count), (Status::Replaying, 0));
    ensure_eq!(redriven.state.claim_token.0, 3);
    let trail = store.trail(id).await?;
    ensure_eq!(trail.last().map(|r| r.event), Some(EvidenceEvent::Moved(Cause::ForceRedrive)));
    let settled = store.settle(&redriven, failed()).await?;
    ensure_eq!((settled.status, settled.retry_count), (Status::Pending, 1));
    Ok(())
}

async fn a_redrive_keeps_its_scars(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().max_retries(2).build()).await?;
    store.replay(id, failed()).await?;
    store.replay(id, failed()).await?;
    let first = store.claim_forced(id).await?;
    ensure_eq!((first.state.force_redrive_count, first.state.previous_total_retries), (1, 2));
    store.settle(&first, permanent()).await?;
    let second = store.claim_forced(id).await?;
    ensure_eq!((second.state.force_redrive_count, second.state.previous_total_retries), (2, 3));
    store.settle(&second, succeeded()).await?;
    let state = store.op(id).await?.state;
    ensure_eq!((state.force_redrive_count, state.previous_total_retries), (2, 3));
    ensure_eq!(state.attempts.total(), 4);
    Ok(())
}

async fn without_force_a_reviewed_entry_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    store.replay(id, permanent()).await?;
    ensure_matches!(
        store.refusal(id).await?,
        ClaimError::NotClaimable { status: Status::RequiresReview, .. }
    );
    Ok(())
}

/// Reference 32.
async fn a_second_redrive_is_refused_while_the_first_runs(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    store.replay(id, permanent()).await?;
    let running = store.claim_forced(id).await?;
    let terms = ClaimTerms { force: true, ..store.terms() };
    let outcome = store.claim(ClaimSelect::Ids(vec![id]), terms).await?;
    ensure_matches!(
        outcome.refused.as_slice(),
        [(_, ClaimError::NotClaimable { status: Status::Replaying, .. })]
    );
    ensure_eq!(store.op(id).await?, running);
    Ok(())
}

/// Reference 31.
async fn force_takes_no_closed_entry(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for action in [resolve(), reject(), Action::Expire, Action::Review] {
        let id = store.keep_new(captures.an_op().build()).await?;
        let expected = store.act(id, action).await?.status;
        let terms = ClaimTerms { force: true, ..store.terms() };
        let outcome = store.claim(ClaimSelect::Ids(vec![id]), terms).await?;
        ensure_matches!(
            outcome.refused.as_slice(),
            [(_, ClaimError::NotClaimable { status, .. })] if *status == expected
        );
    }
    Ok(())
}

async fn force_on_a_pending_entry_is_an_ordinary_claim(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    store.replay(id, failed()).await?;
    let claimed = store.claim_forced(id).await?;
    ensure_eq!((claimed.state.retry_count, claimed.state.force_redrive_count), (1, 0));
    let trail = store.trail(id).await?;
    ensure_eq!(trail.last().map(|r| r.event), Some(EvidenceEvent::Moved(Cause::Claim)));
    Ok(())
}
