//! Keeping operations.

use std::{collections::BTreeSet, time::Duration};

use baldur_core::{
    Clock, Fingerprint, Json, NotReplayable, RecommendedAction, Status, TraceContext,
    command::Capture,
    port::{Captured, Disposition, Durability},
    wire,
};

use crate::{
    build::{Captures, parsed},
    case::{CaseResult, cases, ensure, ensure_eq, ensure_matches},
    drive::{resolve, succeeded},
    harness::Lab,
};

cases!(
    "capture",
    None,
    [
        a_kept_operation_is_found,
        the_answer_names_a_durable_level,
        every_field_round_trips_to_the_letter,
        the_longest_texts_and_sixteen_labels_round_trip,
        json_is_kept_to_the_letter,
        microseconds_round_trip,
        the_store_sets_its_own_times,
        an_operation_without_expiry_has_none,
        an_unreplayable_operation_waits_for_a_person,
        the_same_id_twice_is_one_entry,
        the_same_id_twice_in_one_batch_is_one_entry,
        a_repeated_capture_does_not_resurrect,
        an_empty_batch_gets_an_empty_answer,
        answers_come_in_the_order_asked,
        a_thousand_operations_fit_one_batch,
        a_mebibyte_request_is_kept_whole,
        ids_are_opaque,
    ]
);

/// Reference 1.
async fn a_kept_operation_is_found(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let capture = captures.an_op().build();
    let Captured { id, occurrence, disposition, .. } = store.keep(capture.clone()).await?;
    ensure_eq!((id, occurrence, disposition), (capture.op.id, 1, Disposition::New));
    let op = store.op(id).await?;
    ensure_eq!((op.state.status, op.state.retry_count), (Status::Pending, 0));
    ensure_eq!(op.created_at, capture.op.created_at);
    ensure_eq!(op.state.updated_at, store.clock.now());
    Ok(())
}

async fn the_answer_names_a_durable_level(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let answer = store.keep(captures.an_op().build()).await?;
    ensure_matches!(answer.durability, Durability::Stored { level } if !level.is_empty());
    Ok(())
}

/// A capture all of whose fields are set, and none to its default.
pub(crate) fn full(captures: &Captures) -> Capture {
    captures
        .an_op()
        .domain("payment.card_3ds")
        .failure_type("connection refused")
        .dependency("Payment Gateway (EU)")
        .origin_service("checkout/blue")
        .idempotency_key("order-4711/charge#1")
        .dedup_key("charge order 4711")
        .order_key("order 4711")
        .entity_type("order")
        .entity_id("4711")
        .user_id("u-0")
        .label("tenant", "acme")
        .label("region", "eu-central-1")
        .request_data(r#"{ "amount": 12345678901234567890, "b": 1e-400, "a": 1, "a": 2 }"#)
        .max_retries(7)
        .expires_in(Duration::from_micros(3_600_000_001))
        .next_attempt_in(Duration::from_micros(1_000_001))
        .with(|capture| {
            let op = &mut capture.op;
            op.entity_refs = Json::from_trusted(r#"["customer/1", null]"#);
            op.payload_version = 3;
            op.snapshot_data = Json::from_trusted(r#"{"stock": -0.0}"#);
            op.response_data = Json::from_trusted(r#""gateway said\u0000nothing""#);
            op.metadata = Json::from_trusted("null");
            op.error_code = String::from("E_504");
            op.error_message = String::from("first line\r\n\tsecond line \u{1f525}");
            op.next_action_hint = String::from("call the gateway's hotline");
            op.fingerprint = Fingerprint { version: 2, text: parsed("v2:00ff") };
            op.trace = TraceContext::parse(
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                Some("vendor=a:b"),
            )
            .ok();
            capture.evidence.reason = Some(parsed("the gateway is down"));
            capture.evidence.trace = op.trace.clone();
        })
        .build()
}

/// Reference 8, 10 and 69.
async fn every_field_round_trips_to_the_letter(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let capture = full(&captures);
    let id = store.keep_new(capture.clone()).await?;
    let mut expected = capture.op;
    let now = store.clock.now();
    expected.state.next_attempt_at = now.saturating_add(Duration::from_micros(1_000_001));
    expected.state.expires_at = Some(now.saturating_add(Duration::from_micros(3_600_000_001)));
    expected.state.updated_at = now;
    expected.state.evidence_count = 1;
    let kept = store.op(id).await?;
    ensure_eq!(wire::encode_entry(&kept), wire::encode_entry(&expected));
    ensure_eq!(kept, expected);
    Ok(())
}

async fn the_longest_texts_and_sixteen_labels_round_trip(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    // Two bytes a character: a store that counts characters where the rule counts bytes shows here.
    let long = |bytes: usize| "é".repeat(bytes / 2);
    let mut op = captures
        .an_op()
        .domain(&"d".repeat(64))
        .failure_type(&long(128))
        .dependency(&long(128))
        .origin_service(&long(128))
        .entity_type(&long(256))
        .entity_id(&long(256))
        .user_id(&long(256))
        .fingerprint(&long(256))
        .idempotency_key(&"k".repeat(255))
        .dedup_key(&long(256))
        .order_key(&long(256))
        .max_retries(1_000);
    for n in 10..26 {
        op = op.label(&format!("l{n}{}", "x".repeat(61)), &long(128));
    }
    let capture = op.with(|capture| capture.op.error_message = long(200_000)).build();
    let id = store.keep_new(capture.clone()).await?;
    let mut kept = store.op(id).await?;
    ensure_eq!(kept.labels.len(), 16);
    kept.state = capture.op.state.clone();
    ensure_eq!(kept, capture.op);
    Ok(())
}

async fn json_is_kept_to_the_letter(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let texts = [
        "null",
        "0",
        "-0",
        r#""""#,
        "[ ]",
        "{}",
        "{ }",
        r#"{"z":1,"a":2,"z":3}"#,
        "9007199254740993",
        "123456789012345678901234567890.12345678901234567890",
        "1E400",
        r#""\u0000\ud83d\ude00\/""#,
        "[1,\n\t2 ,3]",
        r#"{"":{"__proto__":[[[[[]]]]]}}"#,
        "\"\u{1f525} ÿ \u{202e}\"",
    ];
    for text in texts {
        let id = store.keep_new(captures.an_op().request_data(text).build()).await?;
        ensure_eq!(store.op(id).await?.request_data.as_str(), text);
    }
    Ok(())
}

async fn microseconds_round_trip(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for micros in [0, 1, 999_999, 1_764_000_000_000_001, 1_764_000_000_999_999, -1] {
        let at = baldur_core::Timestamp::from_micros(micros)?;
        let id = store.keep_new(captures.an_op().created_at(at).build()).await?;
        let op = store.op(id).await?;
        ensure_eq!((op.created_at, op.state.last_occurred_at), (at, at));
    }
    Ok(())
}

async fn the_store_sets_its_own_times(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    // Captured on a machine whose clock is an hour behind the store's.
    let capture = captures
        .an_op()
        .next_attempt_in(Duration::from_secs(5))
        .expires_in(Duration::from_mins(1))
        .build();
    store.clock.advance(Duration::from_hours(1));
    let id = store.keep_new(capture.clone()).await?;
    let op = store.op(id).await?;
    let now = store.clock.now();
    ensure_eq!(op.created_at, capture.op.created_at);
    ensure_eq!(op.state.updated_at, now);
    ensure_eq!(op.state.next_attempt_at, now.saturating_add(Duration::from_secs(5)));
    ensure_eq!(op.state.expires_at, Some(now.saturating_add(Duration::from_mins(1))));
    ensure_eq!(op.state.evidence_count, 1);
    Ok(())
}

/// Reference 69.
async fn an_operation_without_expiry_has_none(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let now = store.clock.now();
    let capture = captures.an_op().with(|capture| capture.op.state.expires_at = Some(now)).build();
    let id = store.keep_new(capture).await?;
    ensure_eq!(store.op(id).await?.state.expires_at, None);
    Ok(())
}

async fn an_unreplayable_operation_waits_for_a_person(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for why in [NotReplayable::RequestTooLarge, NotReplayable::RequestNotRedactable] {
        let id = store.keep_new(captures.an_op().not_replayable(why).build()).await?;
        let state = store.op(id).await?.state;
        ensure_eq!((state.status, state.not_replayable), (Status::RequiresReview, Some(why)));
        ensure_eq!(state.recommended_action, Some(RecommendedAction::ManualCheck));
    }
    ensure!(store.due_ids(10).await?.is_empty(), "an entry that can't be replayed was claimed");
    Ok(())
}

async fn the_same_id_twice_is_one_entry(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let capture = captures.an_op().build();
    let id = store.keep_new(capture.clone()).await?;
    let before = store.op(id).await?;
    store.clock.advance(Duration::from_secs(1));
    let mut other = captures.an_op().id(id).domain("other").build();
    other.op.created_at = store.clock.now();
    for again in [capture, other] {
        let Captured { id: answered, occurrence, disposition, .. } = store.keep(again).await?;
        ensure_eq!((answered, occurrence, disposition), (id, 1, Disposition::Repeated));
    }
    ensure_eq!(store.op(id).await?, before);
    ensure_eq!(store.trail(id).await?.len(), 1);
    Ok(())
}

async fn the_same_id_twice_in_one_batch_is_one_entry(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let capture = captures.an_op().build();
    let other = captures.an_op().build();
    let batch = vec![capture.clone(), other.clone(), capture.clone(), capture.clone()];
    let answers = store.keep_all(batch).await?;
    let answers: Vec<_> = answers.iter().map(|a| (a.id, a.occurrence, a.disposition)).collect();
    let (first, second) = (capture.op.id, other.op.id);
    ensure_eq!(
        answers,
        [
            (first, 1, Disposition::New),
            (second, 1, Disposition::New),
            (first, 1, Disposition::Repeated),
            (first, 1, Disposition::Repeated),
        ]
    );
    ensure_eq!(store.trail(first).await?.len(), 1);
    Ok(())
}

async fn a_repeated_capture_does_not_resurrect(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    for by_hand in [true, false] {
        let capture = captures.an_op().dedup_key("one").build();
        let id = store.keep_new(capture.clone()).await?;
        if by_hand {
            store.act(id, resolve()).await?;
        } else {
            store.replay(id, succeeded()).await?;
        }
        let before = store.op(id).await?;
        let answer = store.keep(capture).await?;
        ensure_eq!((answer.id, answer.disposition), (id, Disposition::Repeated));
        ensure_eq!(store.op(id).await?, before);
    }
    ensure!(store.due_ids(10).await?.is_empty(), "a resolved entry came back");
    Ok(())
}

/// Reference 53: nothing asked, nothing done.
async fn an_empty_batch_gets_an_empty_answer(lab: &Lab) -> CaseResult {
    let (store, _) = lab.store().await;
    let lease = Duration::from_secs(1);
    let extend = baldur_core::command::Extend { claims: Vec::new(), lease };
    ensure!(store.capture.capture_batch(Vec::new()).await.is_empty(), "capture");
    ensure!(store.reader.find(Vec::new()).await?.is_empty(), "find");
    ensure!(store.claims.extend(extend).await.is_empty(), "extend");
    ensure!(store.claims.settle_batch(Vec::new()).await.is_empty(), "settle");
    ensure!(store.claims.apply(Vec::new()).await.is_empty(), "apply");
    ensure!(store.admin.import_batch(Vec::new()).await.is_empty(), "import");
    Ok(())
}

async fn answers_come_in_the_order_asked(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut batch = captures.ops(40);
    batch.reverse();
    let asked: Vec<_> = batch.iter().map(|capture| capture.op.id).collect();
    let answered: Vec<_> = store.keep_all(batch).await?.iter().map(|a| a.id).collect();
    ensure_eq!(answered, asked);
    Ok(())
}

async fn a_thousand_operations_fit_one_batch(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let batch = captures.ops(1_000);
    let ids: Vec<_> = batch.iter().map(|capture| capture.op.id).collect();
    store.keep_all(batch).await?;
    let found = store.reader.find(ids.clone()).await?;
    let found: Vec<_> = found.into_iter().flatten().map(|op| op.id).collect();
    ensure_eq!(found, ids);
    Ok(())
}

async fn a_mebibyte_request_is_kept_whole(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let text = format!(r#"{{"data":"{}"}}"#, "0123456789abcdef".repeat(65_536));
    let id = store.keep_new(captures.an_op().request_data(&text).build()).await?;
    ensure!(store.op(id).await?.request_data.as_str() == text, "the request changed");
    Ok(())
}

/// Reference 2 to 5: no shape of id means anything to a store, and none is read as a number.
async fn ids_are_opaque(lab: &Lab) -> CaseResult {
    let (store, captures) = lab.store().await;
    let mut seen = BTreeSet::new();
    for id in [[0; 16], [0xff; 16], *b"0000000000000042", *b"%_*[]{}:'\"\\\0\n\xc3\x28;"] {
        let id = baldur_core::EntryId::from_bytes(id);
        store.keep_new(captures.an_op().id(id).build()).await?;
        ensure_eq!(store.op(id).await?.id, id);
        seen.insert(id);
    }
    let listed: BTreeSet<_> =
        store.walk_ids(&baldur_core::Filter::default()).await?.into_iter().collect();
    ensure_eq!(listed, seen);
    ensure_eq!(store.due_ids(10).await?, seen.into_iter().collect::<Vec<_>>());
    Ok(())
}
