//! What holds for whatever a host sends.

use baldur_app::{Oversize, Refusal, Who};
use baldur_core::{
    FailedOp, Json, NewFailedOp, TraceContext,
    name::{Actor, Reason},
    wire,
};
use proptest::{collection::vec, option, prelude::*, sample::select};

use crate::capture_setup::{Setup, who};

const JWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Secrets, and for each a text that gives it away wherever it stands.
const SECRETS: [(&str, &str); 7] = [
    ("hunter2-zebra", "password=hunter2-zebra"),
    ("correct-horse", "db_password: \"correct-horse\""),
    ("4111111111111111", "4111111111111111"),
    ("5500 0000 0000 0004", "card 5500 0000 0000 0004 declined"),
    ("abcDEF123456789token", "Authorization: Bearer abcDEF123456789token"),
    ("s3cr3t-in-url", "postgres://app:s3cr3t-in-url@db/shop"),
    (JWT, JWT),
];

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

/// The text somewhere within JSON: in arrays, under keys, in JSON inside strings.
fn nested(text: &str) -> impl Strategy<Value = String> + use<> {
    let leaf = Json::string(text).as_str().to_owned();
    vec(0_u8..4, 0..5).prop_map(move |shells| {
        shells.iter().fold(leaf.clone(), |inner, shell| match shell {
            0 => format!("[1,{inner},null]"),
            1 => format!(r#"{{"note":{inner},"n":1}}"#),
            2 => format!("[[{inner}]]"),
            _ => Json::string(&format!(r#"{{"inner":{inner}}}"#)).as_str().to_owned(),
        })
    })
}

/// A secret under a secret key, at any depth.
fn keyed(secret: &'static str) -> impl Strategy<Value = String> {
    let key = select(vec!["password", "apiKey", "client_secret", "card_number", "accessToken"]);
    (key, 0_usize..5, any::<bool>()).prop_map(move |(key, depth, in_array)| {
        let value = if in_array { format!("[\"{secret}\"]") } else { format!("\"{secret}\"") };
        let leaf = format!(r#"{{"{key}":{value}}}"#);
        (0..depth).fold(leaf, |inner, _| format!(r#"{{"items":[{inner}]}}"#))
    })
}

/// An operation with one secret in every field that takes text, and a person who says it, too.
fn leaky() -> impl Strategy<Value = (&'static str, NewFailedOp, Who)> {
    select(SECRETS.to_vec()).prop_flat_map(|(secret, telling)| {
        let words = "[ a-z.,\\n]{0,20}".prop_map(move |words| format!("{words} {telling}"));
        let traceparent = prop_oneof![Just(TRACEPARENT.to_owned()), Just(telling.to_owned())];
        let parts = (nested(telling), keyed(secret), words, traceparent);
        parts.prop_map(move |(inside, keyed, words, traceparent)| {
            let op = NewFailedOp::new(words.clone(), words.clone())
                .dependency(&words)
                .origin_service(&words)
                .entity(&words, &words)
                .user_id(&words)
                .request_data(format!("[{inside},{keyed}]"))
                .snapshot_data(&inside)
                .response_data(format!("no JSON {words}"))
                .metadata(&keyed)
                .error_code(&words)
                .error_message(&words)
                .next_action_hint(&words)
                .idempotency_key(&words)
                .dedup_key(telling)
                .order_key(telling)
                .label("password", secret)
                .label("note", &words)
                .label(telling, "x")
                .traceparent(traceparent);
            let op = NewFailedOp {
                entity_refs: Some(format!("[{keyed}]")),
                tracestate: Some(telling.to_owned()),
                fingerprint_key: Some(words.clone()),
                ..op
            };
            let who = Who {
                actor: Actor::parse(telling).expect("printable"),
                reason: Some(Reason::parse(telling).expect("printable")),
                trace: TraceContext::parse(TRACEPARENT, Some(telling)).ok(),
            };
            (secret, op, who)
        })
    })
}

/// Anything at all, near the limits and far from them.
fn any_op() -> impl Strategy<Value = NewFailedOp> {
    let text = || {
        prop_oneof![
            4 => any::<String>(),
            2 => "[a-zA-Z0-9_ .:=\\x00\\n\"{}\\[\\]-]{0,40}",
            1 => "[a-z]{120,600}",
        ]
    };
    let json = || {
        prop_oneof![
            any::<String>(),
            Just(r#"{"password":"x","n":[1,2,{"a":null}]}"#.to_owned()),
            Just("[".repeat(300) + &"]".repeat(300)),
        ]
    };
    let names = (text(), text(), option::of(text()), option::of(text()), option::of(text()));
    let keys = (option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    let payloads = (option::of(json()), option::of(json()), option::of(json()), option::of(json()));
    let words = (option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    let rest = (vec((text(), text()), 0..20), option::of(any::<u32>()), option::of(0_u64..3));
    (names, keys, payloads, words, rest).prop_map(|(names, keys, payloads, words, rest)| {
        NewFailedOp {
            domain: names.0,
            failure_type: names.1,
            dependency: names.2,
            origin_service: names.3,
            user_id: names.4,
            idempotency_key: keys.0,
            dedup_key: keys.1,
            order_key: keys.2,
            fingerprint_key: keys.3,
            request_data: payloads.0,
            snapshot_data: payloads.1,
            response_data: payloads.2,
            metadata: payloads.3,
            error_code: words.0,
            error_message: words.1,
            next_action_hint: words.2,
            traceparent: words.3.clone(),
            tracestate: words.3.clone(),
            entity_type: words.3.clone(),
            entity_id: words.3,
            labels: rest.0,
            max_retries: rest.1,
            expires_in: rest.2.map(std::time::Duration::from_secs),
            entity_refs: None,
            id: None,
        }
    })
}

/// Every byte that the store has of its entries and their evidence.
async fn stored_bytes(setup: &Setup) -> String {
    let mut bytes = String::new();
    for (op, trail) in setup.everything().await {
        bytes.push_str(&wire::encode_entry(&op));
        for record in trail {
            bytes.push_str(&record.canonical());
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_secret_is_in_any_stored_byte((secret, op, who) in leaky()) {
        let setup = Setup::new();
        let stored = block_on(async {
            let capture = setup.capture.prepare(op, &who, Oversize::KeepUnreplayable);
            let kept = setup.capture.keep(vec![capture.expect("nothing is refused")]).await;
            let id = kept[0].as_ref().expect("the store takes it").id;
            setup.entries.resolve(&[id], &format!("note: {}", telling_of(secret)), &who).await;
            stored_bytes(&setup).await
        });
        prop_assert!(stored.contains("resolve"), "the act is stored as well: {stored}");
        prop_assert!(!stored.contains(secret), "{secret} in {stored}");
        let escaped = Json::string(secret);
        prop_assert!(!stored.contains(escaped.as_str().trim_matches('"')));
    }

    #[test]
    fn whatever_a_host_sends_is_kept_where_nothing_may_be_refused(op in any_op()) {
        let setup = Setup::new();
        let kept = block_on(async {
            let capture = setup.capture.prepare(op, &who(), Oversize::KeepUnreplayable);
            let answers = setup.capture.keep(vec![capture.expect("nothing is refused")]).await;
            setup.entry(answers[0].as_ref().expect("the store takes it").id).await
        });
        let text = wire::encode_entry(&kept);
        prop_assert_eq!(wire::decode_entry(&text).expect("its own form"), kept);
    }

    #[test]
    fn a_refusal_has_a_documented_code_and_keeps_nothing(op in any_op()) {
        let setup = Setup::new();
        let (answer, stored) = block_on(async {
            let answer = setup.capture.capture(op, &who()).await;
            (answer, setup.everything().await.len())
        });
        match answer {
            Ok(_) => prop_assert_eq!(stored, 1),
            Err(failure) => {
                prop_assert!(Refusal::CODES.contains(&failure.code()), "{failure}");
                prop_assert_eq!(stored, 0);
            }
        }
    }

    #[test]
    fn no_name_makes_capture_refuse_and_kept_names_are_kept_again(op in any_op()) {
        let NewFailedOp { domain, failure_type, dependency, origin_service, user_id, entity_type, entity_id, .. } = op;
        let named = NewFailedOp {
            domain, failure_type, dependency, origin_service, user_id, entity_type, entity_id,
            ..NewFailedOp::default()
        };
        let setup = Setup::new();
        let first = block_on(setup.kept(named));
        let again = block_on(setup.kept(names_of(&first)));
        prop_assert_eq!(names_of(&again).domain, names_of(&first).domain);
        prop_assert_eq!(&again.failure_type, &first.failure_type);
        prop_assert_eq!(&again.dependency, &first.dependency);
        prop_assert_eq!(&again.origin_service, &first.origin_service);
        prop_assert_eq!(&again.fingerprint, &first.fingerprint);
        prop_assert_eq!(again.metadata, Json::empty_object());
    }

    #[test]
    fn one_by_one_or_in_a_batch_gives_the_same_entries(ops in vec(any_op(), 0..6)) {
        let (single, batch) = (Setup::new(), Setup::new());
        let singly = block_on(async {
            let mut answers = Vec::new();
            for op in ops.clone() {
                answers.push(single.capture.capture(op, &who()).await);
            }
            answers
        });
        let batched = block_on(batch.capture.capture_batch(ops, &who()));
        prop_assert_eq!(singly.len(), batched.len());
        for (single, batch) in singly.iter().zip(&batched) {
            match (single, batch) {
                (Ok(single), Ok(batch)) => prop_assert_eq!(single, batch),
                (Err(single), Err(batch)) => prop_assert_eq!(single.code(), batch.code()),
                (Ok(_), Err(failure)) | (Err(failure), Ok(_)) => prop_assert!(false, "{failure}"),
            }
        }
        prop_assert_eq!(block_on(single.everything()), block_on(batch.everything()));
    }
}

fn telling_of(secret: &str) -> &'static str {
    SECRETS.iter().find(|(known, _)| *known == secret).expect("of the dictionary").1
}

fn names_of(op: &FailedOp) -> NewFailedOp {
    NewFailedOp::new(op.domain.as_str(), op.failure_type.as_str())
        .dependency(op.dependency.as_str())
        .origin_service(op.origin_service.as_str())
}
