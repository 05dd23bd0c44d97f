//! Capture for callers that have nowhere else to put an operation: nothing is refused.

use std::time::Duration;

use baldur_app::Oversize;
use baldur_core::{FailedOp, NewFailedOp, NotReplayable, RecommendedAction, Status};

use crate::capture_setup::{Setup, json_of, payment, who};

const MIB: usize = 1 << 20;

async fn kept(op: NewFailedOp) -> FailedOp {
    let setup = Setup::new();
    let capture = setup.capture.prepare(op, &who(), Oversize::KeepUnreplayable);
    let answers = setup.capture.keep(vec![capture.expect("nothing is refused")]).await;
    let id = answers[0].as_ref().expect("the store takes it").id;
    setup.entry(id).await
}

fn waits_for_a_person(op: &FailedOp, reason: NotReplayable) {
    assert_eq!(op.state.not_replayable, Some(reason));
    assert_eq!(op.state.status, Status::RequiresReview);
    assert_eq!(op.state.recommended_action, Some(RecommendedAction::ManualCheck));
}

#[tokio::test]
async fn a_request_above_the_limit_is_replaced_and_waits_for_a_person() {
    let op = kept(payment().request_data(json_of(MIB + 1))).await;
    waits_for_a_person(&op, NotReplayable::RequestTooLarge);
    assert_eq!(
        op.request_data.as_str(),
        r#"{"_not_kept":"request_too_large","original_size":1048577}"#
    );
    let op = kept(payment().request_data(json_of(MIB))).await;
    assert_eq!((op.state.status, op.request_data.len()), (Status::Pending, MIB));
}

#[tokio::test]
async fn a_request_that_cant_be_redacted_is_replaced_and_waits_for_a_person() {
    let secret = format!("{}{{\"password\":\"hunter2\"}}{}", "[".repeat(200), "]".repeat(200));
    let op = kept(payment().request_data(secret)).await;
    waits_for_a_person(&op, NotReplayable::RequestNotRedactable);
    assert!(op.request_data.as_str().starts_with(r#"{"_not_kept":"request_not_redactable""#));
}

#[tokio::test]
async fn a_request_that_is_no_json_is_kept_as_a_string() {
    let op = kept(payment().request_data("amount=1999&pin=1234")).await;
    assert_eq!(op.state.status, Status::Pending);
    assert_eq!(op.request_data.as_str(), r#""amount=1999&pin=***REDACTED***""#);
    assert!(op.metadata.as_str().contains(r#""request_data":"not JSON"#));
    assert_eq!(kept(payment().request_data(" ")).await.request_data.as_str(), "{}");
}

#[tokio::test]
async fn without_the_key_of_the_call_nothing_is_replayed() {
    for key in ["two words", "4111111111111111"] {
        let op = kept(payment().idempotency_key(key)).await;
        waits_for_a_person(&op, NotReplayable::IdempotencyKeyNotKept);
        assert!(op.idempotency_key.as_str().starts_with("sha256:"));
        assert_eq!(op.request_data.as_str(), r#"{"amount":1999}"#, "the request is still there");
    }
}

#[tokio::test]
async fn keys_that_break_the_rules_group_by_their_digest() {
    let long = "k".repeat(300);
    let op = kept(payment().order_key(&long).dedup_key(&long)).await;
    let digest = baldur_core::Digest::of(long.as_bytes());
    let hashed = format!("sha256:{digest}");
    assert_eq!(op.order_key.as_ref().map(AsRef::as_ref), Some(hashed.as_str()));
    assert_eq!(op.dedup_key.as_ref().map(AsRef::as_ref), Some(hashed.as_str()));
    assert_eq!(op.state.status, Status::Pending);
}

#[tokio::test]
async fn blank_keys_tie_nothing_together() {
    let op = kept(payment().order_key(" ").dedup_key("")).await;
    assert_eq!((op.order_key, op.dedup_key), (None, None));
    assert!(op.metadata.as_str().contains(r#""order_key":"dropped: it was blank""#));
}

#[tokio::test]
async fn above_the_hard_cap_diagnostics_go_unread_and_the_request_stays() {
    let op = kept(
        payment()
            .snapshot_data(json_of(9 * MIB))
            .error_message("password=hunter2 ".repeat(MIB))
            .response_data(r#"{"status":502}"#),
    )
    .await;
    assert_eq!(op.request_data.as_str(), r#"{"amount":1999}"#);
    assert_eq!(op.response_data.as_str(), r#"{"status":502}"#);
    assert_eq!(
        op.snapshot_data.as_str(),
        r#"{"_truncated":true,"original_size":9437184,"preview":""}"#
    );
    assert_eq!(op.error_message, "[not kept, 17825792 bytes]");
    assert_eq!(op.state.status, Status::Pending);
}

#[tokio::test]
async fn labels_and_limits_are_brought_into_their_ranges() {
    let op = (0..20).fold(payment(), |op, n| op.label(format!("l{n}"), "v"));
    let op = NewFailedOp { expires_in: Some(Duration::ZERO), ..op.label("Bad", "v") };
    let op = kept(op.max_retries(0)).await;
    assert_eq!((op.labels.len(), op.state.max_retries), (16, 1));
    let notes = op.metadata.as_str();
    assert!(notes.contains(r#""labels":"5 dropped, 0 changed""#), "{notes}");
    assert!(notes.contains(r#""max_retries":"was 0""#), "{notes}");
    let op = kept((0..3).fold(payment(), |op, n| op.label("same", n.to_string()))).await;
    assert_eq!(op.labels.values().map(AsRef::as_ref).collect::<Vec<&str>>(), ["0"]);
}

#[tokio::test]
async fn keeping_again_what_was_prepared_changes_nothing() {
    let setup = Setup::new();
    let capture = setup
        .capture
        .prepare(payment(), &who(), Oversize::KeepUnreplayable)
        .expect("nothing is refused");
    let first = setup.capture.keep(vec![capture.clone()]).await;
    let again = setup.capture.keep(vec![capture]).await;
    let (first, again) = (first[0].as_ref().expect("kept"), again[0].as_ref().expect("kept"));
    assert_eq!(first.id, again.id);
    assert_eq!(again.disposition, baldur_core::port::Disposition::Repeated);
}
