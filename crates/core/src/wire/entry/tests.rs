//! What is written field by field is what the form says: `serde` reads it, and writes the same bytes.

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    command::{Capture, OnMerge},
    evidence::{Digest, Evidence, EvidenceEvent, EvidenceRecord},
    failed_op::{
        Attempt, AttemptOutcome, Attempts, FailedOp, Fingerprint, Hold, Labels, NotReplayable,
        OpState, RecommendedAction, ResolutionType, Status, TraceContext,
    },
    id::{ClaimToken, EntryId},
    json::Json,
    name::{
        Actor, DedupKey, Domain, FailureType, IdempotencyKey, LabelName, LabelValue, NameError,
        Namespace, OrderKey, Reason, ServiceName, ShortText, WorkerName,
    },
    time::Timestamp,
    wire,
};

/// Writes what it reads, by the fields of the form.
fn by_form<T: DeserializeOwned + Serialize>(text: &str) -> String {
    let form: T = serde_json::from_str(text).expect("the form reads what is written");
    serde_json::to_string(&form).expect("serialises")
}

/// Printable texts with quotes, backslashes and characters of several bytes.
fn name<T: std::fmt::Debug>(parse: fn(&str) -> Result<T, NameError>) -> impl Strategy<Value = T> {
    let text = "[a-z\"\\\\/é漢<]{1}[a-z \"\\\\/é漢<]{0,30}[a-z\"\\\\/é漢<]{1}";
    text.prop_map(move |text| parse(&text).expect("printable"))
}

fn word<T: std::fmt::Debug>(parse: fn(&str) -> Result<T, NameError>) -> impl Strategy<Value = T> {
    "[a-z][a-z0-9_]{0,20}".prop_map(move |text| parse(&text).expect("a word"))
}

fn free() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "(?s:.{0,80})", "[\\x00-\\x7f]{0,80}"]
}

fn json() -> impl Strategy<Value = Json> {
    let text = free().prop_map(|text| Json::string(&text));
    let spaced = "[0-9]{1,9}".prop_map(|n| Json::from_trusted(&format!(" {{\"b\": 1{n} }} ")));
    prop_oneof![
        Just(Json::empty_object()),
        text,
        spaced,
        free().prop_map(|t| Json::from_trusted(&t))
    ]
}

fn at() -> impl Strategy<Value = Timestamp> {
    let (first, last) = (jiff::Timestamp::MIN, jiff::Timestamp::MAX);
    let now = 1_764_000_000_000_000..1_765_000_000_000_000_i64;
    let micros = prop_oneof![4 => now, 1 => first.as_microsecond()..last.as_second() * 1_000_000];
    micros.prop_map(|micros| Timestamp::from_micros(micros).expect("in range"))
}

fn trace() -> impl Strategy<Value = Option<TraceContext>> {
    let parent = "00-[1-9a-f]{32}-[1-9a-f]{16}-0[01]";
    let trace = (parent, option::of("[ -~]{1,40}"));
    option::of(trace.prop_map(|(parent, state)| {
        TraceContext::parse(&parent, state.as_deref()).expect("a trace")
    }))
}

fn one_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    select(all)
}

fn attempts() -> impl Strategy<Value = Attempts> {
    let attempt = (any::<u64>(), any::<u64>(), name(WorkerName::parse), at(), at(), free());
    let attempt = (attempt, one_of(&AttemptOutcome::ALL)).prop_map(
        |((number, token, holder, started_at, finished_at, note), outcome)| {
            let claim_token = ClaimToken(token);
            Attempt { number, claim_token, holder, started_at, finished_at, outcome, note }
        },
    );
    (vec(attempt, 0..12), any::<u64>()).prop_map(|(kept, total)| Attempts::from_parts(kept, total))
}

fn hold() -> impl Strategy<Value = Hold> {
    (name(WorkerName::parse), at(), at()).prop_map(|(holder, claimed_at, expires_at)| Hold {
        holder,
        claimed_at,
        expires_at,
    })
}

fn state() -> impl Strategy<Value = OpState> {
    let numbers = any::<[u32; 3]>();
    let long = any::<[u64; 4]>();
    let times = [at(), at(), at()];
    let maybe_times = [option::of(at()), option::of(at()), option::of(at())];
    let words = (
        one_of(&Status::ALL),
        option::of(one_of(&ResolutionType::ALL)),
        option::of(one_of(&RecommendedAction::ALL)),
        option::of(one_of(&NotReplayable::ALL)),
    );
    let rest = (option::of(hold()), attempts(), option::of(name(Actor::parse)), free());
    (numbers, long, times, maybe_times, words, rest).prop_map(
        |(numbers, long, times, maybe_times, words, rest)| OpState {
            status: words.0,
            retry_count: numbers[0],
            max_retries: numbers[1],
            last_retry_at: maybe_times[0],
            next_attempt_at: times[0],
            claim_token: ClaimToken(long[0]),
            hold: rest.0,
            attempts: rest.1,
            force_redrive_count: numbers[2],
            previous_total_retries: long[1],
            resolved_at: maybe_times[1],
            resolved_by_id: rest.2,
            resolution_type: words.1,
            resolution_note: rest.3,
            recommended_action: words.2,
            not_replayable: words.3,
            occurrences: long[2],
            last_occurred_at: times[1],
            evidence_count: long[3],
            updated_at: times[2],
            expires_at: maybe_times[2],
        },
    )
}

fn op() -> impl Strategy<Value = FailedOp> {
    let short = || option::of(name(ShortText::parse));
    let who = (
        (any::<[u8; 16]>(), word(Namespace::parse), word(Domain::parse), name(FailureType::parse)),
        (name(ServiceName::parse), name(ServiceName::parse), [short(), short(), short()]),
        (any::<u32>(), any::<u16>(), name(ShortText::parse)),
    );
    let payloads = ([json(), json(), json(), json(), json()], [free(), free(), free()]);
    let label = (word(LabelName::parse), name(LabelValue::parse));
    let labels = vec(label, 0..4).prop_map(|labels| labels.into_iter().collect::<Labels>());
    let keys = (
        word(IdempotencyKey::parse),
        option::of(name(DedupKey::parse)),
        option::of(name(OrderKey::parse)),
    );
    (who, payloads, (labels, keys, trace(), at(), state())).prop_map(|(who, payloads, rest)| {
        let (ids, services, numbers) = who;
        let ([entity_refs, request_data, snapshot_data, response_data, metadata], texts) = payloads;
        let ([entity_type, entity_id, user_id], [error_code, error_message, next_action_hint]) =
            (services.2, texts);
        let (labels, keys, trace, created_at, state) = rest;
        FailedOp {
            id: EntryId::from_bytes(ids.0),
            namespace: ids.1,
            domain: ids.2,
            failure_type: ids.3,
            dependency: services.0,
            origin_service: services.1,
            entity_type,
            entity_id,
            entity_refs,
            user_id,
            request_data,
            payload_version: numbers.0,
            snapshot_data,
            response_data,
            metadata,
            error_code,
            error_message,
            next_action_hint,
            idempotency_key: keys.0,
            dedup_key: keys.1,
            order_key: keys.2,
            labels,
            fingerprint: Fingerprint { version: numbers.1, text: numbers.2 },
            trace,
            created_at,
            state,
        }
    })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    (name(Actor::parse), at(), option::of(name(Reason::parse)), trace())
        .prop_map(|(actor, at, reason, trace)| Evidence { actor, at, reason, trace })
}

proptest! {
    #[test]
    fn an_entry_is_written_as_its_form(op in op()) {
        let text = wire::encode_entry(&op);
        prop_assert_eq!(&by_form::<super::EntryV1>(&text), &text);
        // What was wrongly trusted as JSON comes back as text; the rest is the same, and stays so.
        let read = wire::decode_entry(&text).expect("reads");
        prop_assert_eq!(wire::encode_entry(&read), text);
        let payloads = |from: &FailedOp| FailedOp {
            entity_refs: Json::default(),
            request_data: Json::default(),
            snapshot_data: Json::default(),
            response_data: Json::default(),
            metadata: Json::default(),
            ..from.clone()
        };
        prop_assert_eq!(payloads(&read), payloads(&op));
        for (read, written) in [
            (&read.entity_refs, &op.entity_refs),
            (&read.request_data, &op.request_data),
            (&read.snapshot_data, &op.snapshot_data),
            (&read.response_data, &op.response_data),
            (&read.metadata, &op.metadata),
        ] {
            prop_assert_eq!(read.as_str(), serde_json::to_string(written).expect("serialises"));
        }
    }

    #[test]
    fn parts_of_an_entry_are_written_as_their_forms(op in op()) {
        let attempts = wire::encode_attempts(&op.state.attempts);
        prop_assert_eq!(by_form::<super::AttemptsV1>(&attempts), attempts.clone());
        prop_assert_eq!(wire::decode_attempts(&attempts).expect("reads"), op.state.attempts);
        let labels = wire::encode_labels(&op.labels);
        prop_assert_eq!(wire::decode_labels(&labels).expect("reads"), op.labels);
    }

    #[test]
    fn a_spooled_capture_is_written_as_its_form(
        op in op(),
        evidence in evidence(),
        (spooled_at, expires_in, next) in (at(), option::of(any::<u64>()), any::<u64>()),
        keep_last in any::<bool>(),
    ) {
        let capture = Capture {
            expires_in: expires_in.map(Duration::from_micros),
            next_attempt_in: Duration::from_micros(next),
            on_merge: if keep_last { OnMerge::KeepLast } else { OnMerge::KeepFirst },
            ..Capture::new(op, evidence)
        };
        let text = wire::encode_spooled(&capture, spooled_at);
        prop_assert_eq!(&by_form::<crate::wire::capture::SpooledV1>(&text), &text);
        let (read, at) = wire::decode_spooled(&text).expect("reads");
        prop_assert_eq!(at, spooled_at);
        prop_assert_eq!(&read.evidence, &capture.evidence);
        prop_assert_eq!(wire::encode_spooled(&read, at), text);
    }

    #[test]
    fn evidence_is_written_as_its_form(
        (id, counter, token) in (any::<[u8; 16]>(), any::<u64>(), any::<u64>()),
        event in one_of(&[EvidenceEvent::Captured, EvidenceEvent::Merged, EvidenceEvent::Evicted]),
        (from, to) in (option::of(one_of(&Status::ALL)), option::of(one_of(&Status::ALL))),
        evidence in evidence(),
        digest in option::of(any::<[u8; 4]>()),
    ) {
        let digest = digest.map(|bytes| Digest::of(&bytes));
        let (entry, claim_token) = (EntryId::from_bytes(id), ClaimToken(token));
        let record =
            EvidenceRecord { entry, counter, event, from, to, claim_token, evidence, digest };
        let text = wire::encode_evidence(&record);
        prop_assert_eq!(&by_form::<crate::wire::evidence::EvidenceV1>(&text), &text);
        prop_assert_eq!(wire::decode_evidence(&text).expect("reads"), record);
    }
}
