//! Capture of one operation.

use baldur_app::Refusal;
use baldur_core::port::{EntryReader as _, EvidenceLog as _};
use baldur_http::{Limits, forms::OP_CODES};
use serde_json::json;

use crate::server::{CAPTURE_KEY, Server, Setup, keys, memory, op};

#[tokio::test]
async fn an_operation_is_created_once_and_the_answer_says_how_safe_it_is() {
    let server = Server::start().await;
    let first = server.post_json(&op(7)).await;
    let id = "01890a5d-ac96-774b-bcce-000000000007";
    assert_eq!(first.status, 201, "{first:?}");
    assert!(first.has(&format!("location: entries/{id}")), "{first:?}");
    let wanted = json!({"id": id, "durability": "stored", "occurrence": 1, "disposition": "new"});
    assert_eq!(first.json(), wanted);
    let again = server.post_json(&op(7)).await;
    assert_eq!((again.status, &again.json()["disposition"]), (200, &json!("repeated")));
    let keyed = r#"{"domain":"mail","failure_type":"DOWN","dedup_key":"k"}"#;
    assert_eq!(server.post_json(keyed).await.status, 201);
    let merged = server.post_json(keyed).await;
    assert_eq!((merged.status, &merged.json()["disposition"]), (200, &json!("merged")));
    assert_eq!(merged.json()["occurrence"], 2);
}

#[tokio::test]
async fn the_evidence_names_the_key_and_the_trace() {
    let store = memory();
    let server = Server::with(store.clone(), Setup { keys: keys(), ..Setup::default() }).await;
    let headers = [
        "content-type: application/json; charset=utf-8",
        &format!("x-api-key: {CAPTURE_KEY}"),
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ];
    let answer = server.send("POST", "/api/v1/entries", &headers, op(1).as_bytes()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let id = answer.json()["id"].as_str().expect("an id").parse().expect("an id");
    let trail = store.trail(id, 0, 10).await.expect("readable");
    assert_eq!(trail[0].evidence.actor.as_str(), "checkout");
    let trace = trail[0].evidence.trace.as_ref().expect("a trace");
    assert_eq!(trace.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test]
async fn what_can_not_be_accepted_is_refused_under_its_code() {
    let server = Server::start().await;
    let with = |more: &str| format!(r#"{{"domain":"a","failure_type":"b",{more}}}"#);
    let labels: Vec<String> = (0..17).map(|n| format!("\"l{n}\":\"v\"")).collect();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let long = "x".repeat(2 << 20);
    let all = "y".repeat(9 << 20);
    let cases = [
        ("[]".to_owned(), "not_an_object", 400),
        ("{".to_owned(), "not_json", 400),
        (r#"{"domain":"a"}"#.to_owned(), "missing_field", 400),
        (with(r#""card":4711"#), "unknown_field", 400),
        (with(r#""domain":"a""#), "repeated_field", 400),
        (with(r#""max_retries":-1"#), "wrong_type", 400),
        (with(r#""id":"4711""#), "bad_id", 400),
        (with(r#""expires_in":"4711""#), "bad_expires_in", 400),
        (with(&format!("\"labels\":{{{}}}", labels.join(","))), "too_many_labels", 400),
        (with(r#""labels":{"A B":"v"}"#), "label_name_invalid", 400),
        (with(r#""labels":{"a":"v","a":"w"}"#), "label_repeated", 400),
        (with(r#""order_key":"""#), "order_key_invalid", 400),
        (with(r#""dedup_key":"""#), "dedup_key_invalid", 400),
        (with(r#""idempotency_key":"""#), "idempotency_key_invalid", 400),
        (with(r#""idempotency_key":"4111111111111111""#), "idempotency_key_secret", 400),
        (with(&format!("\"request_data\":\"{long}\"")), "request_too_large", 413),
        (with(&format!("\"request_data\":{deep}")), "request_not_redactable", 400),
        (with(&format!("\"error_message\":\"{all}\"")), "input_too_large", 413),
        (with(r#""max_retries":0"#), "max_retries_out_of_range", 400),
        (with(r#""expires_in":"0s""#), "expires_in_zero", 400),
    ];
    for (body, code, status) in &cases {
        let answer = server.post_json(body).await;
        assert_eq!(answer.problem(), *code, "{answer:?}");
        assert_eq!(answer.status, *status, "{code}");
        assert!(!answer.body.contains("4711"), "{answer:?}");
    }
    // All codes are met here, but for payloads: those are JSON, since the whole is.
    let met = |code: &&str| cases.iter().any(|(_, met, _)| met == code);
    let codes = || OP_CODES.iter().chain(&Refusal::CODES);
    let missing: Vec<&&str> = codes().filter(|code| !met(code)).collect();
    assert_eq!(missing, [&"request_not_json"]);
}

#[tokio::test]
async fn bodies_of_other_kinds_are_refused() {
    let server = Server::start().await;
    for headers in [
        &[][..],
        &["content-type: text/plain"],
        &["content-type: application/x-www-form-urlencoded"],
        &["content-type: application/json; charset=latin-1"],
        &["content-type: application/json", "content-type: application/x-ndjson"],
        &["content-type: application/json", "content-encoding: gzip"],
    ] {
        let answer = server.send("POST", "/api/v1/entries", headers, b"{}").await;
        assert_eq!((answer.status, answer.problem().as_str()), (415, "unsupported_media_type"));
    }
    assert_eq!(server.post_json("").await.problem(), "empty_body");
    assert_eq!(server.post_json(" \n").await.problem(), "empty_body");
    let kind = ["content-type: application/json"];
    let answer = server.send("POST", "/api/v1/entries", &kind, b"{\"a\":\"\xff\"}").await;
    assert_eq!(answer.problem(), "not_utf8");
}

#[tokio::test]
async fn the_mode_is_read_strictly() {
    let server = Server::start().await;
    let kind = ["content-type: application/json"];
    for (query, code) in
        [("?mode=fast", "bad_query"), ("?mode=sync&mode=sync", "bad_query"), ("?a=1", "bad_query")]
    {
        let path = format!("/api/v1/entries{query}");
        let answer = server.send("POST", &path, &kind, op(1).as_bytes()).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, code), "{query}");
        if query == "?mode=fast" {
            let detail = answer.json()["detail"].to_string();
            assert!(detail.contains("sync, async or durable"), "{detail}");
            assert!(!detail.contains("fast"), "{detail}");
        }
    }
    // Without a spool and an outbox, every mode waits for the store.
    for (n, mode) in [(1, "sync"), (2, "async"), (3, "durable")] {
        let path = format!("/api/v1/entries?mode={mode}");
        let answer = server.send("POST", &path, &kind, op(n).as_bytes()).await;
        assert_eq!((answer.status, &answer.json()["durability"]), (201, &json!("stored")));
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let store = memory();
    let limits = Limits { body_bytes: 1_000, ..Limits::default() };
    let server = Server::with(store.clone(), Setup { limits, ..Setup::default() }).await;
    let announced = "POST /api/v1/entries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                     content-length: 1001\r\n\r\n";
    // Nothing is sent: the length alone decides.
    let answer = server.raw(announced.as_bytes()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "body_too_large"));
    let head = "POST /api/v1/entries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n3e9\r\n";
    let answer = server.raw(format!("{head}{}\r\n", " ".repeat(1_001)).as_bytes()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (413, "body_too_large"));
    assert_eq!(server.post_json(&op(1)).await.status, 201);
    let ids = vec!["01890a5d-ac96-774b-bcce-000000000001".parse().expect("an id")];
    assert!(store.find(ids).await.expect("readable")[0].is_some());
}

#[tokio::test]
async fn bodies_share_a_bounded_memory() {
    let limits = Limits { buffered_bytes: 2 << 10, ..Limits::default() };
    let server = Server::with(memory(), Setup { limits, ..Setup::default() }).await;
    let answer = server.post_json(&" ".repeat(3 << 10)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (503, "overloaded"));
    assert!(answer.has("retry-after: 1"), "{answer:?}");
    // What was held is given back.
    for n in 0..4 {
        assert_eq!(server.post_json(&op(n)).await.status, 201);
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let limits =
        Limits { request_timeout: std::time::Duration::from_millis(50), ..Limits::default() };
    let server = Server::with(memory(), Setup { limits, ..Setup::default() }).await;
    let head = "POST /api/v1/entries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 10\r\n\r\n{";
    let answer = server.raw(head.as_bytes()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (408, "request_timeout"));
}
