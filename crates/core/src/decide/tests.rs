//! Facts about decisions.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{
    failed_op::{NotReplayable, TRANSITIONS, Transition},
    name::{Actor, WorkerName},
};

const ID: EntryId = EntryId::from_bytes([7; 16]);

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(Duration::from_secs(seconds))
}

fn evidence() -> Evidence {
    Evidence::new(Actor::system(), at(1))
}

fn terms(force: bool) -> ClaimTerms {
    ClaimTerms {
        holder: WorkerName::parse("worker").expect("a name"),
        lease: Duration::from_secs(30),
        force,
        unchanged_since: None,
        evidence: evidence(),
    }
}

fn fresh(max_retries: u32) -> OpState {
    OpState::captured(max_retries, None, at(1))
}

fn settle_with(token: ClaimToken, outcome: SettleOutcome) -> Settle {
    Settle { id: ID, token, outcome, trigger: ResolutionType::ManualReplay, evidence: evidence() }
}

fn failed() -> SettleOutcome {
    SettleOutcome::Failed { error: "down".to_owned(), retry_in: Duration::from_mins(1) }
}

fn claimed(state: &OpState, force: bool) -> OpState {
    claim(ID, state, &terms(force), at(10)).expect("claimable").state
}

fn settled(state: &OpState, outcome: SettleOutcome) -> OpState {
    match settle(state, &settle_with(state.claim_token, outcome), at(20)) {
        Settlement::Settled(change) => change.state,
        Settlement::Repeated | Settlement::Stale(_) => panic!("the token is current"),
    }
}

#[test]
fn a_claim_hands_out_a_larger_token_and_a_deadline() {
    let state = claimed(&fresh(2), false);
    assert_eq!(state.status, Status::Replaying);
    assert_eq!(state.claim_token, ClaimToken(1));
    assert_eq!(state.hold.as_ref().map(|hold| hold.expires_at), Some(at(40)));
    assert_eq!(state.retry_count, 0, "a claim charges nothing");
    assert_eq!(
        claim(ID, &state, &terms(true), at(11)),
        Err(ClaimRefusal::Status(Status::Replaying))
    );
}

#[test]
fn failures_use_the_budget_up_and_then_a_person_is_asked() {
    let once = settled(&claimed(&fresh(2), false), failed());
    assert_eq!((once.status, once.retry_count), (Status::Pending, 1));
    assert_eq!(once.next_attempt_at, at(80));
    let twice = settled(&claimed(&once, false), failed());
    assert_eq!((twice.status, twice.retry_count), (Status::RequiresReview, 2));
    assert_eq!(twice.recommended_action, Some(RecommendedAction::ManualCheck));
}

#[test]
fn deferrals_and_releases_charge_nothing() {
    let put_off =
        SettleOutcome::Deferred { reason: "busy".to_owned(), delay: Duration::from_secs(5) };
    let deferred = settled(&claimed(&fresh(1), false), put_off);
    assert_eq!((deferred.status, deferred.retry_count), (Status::Pending, 0));
    assert_eq!(deferred.next_attempt_at, at(25));
    let released = settled(&claimed(&deferred, false), SettleOutcome::Released);
    assert_eq!((released.status, released.retry_count), (Status::Pending, 0));
    assert_eq!(released.next_attempt_at, at(20));
}

#[test]
fn a_lapse_charges_raises_the_token_and_converges_at_the_cap() {
    let held = claimed(&fresh(1), false);
    assert_eq!(lapse(ID, &held, Duration::ZERO, evidence(), at(39)), None);
    let lapsed = lapse(ID, &held, Duration::ZERO, evidence(), at(40)).expect("ran out").state;
    assert_eq!((lapsed.status, lapsed.retry_count), (Status::RequiresReview, 1));
    assert_eq!(lapsed.claim_token, ClaimToken(2));
    assert_eq!(lapsed.attempts.newest().map(|a| a.outcome), Some(AttemptOutcome::Lapsed));
}

#[test]
fn a_stale_settle_changes_nothing_but_leaves_evidence() {
    let held = claimed(&fresh(5), false);
    let lapsed = lapse(ID, &held, Duration::ZERO, evidence(), at(40)).expect("ran out").state;
    let again = claimed(&lapsed, false);
    let late = settle_with(held.claim_token, SettleOutcome::Succeeded { note: String::new() });
    let Settlement::Stale(change) = settle(&again, &late, at(50)) else { panic!("stale") };
    let expected =
        OpState { evidence_count: again.evidence_count + 1, updated_at: at(50), ..again };
    assert_eq!(change.state, expected);
    assert_eq!(change.record.event, EvidenceEvent::SettleRefused);
    assert_eq!(change.record.claim_token, held.claim_token);
}

#[test]
fn repeating_a_settle_is_recognised_until_the_next_claim() {
    let held = claimed(&fresh(5), false);
    let command = settle_with(held.claim_token, failed());
    let once = settled(&held, failed());
    assert_eq!(settle(&once, &command, at(30)), Settlement::Repeated);
    let other = settle_with(held.claim_token, SettleOutcome::Succeeded { note: String::new() });
    assert!(matches!(settle(&once, &other, at(30)), Settlement::Stale(_)));
    assert!(matches!(settle(&claimed(&once, false), &command, at(30)), Settlement::Stale(_)));
}

#[test]
fn a_force_redrive_starts_a_fresh_budget_and_keeps_the_scars() {
    let spent = settled(&claimed(&fresh(1), false), failed());
    assert_eq!(
        claim(ID, &spent, &terms(false), at(30)),
        Err(ClaimRefusal::Status(Status::RequiresReview))
    );
    let forced = claimed(&spent, true);
    assert_eq!((forced.retry_count, forced.previous_total_retries), (0, 1));
    assert_eq!(forced.force_redrive_count, 1);
    assert_eq!(forced.claim_token, ClaimToken(2), "tokens never reset");
}

#[test]
fn what_cannot_be_replayed_waits_for_a_person_for_good() {
    let state = OpState::captured(2, Some(NotReplayable::RequestTooLarge), at(1));
    assert_eq!(state.status, Status::RequiresReview);
    assert_eq!(claim(ID, &state, &terms(true), at(2)), Err(ClaimRefusal::NotReplayable));
    let act = |action| Act { id: ID, action, evidence: evidence() };
    let closed =
        apply(&state, &act(Action::Reject { note: String::new() }), at(3)).expect("allowed");
    assert!(apply(&closed.state, &act(Action::Reopen), at(4)).is_err());
}

#[test]
fn only_what_a_person_closed_or_what_expired_can_be_reopened() {
    let act = |action| Act { id: ID, action, evidence: evidence() };
    let replayed =
        settled(&claimed(&fresh(1), false), SettleOutcome::Succeeded { note: String::new() });
    assert!(apply(&replayed, &act(Action::Reopen), at(30)).is_err());
    let closed = apply(&fresh(1), &act(Action::Resolve { note: "done".to_owned() }), at(2))
        .expect("allowed")
        .state;
    let reopened = apply(&closed, &act(Action::Reopen), at(3)).expect("allowed").state;
    assert_eq!(reopened.status, Status::Pending);
    assert_eq!((reopened.resolved_at, reopened.resolution_type), (None, None));
}

#[derive(Clone, Debug)]
enum Step {
    Claim { force: bool },
    Settle { stale: bool, outcome: SettleOutcome },
    Lapse,
    Apply(Action),
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        Just(SettleOutcome::Succeeded { note: "ok".to_owned() }),
        Just(SettleOutcome::AlreadyDone { note: "seen".to_owned() }),
        Just(failed()),
        Just(SettleOutcome::Permanent { error: "never".to_owned() }),
        Just(SettleOutcome::Deferred { reason: "busy".to_owned(), delay: Duration::ZERO }),
        Just(SettleOutcome::Released),
    ];
    let action = prop_oneof![
        Just(Action::Resolve { note: "by hand".to_owned() }),
        Just(Action::Reject { note: "no".to_owned() }),
        Just(Action::Review),
        Just(Action::Back),
        Just(Action::Escalate),
        Just(Action::Expire),
        Just(Action::Reopen),
    ];
    prop_oneof![
        3 => any::<bool>().prop_map(|force| Step::Claim { force }),
        4 => (any::<bool>(), outcome).prop_map(|(stale, outcome)| Step::Settle { stale, outcome }),
        1 => Just(Step::Lapse),
        2 => action.prop_map(Step::Apply),
    ]
}

proptest! {
    #[test]
    fn every_change_is_in_the_table_and_leaves_one_record(
        max_retries in 1_u32..5,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut state = fresh(max_retries);
        state.evidence_count = 1;
        let mut now = 10;
        for step in steps {
            now += 100;
            let before = state.clone();
            let change = match step {
                Step::Claim { force } => claim(ID, &before, &terms(force), at(now)).ok(),
                Step::Settle { stale, outcome } => {
                    let token = ClaimToken(before.claim_token.0 + u64::from(stale));
                    match settle(&before, &settle_with(token, outcome), at(now)) {
                        Settlement::Settled(change) | Settlement::Stale(change) => Some(change),
                        Settlement::Repeated => None,
                    }
                }
                Step::Lapse => lapse(ID, &before, Duration::ZERO, evidence(), at(now)),
                Step::Apply(action) => {
                    apply(&before, &Act { id: ID, action, evidence: evidence() }, at(now)).ok()
                }
            };
            let Some(Change { state: after, record }) = change else { continue };
            prop_assert_eq!(record.counter, before.evidence_count + 1);
            prop_assert_eq!(after.evidence_count, record.counter);
            prop_assert_eq!(record.from, Some(before.status));
            prop_assert_eq!(record.to, Some(after.status));
            prop_assert!(after.claim_token >= before.claim_token);
            prop_assert_eq!(after.hold.is_some(), after.status == Status::Replaying);
            prop_assert!(after.status != Status::Pending || after.can_retry());
            match record.event {
                EvidenceEvent::Moved(cause) => {
                    let to = Some(after.status);
                    let legal = Transition { from: before.status, cause, to };
                    prop_assert!(TRANSITIONS.contains(&legal));
                }
                EvidenceEvent::SettleRefused => prop_assert_eq!(after.status, before.status),
                EvidenceEvent::Captured | EvidenceEvent::Merged | EvidenceEvent::Evicted => {
                    prop_assert!(false);
                }
            }
            state = after;
        }
    }
}
