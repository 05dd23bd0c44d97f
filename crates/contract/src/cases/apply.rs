//! Acts of persons and policies.

use std::time::Duration;

use baldur_core::{
    Clock, EntryId, EvidenceEvent, NotReplayable, RecommendedAction, ResolutionType, Status,
    command::{Act, Action},
    next_status,
    port::ClaimError,
};

use crate::{
    build::{Captures, evidence},
    case::{CaseResult, Failure, cases, ensure_eq, ensure_matches},
    drive::{failed, permanent, reject, resolve, succeeded},
    harness::Lab,
    store::StoreUnderTest,
};

cases!(
    "apply",
    None,
    [
        the_state_table_decides_every_act,
        a_resolve_says_who_when_and_why,
        a_reject_says_who_when_and_why,
        resolving_twice_is_not_allowed,
        a_running_replay_is_left_alone,
        a_reopened_entry_starts_anew_and_keeps_its_history,
        what_a_replay_resolved_is_not_reopened,
        an_entry_that_cannot_be_replayed_never_becomes_pending,
        an_expired_entry_says_so,
        an_escalated_entry_asks_for_a_person,
        an_entry_put_back_is_due_at_once,
        acts_of_a_batch_are_answered_by_themselves_in_order,
        an_unknown_entry_is_not_found,
        a_note_with_a_nul_character_is_refused,
        the_answer_is_the_state_that_is_kept,
    ]
);

const ACTIONS: [fn() -> Action; 7] = [
    resolve,
    reject,
    || Action::Review,
    || Action::Back,
    || Action::Escalate,
    || Action::Expire,
    || Action::Reopen,
];

/// A new entry in this status; `None` for those that no port leads to yet.
async fn entry_in(
    store: &StoreUnderTest,
    captures: &Captures,
    status: Status,
) -> Result<Option<EntryId>, Failure> {
    let id = store.keep_new(captures.an_op().build()).await?;
    let action = match status {
        Status::Pending => return Ok(Some(id)),
        Status::Replaying => {
            store.claim_one(id).await?;
            return Ok(Some(id));
        }
        Status::Reviewing => Action::Review,
        Status::RequiresReview => Action::Escalate,
        Status::Resolved => resolve(),
        Status::Rejected => reject(),
        Status::Expired => Action::Expire,
        Status::Replayed | Status::Archived | Status::PermanentlyFailed => return Ok(None),
    };
    store.act(id, action).await?;
    Ok(Some(id))
}

/// Reference 104 and section 1.5: every pair of status and act, allowed exactly where the table says so.
async fn the_state_table_decides_every_act(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for status in Status::ALL {
        for action in ACTIONS {
            let Some(id) = entry_in(&store, &captures, status).await? else { continue };
            let before = store.op(id).await?;
            let action = action();
            let answer = store.try_act(id, action.clone()).await?;
            let after = store.op(id).await?;
            if let Some(to) = next_status(status, action.cause()) {
                ensure_eq!(answer?.status, to, "{status} and {action:?}");
                ensure_eq!(after.state.status, to);
                let last = store.trail(id).await?.pop();
                ensure_matches!(last, Some(record)
                    if record.event == EvidenceEvent::Moved(action.cause())
                    && record.from == Some(status) && record.to == Some(to));
            } else {
                ensure_matches!(answer, Err(ClaimError::NotAllowed { id: said, status: from, cause })
                    if *said == id && *from == status && *cause == action.cause());
                ensure_eq!(after, before, "{status} and {action:?}");
            }
        }
    }
    store.ensure_sound().await
}

async fn closed(lab: &Lab, action: Action, status: Status, note: &str) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    store.clock.advance(Duration::from_micros(1_000_001));
    let now = store.clock.now();
    let state = store.act(id, action).await?;
    ensure_eq!((state.status, state.resolution_note.as_str()), (status, note));
    ensure_eq!((state.resolved_at, state.updated_at), (Some(now), now));
    ensure_eq!(
        state.resolved_by_id.as_ref().map(baldur_core::name::Actor::as_str),
        Some("contract")
    );
    ensure_eq!(state.resolution_type, Some(ResolutionType::Manual));
    ensure_eq!(store.op(id).await?.state, state);
    Ok(())
}

/// Reference 54.
async fn a_resolve_says_who_when_and_why(lab: &Lab) -> CaseResult {
    closed(lab, resolve(), Status::Resolved, "done by hand").await
}

async fn a_reject_says_who_when_and_why(lab: &Lab) -> CaseResult {
    closed(lab, reject(), Status::Rejected, "not ours").await
}

async fn resolving_twice_is_not_allowed(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    store.act(id, resolve()).await?;
    let before = store.op(id).await?;
    store.clock.advance(Duration::from_secs(1));
    ensure_matches!(store.try_act(id, resolve()).await?, Err(ClaimError::NotAllowed { .. }));
    ensure_eq!(store.op(id).await?, before);
    Ok(())
}

async fn a_running_replay_is_left_alone(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let claimed = store.claim_one(id).await?;
    for action in ACTIONS {
        ensure_matches!(
            store.try_act(id, action()).await?,
            Err(ClaimError::NotAllowed { status: Status::Replaying, .. })
        );
    }
    ensure_eq!(store.op(id).await?, claimed);
    ensure_eq!(store.settle(&claimed, succeeded()).await?.status, Status::Resolved);
    Ok(())
}

async fn a_reopened_entry_starts_anew_and_keeps_its_history(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let wait = Duration::from_hours(1);
    let id = store.keep_new(captures.an_op().expires_in(wait).build()).await?;
    store.replay(id, failed()).await?;
    store.act(id, resolve()).await?;
    store.clock.advance(Duration::from_secs(5));
    let state = store.act(id, Action::Reopen).await?;
    ensure_eq!((state.status, state.retry_count), (Status::Pending, 0));
    ensure_eq!((state.previous_total_retries, state.attempts.total()), (1, 1));
    ensure_eq!((state.resolved_at, state.resolution_type, state.expires_at), (None, None, None));
    ensure_eq!((state.resolved_by_id, state.resolution_note.as_str()), (None, ""));
    ensure_eq!((state.next_attempt_at, state.claim_token.0), (store.clock.now(), 1));
    ensure_eq!(store.due_ids(10).await?, [id]);
    store.trail(id).await.map(|_| ())
}

async fn what_a_replay_resolved_is_not_reopened(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    store.replay(id, succeeded()).await?;
    ensure_matches!(store.try_act(id, Action::Reopen).await?, Err(ClaimError::NotAllowed { .. }));
    ensure_eq!(store.status(id).await?, Status::Resolved);
    Ok(())
}

async fn an_entry_that_cannot_be_replayed_never_becomes_pending(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let why = NotReplayable::RequestNotRedactable;
    let id = store.keep_new(captures.an_op().not_replayable(why).build()).await?;
    store.act(id, resolve()).await?;
    ensure_matches!(store.try_act(id, Action::Reopen).await?, Err(ClaimError::NotAllowed { .. }));
    ensure_eq!(store.status(id).await?, Status::Resolved);
    Ok(())
}

async fn an_expired_entry_says_so(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let state = store.act(id, Action::Expire).await?;
    ensure_eq!((state.status, state.resolved_at), (Status::Expired, None));
    ensure_eq!(state.resolution_type, Some(ResolutionType::TtlExpired));
    Ok(())
}

async fn an_escalated_entry_asks_for_a_person(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let state = store.act(id, Action::Escalate).await?;
    ensure_eq!(state.recommended_action, Some(RecommendedAction::Escalate));
    let redriven = store.claim_forced(id).await?;
    ensure_eq!(redriven.state.recommended_action, None);
    store.settle(&redriven, permanent()).await?;
    ensure_eq!(store.op(id).await?.state.recommended_action, Some(RecommendedAction::ManualCheck));
    Ok(())
}

async fn an_entry_put_back_is_due_at_once(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let wait = Duration::from_hours(1);
    let id = store.keep_new(captures.an_op().next_attempt_in(wait).build()).await?;
    store.act(id, Action::Review).await?;
    store.act(id, Action::Back).await?;
    ensure_eq!(store.due_ids(10).await?, [id]);
    Ok(())
}

/// Reference 53.
async fn acts_of_a_batch_are_answered_by_themselves_in_order(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let a = store.keep_new(captures.an_op().build()).await?;
    let b = store.keep_new(captures.an_op().build()).await?;
    let unknown = captures.an_op().build().op.id;
    let steps = [
        (a, Action::Review),
        (unknown, resolve()),
        (a, Action::Escalate),
        (b, Action::Back),
        (a, resolve()),
        (b, reject()),
    ];
    let acts = steps
        .into_iter()
        .map(|(id, action)| Act { id, action, evidence: evidence(&store.clock) })
        .collect();
    let answers = store.claims.apply(acts).await;
    ensure_eq!(
        answers
            .iter()
            .map(|answer| answer.as_ref().ok().map(|state| state.status))
            .collect::<Vec<_>>(),
        [
            Some(Status::Reviewing),
            None,
            Some(Status::RequiresReview),
            None,
            Some(Status::Resolved),
            Some(Status::Rejected),
        ]
    );
    ensure_matches!(&answers[1], Err(ClaimError::NotFound(id)) if *id == unknown);
    ensure_matches!(&answers[3], Err(ClaimError::NotAllowed { status: Status::Pending, .. }));
    ensure_eq!(store.trail(a).await?.len(), 4);
    Ok(())
}

/// Reference 12.
async fn an_unknown_entry_is_not_found(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = captures.an_op().build().op.id;
    for action in ACTIONS {
        ensure_matches!(store.try_act(id, action()).await?, Err(ClaimError::NotFound(said)) if *said == id);
    }
    ensure_eq!(store.find(id).await?, None);
    Ok(())
}

async fn a_note_with_a_nul_character_is_refused(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    let note = || "a\0b".to_owned();
    for action in [Action::Resolve { note: note() }, Action::Reject { note: note() }] {
        ensure_matches!(store.try_act(id, action).await?, Err(ClaimError::Invalid(_)));
    }
    ensure_eq!(store.status(id).await?, Status::Pending);
    Ok(())
}

async fn the_answer_is_the_state_that_is_kept(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let id = store.keep_new(captures.an_op().build()).await?;
    for action in [Action::Review, Action::Back, Action::Escalate, reject(), Action::Reopen] {
        let state = store.act(id, action).await?;
        ensure_eq!(store.op(id).await?.state, state);
    }
    Ok(())
}
