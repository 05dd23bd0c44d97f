//! Stored forms are read for ever. Fixtures are never edited; a changed form gets a new version and a new fixture.

use std::time::Duration;

use baldur_core::{
    Attempt, AttemptOutcome, Attempts, Cause, ClaimToken, Digest, EntryId, Evidence, EvidenceEvent,
    EvidenceRecord, FailedOp, Fingerprint, Hold, Json, OpState, RecommendedAction, ResolutionType,
    Status, Timestamp, TraceContext,
    command::{Capture, OnMerge},
    name::{
        Actor, DedupKey, Domain, FailureType, IdempotencyKey, LabelName, LabelValue, Namespace,
        OrderKey, Reason, ServiceName, ShortText, WorkerName,
    },
    wire::{
        WireError, decode_entry, decode_evidence, decode_spooled, encode_entry, encode_evidence,
        encode_spooled,
    },
};

const ENTRY_V1: &str = include_str!("wire/entry/v1.json");
const EVIDENCE_V1: &str = include_str!("wire/evidence/v1.json");
const SPOOLED_V1: &str = include_str!("wire/spooled/v1.json");

fn at(seconds: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(Duration::new(1_764_000_000 + seconds, 123_456_000))
}

fn trace() -> TraceContext {
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    TraceContext::parse(parent, Some("vendor=1")).expect("valid")
}

fn json(text: &str) -> Json {
    Json::parse(text).expect("valid")
}

fn short(text: &str) -> ShortText {
    ShortText::parse(text).expect("short")
}

/// An entry with every field set.
fn full_entry() -> FailedOp {
    let mut attempts = Attempts::default();
    attempts.push(Attempt {
        number: 0,
        claim_token: ClaimToken(1),
        holder: WorkerName::parse("host-1/4711").expect("a name"),
        started_at: at(5),
        finished_at: at(6),
        outcome: AttemptOutcome::Failed,
        note: "503 Service Unavailable".to_owned(),
    });
    let state = OpState {
        status: Status::Replaying,
        retry_count: 1,
        max_retries: 3,
        last_retry_at: Some(at(10)),
        next_attempt_at: at(9),
        claim_token: ClaimToken(2),
        hold: Some(Hold {
            holder: WorkerName::parse("host-2/1").expect("a name"),
            claimed_at: at(10),
            expires_at: at(40),
        }),
        attempts,
        force_redrive_count: 1,
        previous_total_retries: 4,
        resolved_at: Some(at(11)),
        resolved_by_id: Some(Actor::parse("alice").expect("an actor")),
        resolution_type: Some(ResolutionType::ManualReplay),
        resolution_note: "Grüße \"quoted\"\n".to_owned(),
        recommended_action: Some(RecommendedAction::Replay),
        not_replayable: None,
        occurrences: 3,
        last_occurred_at: at(4),
        evidence_count: 5,
        updated_at: at(10),
        expires_at: Some(at(1_000)),
    };
    FailedOp {
        id: EntryId::from_bytes(
            *b"\x01\x9a\x00\x01\x02\x03\x70\x04\x85\x06\x07\x08\x09\x0a\x0b\x0c",
        ),
        namespace: Namespace::parse("shop").expect("a namespace"),
        domain: Domain::parse("payment.card").expect("a domain"),
        failure_type: FailureType::parse("TIMEOUT").expect("a type"),
        dependency: ServiceName::parse("payment-gateway").expect("a name"),
        origin_service: ServiceName::parse("checkout").expect("a name"),
        entity_type: Some(short("order")),
        entity_id: Some(short("4711")),
        entity_refs: json(r#"{"cart":"9"}"#),
        user_id: Some(short("u-1")),
        request_data: json(r#"{"b": 1, "a":12345678901234567890123.450, "a":null}"#),
        payload_version: 1,
        snapshot_data: json(r#"{"stock":0}"#),
        response_data: json(r#"{"status":503}"#),
        metadata: json(r#"["free"]"#),
        error_code: "E503".to_owned(),
        error_message: "gateway said no".to_owned(),
        next_action_hint: "call the gateway's hotline".to_owned(),
        idempotency_key: IdempotencyKey::parse("order-4711").expect("a key"),
        dedup_key: Some(DedupKey::parse("d-4711").expect("a key")),
        order_key: Some(OrderKey::parse("o-4711").expect("a key")),
        labels: [(
            LabelName::parse("tenant").expect("a label"),
            LabelValue::parse("blue").expect("a value"),
        )]
        .into(),
        fingerprint: Fingerprint { version: 1, text: short("v1:00112233445566778899aabbccddeeff") },
        trace: Some(trace()),
        created_at: at(0),
        state,
    }
}

fn full_evidence() -> EvidenceRecord {
    EvidenceRecord {
        entry: full_entry().id,
        counter: 5,
        event: EvidenceEvent::Moved(Cause::Claim),
        from: Some(Status::Pending),
        to: Some(Status::Replaying),
        claim_token: ClaimToken(2),
        evidence: Evidence {
            actor: Actor::parse("alice").expect("an actor"),
            at: at(10),
            reason: Some(Reason::parse("the gateway is back").expect("a reason")),
            trace: Some(trace()),
        },
        digest: Some(Digest::of(b"abc")),
    }
}

#[test]
fn version_1_of_an_entry_reads_and_writes_to_the_letter() {
    let fixture = ENTRY_V1.trim_end();
    assert_eq!(encode_entry(&full_entry()), fixture);
    assert_eq!(decode_entry(fixture).expect("reads"), full_entry());
}

#[test]
fn version_1_of_evidence_reads_and_writes_to_the_letter() {
    let fixture = EVIDENCE_V1.trim_end();
    assert_eq!(encode_evidence(&full_evidence()), fixture);
    assert_eq!(full_evidence().canonical(), fixture);
    assert_eq!(decode_evidence(fixture).expect("reads"), full_evidence());
}

fn full_capture() -> Capture {
    Capture {
        expires_in: Some(Duration::from_hours(1)),
        next_attempt_in: Duration::from_micros(1_500_001),
        on_merge: OnMerge::KeepLast,
        ..Capture::new(full_entry(), full_evidence().evidence)
    }
}

#[test]
fn version_1_of_a_spooled_capture_reads_and_writes_to_the_letter() {
    let fixture = SPOOLED_V1.trim_end();
    assert_eq!(encode_spooled(&full_capture(), at(30)), fixture);
    assert_eq!(decode_spooled(fixture).expect("reads"), (full_capture(), at(30)));
}

#[test]
fn unknown_versions_are_refused_and_named() {
    let newer = ENTRY_V1.replacen("\"v\":1", "\"v\":2", 1);
    let error = decode_entry(&newer).expect_err("too new");
    assert!(matches!(error, WireError::UnknownVersion { version: 2, newest: 1, .. }), "{error}");
}

#[test]
fn unknown_missing_and_bad_fields_are_refused_without_repeating_values() {
    let cases = [
        ENTRY_V1.replacen("\"v\":1", "\"v\":1,\"surprise\":\"s3cret\"", 1),
        ENTRY_V1.replacen("\"domain\":\"payment.card\",", "", 1),
        ENTRY_V1.replacen("\"replaying\"", "\"s3cret\"", 1),
        ENTRY_V1.replacen("\"retry_count\":1", "\"retry_count\":-1", 1),
        ENTRY_V1.replacen("\"payment.card\"", "\"Not A Domain s3cret\"", 1),
        "s3cret".to_owned(),
        String::new(),
    ];
    for text in cases {
        let error = decode_entry(&text).expect_err("refused").to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
}
