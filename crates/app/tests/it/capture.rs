//! Capture as callers meet it: what is kept, what is refused, and what is noted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use baldur_app::{CaptureFailure, CapturePolicy, CaptureService, Refusal, Who};
use baldur_core::{
    EntryId, Json, NewFailedOp, Outcome, Retry, Status,
    command::Capture,
    name::Reason,
    port::{CaptureError, CaptureStore, Captured, Disposition, EvidenceLog},
};
use baldur_memory::MemoryStore;

use crate::capture_setup::{Setup, json_of, payment, who};

const MIB: usize = 1 << 20;

#[tokio::test]
async fn an_operation_is_kept_with_all_that_a_replay_needs() {
    let setup = Setup::new();
    let op = payment()
        .idempotency_key("call-1")
        .order_key("order-4711")
        .label("tenant", "acme")
        .max_retries(5)
        .traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let kept = setup.kept(op).await;
    assert_eq!(kept.namespace.as_str(), "shop");
    assert_eq!((kept.domain.as_str(), kept.failure_type.as_str()), ("payment", "TIMEOUT"));
    assert_eq!(kept.dependency.as_str(), "payment-gateway");
    assert_eq!(kept.origin_service.as_str(), "checkout");
    assert_eq!(kept.entity_id.as_ref().map(AsRef::as_ref), Some("4711"));
    assert_eq!(kept.request_data.as_str(), r#"{"amount":1999}"#);
    assert_eq!(kept.metadata, Json::empty_object(), "nothing was changed, so nothing is noted");
    assert_eq!(kept.idempotency_key.as_str(), "call-1");
    assert_eq!(kept.order_key.as_ref().map(AsRef::as_ref), Some("order-4711"));
    assert_eq!(kept.labels.len(), 1);
    assert_eq!((kept.state.status, kept.state.max_retries), (Status::Pending, 5));
    assert_eq!(kept.created_at, setup.env.clock.now());
    assert!(kept.trace.is_some());
    assert_eq!(kept.id.route(), baldur_core::Route::of("order-4711"));
}

#[tokio::test]
async fn without_a_key_the_entry_id_is_the_key_of_the_call() {
    let kept = Setup::new().kept(payment()).await;
    assert_eq!(kept.idempotency_key.as_str(), kept.id.to_string());
}

#[tokio::test]
async fn each_refusal_has_its_code_and_says_what_is_allowed() {
    let setup = Setup::new();
    let labels = |n: usize| (0..n).fold(payment(), |op, n| op.label(format!("l{n}"), "v"));
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let cases: Vec<(NewFailedOp, &str, &str)> = vec![
        (payment().error_message("x".repeat(8 * MIB)), "input_too_large", "at most 8388608"),
        (labels(17), "too_many_labels", "at most 16"),
        (payment().label("Tenant", "a"), "label_name_invalid", "use a-z"),
        (payment().label("a", "1").label("a", "2"), "label_repeated", "once"),
        (payment().order_key("a\0b"), "order_key_invalid", "printable"),
        (payment().order_key(""), "order_key_invalid", "is empty"),
        (payment().dedup_key("x".repeat(257)), "dedup_key_invalid", "at most 256"),
        (payment().idempotency_key("a b"), "idempotency_key_invalid", "visible ASCII"),
        (payment().idempotency_key("4111111111111111"), "idempotency_key_secret", "random one"),
        (payment().request_data("{\"a\":"), "request_not_json", "one JSON value"),
        (payment().request_data(json_of(MIB + 1)), "request_too_large", "at most 1048576"),
        (payment().request_data(deep), "request_not_redactable", "128 levels"),
        (payment().max_retries(0), "max_retries_out_of_range", "1 to 1000"),
        (payment().max_retries(1_001), "max_retries_out_of_range", "1 to 1000"),
        (
            NewFailedOp { expires_in: Some(Duration::ZERO), ..payment() },
            "expires_in_zero",
            "longer",
        ),
    ];
    let mut codes: Vec<&str> = Vec::new();
    for (op, code, allowed) in cases {
        let failure = setup.capture.capture(op, &who()).await.expect_err(code);
        assert_eq!(failure.code(), code);
        assert!(failure.to_string().contains(allowed), "{code}: {failure}");
        assert_eq!((failure.retry(), failure.outcome()), (Retry::Never, Outcome::NotApplied));
        codes.push(code);
    }
    codes.dedup();
    assert_eq!(codes, Refusal::CODES, "each documented code has its case");
    assert!(setup.everything().await.is_empty(), "a refusal keeps nothing");
}

#[tokio::test]
async fn limits_hold_to_the_byte() {
    let setup = Setup::new();
    let policy = CapturePolicy::default();
    let request = json_of(policy.max_request_bytes);
    assert_eq!(setup.kept(payment().request_data(&request)).await.request_data.as_str(), request);

    let empty = NewFailedOp::new("payment", "TIMEOUT");
    let rest = policy.max_input_bytes - "paymentTIMEOUT".len();
    let at_cap = empty.clone().response_data(json_of(rest));
    let above = empty.response_data(json_of(rest + 1));
    setup.kept(at_cap).await;
    let failure = setup.capture.capture(above, &who()).await.expect_err("one byte above");
    assert_eq!(failure.code(), "input_too_large");

    let field = json_of(policy.max_field_bytes);
    let kept = setup.kept(payment().snapshot_data(&field).response_data(field + " ")).await;
    assert_eq!(kept.snapshot_data.len(), policy.max_field_bytes);
    assert_eq!(kept.response_data, kept.snapshot_data, "blanks around JSON don't count");
    let kept = setup.kept(payment().snapshot_data(json_of(policy.max_field_bytes + 1))).await;
    let marker = r#"{"_truncated":true,"original_size":65537,"preview":"\"xxx"#;
    assert!(kept.snapshot_data.as_str().starts_with(marker), "{}", kept.snapshot_data.as_str());

    let words = "w".repeat(policy.max_error_bytes);
    assert_eq!(setup.kept(payment().error_message(&words)).await.error_message, words);
    let kept = setup.kept(payment().error_message(words + "w")).await;
    assert!(kept.error_message.ends_with("w …[truncated, 4097 bytes]"), "{}", kept.error_message);
    assert!(kept.error_message.len() <= policy.max_error_bytes);

    let labels = (0..16).fold(payment(), |op, n| op.label(format!("l{n}"), "v"));
    assert_eq!(setup.kept(labels).await.labels.len(), 16);
    for budget in [1, 1_000] {
        assert_eq!(setup.kept(payment().max_retries(budget)).await.state.max_retries, budget);
    }
}

#[tokio::test]
async fn no_operation_is_lost_for_its_names() {
    let setup = Setup::new();
    let op = NewFailedOp::new("9 Lives!", "  Time\nOut ")
        .dependency("Payment Gateway")
        .origin_service("\u{1}")
        .user_id(" héllo\tworld ")
        .entity("", "x".repeat(300));
    let kept = setup.kept(op).await;
    assert_eq!(kept.domain.as_str(), "other_domain");
    assert_eq!(kept.failure_type.as_str(), "Time_Out");
    assert_eq!(kept.dependency.as_str(), "payment_gateway");
    assert_eq!(kept.origin_service.as_str(), "unknown");
    assert_eq!(kept.user_id.as_ref().map(AsRef::as_ref), Some("héllo_world"));
    assert_eq!(kept.entity_type, None);
    let entity = kept.entity_id.expect("cut, not dropped");
    assert!(entity.as_str().ends_with("…[truncated, 300 bytes]"), "{entity}");
    let notes = kept.metadata.as_str();
    assert!(notes.starts_with(r#"{"_baldur":{"original_domain":"9 Lives!","#), "{notes}");
    assert!(notes.contains(r#""original_dependency":"Payment Gateway""#), "{notes}");
}

#[tokio::test]
async fn a_bad_trace_context_is_dropped_and_noted() {
    let kept = Setup::new().kept(payment().traceparent("00-junk").metadata(r#"{"a":1}"#)).await;
    assert_eq!(kept.trace, None);
    assert_eq!(kept.metadata.as_str(), r#"{"a":1,"_baldur":{"original_traceparent":"00-junk"}}"#);
}

#[tokio::test]
async fn diagnostics_that_are_no_json_are_kept_as_a_string() {
    let kept = Setup::new().kept(payment().response_data("<b>502</b> password=hunter2")).await;
    assert_eq!(kept.response_data.as_str(), r#""<b>502</b> password=***REDACTED***""#);
    assert!(kept.metadata.as_str().contains("response_data"), "{}", kept.metadata.as_str());
}

#[tokio::test]
async fn diagnostics_that_nest_too_deeply_are_replaced() {
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let kept = Setup::new().kept(payment().snapshot_data(deep)).await;
    assert_eq!(kept.snapshot_data.as_str(), r#"{"_redaction_failed":true,"original_size":1000}"#);
}

#[tokio::test]
async fn the_value_of_a_secret_label_and_an_empty_one_are_not_kept() {
    let op = payment().label("password", "hunter2").label("tenant", " ").label("shop", "a\nb");
    let kept = Setup::new().kept(op).await;
    let labels: Vec<(&str, &str)> =
        kept.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(labels, [("password", "***REDACTED***"), ("shop", "a_b")]);
    assert!(kept.metadata.as_str().contains("1 dropped, 2 changed"));
}

#[tokio::test]
async fn a_key_that_looks_like_a_secret_still_groups_but_is_not_kept() {
    let setup = Setup::new();
    let pan = "4111111111111111";
    let first = setup.kept(payment().order_key(pan)).await;
    let second = setup.kept(payment().order_key(pan)).await;
    let key = first.order_key.expect("kept as a digest");
    assert!(key.as_str().starts_with("sha256:"), "{key}");
    assert_eq!(second.order_key, Some(key));
    assert!(first.metadata.as_str().contains(r#""order_key":"replaced by its SHA-256"#));
}

#[tokio::test]
async fn a_uuid_is_kept_as_a_key_even_if_its_digits_pass_for_a_card() {
    let uuid = "41111111-1111-1111-9999-123456123456";
    assert!(
        baldur_core::policy::redact::redact_text(uuid, &CapturePolicy::default().redaction) != uuid
    );
    let kept = Setup::new().kept(payment().idempotency_key(uuid).dedup_key(uuid)).await;
    assert_eq!(kept.idempotency_key.as_str(), uuid);
    assert_eq!(kept.dedup_key.as_ref().map(AsRef::as_ref), Some(uuid));
}

#[tokio::test]
async fn the_same_id_is_kept_once() {
    let setup = Setup::new();
    let id: EntryId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("valid");
    let answers =
        setup.capture.capture_batch(vec![payment().id(id), payment().id(id)], &who()).await;
    let answers: Vec<Captured> = answers.into_iter().map(|answer| answer.expect("kept")).collect();
    assert_eq!(answers[0].disposition, Disposition::New);
    assert_eq!(answers[1].disposition, Disposition::Repeated);
    let again = setup.capture.capture(payment().id(id), &who()).await.expect("kept before");
    assert_eq!((again.id, again.disposition), (id, Disposition::Repeated));
    assert_eq!(setup.everything().await.len(), 1);
}

#[tokio::test]
async fn captures_with_one_dedup_key_merge_while_the_first_is_live() {
    let setup = Setup::new();
    let op = payment().dedup_key("order-1");
    let first = setup.capture.capture(op.clone(), &who()).await.expect("kept");
    let second = setup.capture.capture(op.clone(), &who()).await.expect("merged");
    assert_eq!((second.id, second.occurrence), (first.id, 2));
    assert_eq!(second.disposition, Disposition::Merged);
    setup.entries.resolve(&[first.id], "paid by hand", &who()).await;
    let third = setup.capture.capture(op, &who()).await.expect("kept");
    assert_eq!(third.disposition, Disposition::New);
}

#[tokio::test]
async fn one_bad_operation_of_a_batch_fails_alone_and_in_its_place() {
    let counting = Arc::new(Counting::default());
    let setup = Setup::new();
    let inner = Counting { inner: Some(setup.store.clone()), calls: Arc::clone(&counting.calls) };
    let capture = CaptureService::new(Arc::new(inner), setup.env.clone(), CapturePolicy::default());
    let ops = vec![
        payment().entity("order", "1"),
        payment().max_retries(0),
        payment().entity("order", "3"),
    ];
    let answers = capture.capture_batch(ops, &who()).await;
    assert_eq!(answers[1].as_ref().expect_err("refused").code(), "max_retries_out_of_range");
    for (place, entity) in [(0, "1"), (2, "3")] {
        let id = answers[place].as_ref().expect("kept").id;
        let kept = setup.entry(id).await;
        assert_eq!(kept.entity_id.as_ref().map(AsRef::as_ref), Some(entity));
    }
    assert_eq!(counting.calls.load(Ordering::SeqCst), 1, "one step of the store");
    assert!(capture.capture_batch(Vec::new(), &who()).await.is_empty());
    assert_eq!(counting.calls.load(Ordering::SeqCst), 1, "nothing to ask");
}

#[tokio::test]
async fn captures_of_one_order_key_keep_their_order_within_one_instant() {
    let setup = Setup::new();
    let ops = (0..20).map(|n| payment().order_key("o").entity("n", n.to_string())).collect();
    setup.capture.capture_batch(ops, &who()).await;
    let mut kept: Vec<_> = setup.everything().await.into_iter().map(|(op, _)| op).collect();
    kept.sort_by_key(baldur_core::FailedOp::position);
    let order: Vec<String> =
        kept.iter().map(|op| op.entity_id.as_ref().expect("given").to_string()).collect();
    assert_eq!(order, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_answer_that_a_store_owes_is_a_failure_of_unknown_outcome() {
    let setup = Setup::new();
    let capture = CaptureService::new(
        Arc::new(Counting::default()),
        setup.env.clone(),
        CapturePolicy::default(),
    );
    let failure = capture.capture(payment(), &who()).await.expect_err("no answer");
    assert_eq!((failure.code(), failure.outcome()), ("other", Outcome::Unknown));
}

#[tokio::test]
async fn trouble_of_the_store_is_an_error_with_its_kind() {
    let setup = Setup::new();
    setup.store.close().await;
    let failure = setup.capture.capture(payment(), &who()).await.expect_err("closed");
    assert!(matches!(failure, CaptureFailure::Store(CaptureError::Backend(_))), "{failure:?}");
    assert_eq!(failure.code(), "closed");
}

#[tokio::test]
async fn the_words_of_the_evidence_are_redacted_too() {
    let setup = Setup::new();
    let reason = Reason::parse("retry with token=abc123def").expect("valid");
    let who = Who { reason: Some(reason), ..who() };
    let captured = setup.capture.capture(payment(), &who).await.expect("kept");
    let trail = setup.store.trail(captured.id, 0, 10).await.expect("readable");
    let evidence = &trail[0].evidence;
    assert_eq!(evidence.actor.as_str(), "ann");
    assert_eq!(
        evidence.reason.as_ref().map(AsRef::as_ref),
        Some("retry with token=***REDACTED***")
    );
}

#[tokio::test]
async fn an_operation_expires_as_it_says_or_as_the_policy_does() {
    let day = Duration::from_hours(24);
    let setup = Setup::with(CapturePolicy { expires_in: Some(day), ..CapturePolicy::default() });
    let now = setup.env.clock.now();
    assert_eq!(setup.kept(payment()).await.state.expires_at, Some(now.saturating_add(day)));
    let op = NewFailedOp { expires_in: Some(2 * day), ..payment() };
    assert_eq!(setup.kept(op).await.state.expires_at, Some(now.saturating_add(2 * day)));
}

/// Counts calls; without a store behind it, it owes every answer.
#[derive(Debug, Default)]
struct Counting {
    inner: Option<MemoryStore>,
    calls: Arc<AtomicUsize>,
}

#[async_trait]
impl CaptureStore for Counting {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match &self.inner {
            Some(store) => store.capture_batch(captures).await,
            None => Vec::new(),
        }
    }
}
