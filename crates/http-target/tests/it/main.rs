//! The wire contract, against a real server on loopback.

mod probe;
mod server;

use std::{sync::Arc, time::Duration};

use axum::http::{HeaderName, StatusCode};
use baldur_core::{
    Attempts, Clock, FailedOp, Fingerprint, Json, OpState, Timestamp, TraceContext,
    failed_op::DEFAULT_MAX_RETRIES,
    id::{ClaimToken, EntryId},
    name::{Domain, FailureType, IdempotencyKey, Namespace, OrderKey, ServiceName, ShortText},
    port::{Gate, ReplayContext, ReplayHandler, ReplayOutcome},
};
use baldur_http_target::{HttpTarget, HttpTargetBody, HttpTargetConfig, HttpTargetMethod};
use server::{Reply, Server};

/// Sat, 21 Nov 2026 00:00:00 GMT.
const NOW: i64 = 1_795_219_200;

#[derive(Debug)]
struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(NOW * 1_000_000).expect("in range")
    }

    fn mono(&self) -> Duration {
        Duration::ZERO
    }
}

fn op() -> FailedOp {
    let at = FixedClock.now();
    FailedOp {
        id: EntryId::from_bytes([7; 16]),
        namespace: Namespace::default_namespace(),
        domain: Domain::parse("payment.card").expect("a domain"),
        failure_type: FailureType::parse("TIMEOUT").expect("a type"),
        dependency: ServiceName::parse("payment-gateway").expect("a name"),
        origin_service: ServiceName::parse("checkout").expect("a name"),
        entity_type: Some(ShortText::parse("order").expect("a text")),
        entity_id: Some(ShortText::parse("4711").expect("a text")),
        entity_refs: Json::empty_object(),
        user_id: None,
        request_data: Json::parse(r#"{"z":1, "a":12345678901234567890.10, "z":"ä\u0000"}"#)
            .expect("json"),
        payload_version: 1,
        snapshot_data: Json::empty_object(),
        response_data: Json::empty_object(),
        metadata: Json::empty_object(),
        error_code: String::new(),
        error_message: String::new(),
        next_action_hint: String::new(),
        idempotency_key: IdempotencyKey::parse(r#"Order/4711;"v=1",~!"#).expect("a key"),
        dedup_key: None,
        order_key: Some(OrderKey::parse("order ä").expect("a key")),
        labels: baldur_core::Labels::new(),
        fingerprint: Fingerprint { version: 1, text: ShortText::parse("v1:00").expect("a text") },
        trace: TraceContext::parse(
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            Some("vendor=1"),
        )
        .ok(),
        created_at: at,
        state: OpState {
            attempts: Attempts::default(),
            ..OpState::captured(DEFAULT_MAX_RETRIES, None, at)
        },
    }
}

fn context() -> ReplayContext {
    ReplayContext {
        attempt: 3,
        claim_token: ClaimToken(9),
        timeout: Duration::from_secs(30),
        dry_run: false,
    }
}

fn target(config: HttpTargetConfig) -> HttpTarget {
    HttpTarget::new(config, Arc::new(FixedClock)).expect("valid settings")
}

/// Replays the entry once to a server that answers like this.
async fn answered(reply: Reply) -> ReplayOutcome {
    let server = Server::start(reply).await;
    target(HttpTargetConfig::trusting(server.url())).replay(&op(), context()).await
}

#[tokio::test]
async fn the_request_follows_version_1_of_the_contract() {
    let server = Server::start(Reply::status(StatusCode::OK)).await;
    let mut config = HttpTargetConfig::trusting(server.url());
    config.headers.insert("Authorization".to_owned(), "Bearer token".into());
    let target = target(config);
    let op = op();
    assert_eq!(target.can_replay(&op).await, Gate::Open);
    let outcome = target.replay(&op, context()).await;
    assert_eq!(outcome, ReplayOutcome::Succeeded { note: "200 OK".to_owned() });

    let seen = server.only_request();
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.path, "/replay?key=1");
    assert_eq!(seen.body, op.request_data.as_str().as_bytes(), "byte for byte");
    for (name, value) in [
        ("content-type", "application/json"),
        ("idempotency-key", op.idempotency_key.as_str()),
        ("baldur-wire-version", "1"),
        ("baldur-entry-id", "07070707-0707-0707-0707-070707070707"),
        ("baldur-domain", "payment.card"),
        ("baldur-attempt", "3"),
        ("baldur-claim-token", "9"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "vendor=1"),
        ("authorization", "Bearer token"),
    ] {
        assert_eq!(seen.headers[name], value, "{name}");
    }
    // Nothing of the entry can add a header: these are all.
    let mut names: Vec<&str> = seen.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let rest = ["accept", "content-length", "host", "user-agent"];
    names.retain(|name| !rest.contains(name));
    assert_eq!(names.len(), 10, "{names:?}");
}

#[tokio::test]
async fn each_replay_carries_the_same_key() {
    let server = Server::start(Reply::status(StatusCode::INTERNAL_SERVER_ERROR)).await;
    let target = target(HttpTargetConfig::trusting(server.url()));
    for attempt in 1..=3 {
        target.replay(&op(), ReplayContext { attempt, ..context() }).await;
    }
    let keys: Vec<_> = server
        .requests()
        .into_iter()
        .map(|request| request.headers["idempotency-key"].clone())
        .collect();
    assert_eq!(keys, [op().idempotency_key.as_str(); 3]);
}

#[tokio::test]
async fn the_envelope_holds_the_request_data_to_the_letter() {
    let server = Server::start(Reply::status(StatusCode::NO_CONTENT)).await;
    let mut config = HttpTargetConfig::trusting(server.url());
    config.body = HttpTargetBody::Envelope;
    config.method = HttpTargetMethod::Put;
    target(config).replay(&op(), context()).await;
    let seen = server.only_request();
    assert_eq!(seen.method, "PUT");
    let expected = concat!(
        r#"{"version":1,"id":"07070707-0707-0707-0707-070707070707","domain":"payment.card","#,
        r#""failure_type":"TIMEOUT","dependency":"payment-gateway","origin_service":"checkout","#,
        r#""idempotency_key":"Order/4711;\"v=1\",~!","order_key":"order ä","#,
        r#""entity_type":"order","entity_id":"4711","user_id":null,"attempt":3,"#,
        r#""captured_at":"2026-11-21T00:00:00.000000Z","payload_version":1,"#,
        r#""request_data":{"z":1, "a":12345678901234567890.10, "z":"ä\u0000"}}"#,
    );
    assert_eq!(String::from_utf8(seen.body).expect("utf-8"), expected);
}

#[tokio::test]
async fn a_dry_run_sends_nothing_and_says_what_it_would_send() {
    let server = Server::start(Reply::status(StatusCode::OK)).await;
    let context = ReplayContext { dry_run: true, ..context() };
    let outcome = target(HttpTargetConfig::trusting(server.url())).replay(&op(), context).await;
    let bytes = op().request_data.len();
    let note = format!("would send POST with {bytes} bytes to {}", server.origin());
    assert_eq!(outcome, ReplayOutcome::Succeeded { note });
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn the_status_decides() {
    let reply = |status| Reply::status(status).body("words");
    let already = answered(reply(StatusCode::ALREADY_REPORTED)).await;
    let note = "208 Already Reported: words".to_owned();
    assert_eq!(already, ReplayOutcome::AlreadyDone { note });
    let permanent = answered(reply(StatusCode::UNPROCESSABLE_ENTITY)).await;
    let error = "422 Unprocessable Entity: words".to_owned();
    assert_eq!(permanent, ReplayOutcome::Permanent { error });
    let failed = answered(reply(StatusCode::INTERNAL_SERVER_ERROR)).await;
    let error = "500 Internal Server Error: words".to_owned();
    assert_eq!(failed, ReplayOutcome::Failed { error, retry_after: None });
    let deferred = answered(reply(StatusCode::UNAUTHORIZED)).await;
    let reason = "401 Unauthorized: words".to_owned();
    assert_eq!(deferred, ReplayOutcome::Deferred { reason, delay: Duration::from_secs(10) });
}

#[tokio::test]
async fn lists_of_codes_change_what_an_answer_means() {
    let server = Server::start(Reply::status(StatusCode::CONFLICT)).await;
    let mut config = HttpTargetConfig::trusting(server.url());
    config.already_done = "208,409".parse().expect("codes");
    let outcome = target(config).replay(&op(), context()).await;
    assert_eq!(outcome, ReplayOutcome::AlreadyDone { note: "409 Conflict".to_owned() });
}

#[tokio::test]
async fn retry_after_is_honoured_in_seconds_and_as_a_date_and_bounded() {
    for (value, seconds) in
        [("120", 120), ("Sat, 21 Nov 2026 00:00:30 GMT", 30), ("99999999", 3600), ("0", 1)]
    {
        for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
            let outcome = answered(Reply::status(status).header("retry-after", value)).await;
            let ReplayOutcome::Deferred { delay, .. } = outcome else {
                panic!("{status} {value}: {outcome:?}");
            };
            assert_eq!(delay, Duration::from_secs(seconds), "{status} {value}");
        }
    }
    let charged = StatusCode::INTERNAL_SERVER_ERROR;
    let outcome = answered(Reply::status(charged).header("retry-after", "7")).await;
    let ReplayOutcome::Failed { retry_after, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
    let outcome = answered(Reply::status(StatusCode::SERVICE_UNAVAILABLE)).await;
    assert!(matches!(outcome, ReplayOutcome::Failed { .. }), "{outcome:?}");
    let outcome = answered(Reply::status(StatusCode::TOO_MANY_REQUESTS)).await;
    assert!(matches!(outcome, ReplayOutcome::Deferred { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_target_that_does_not_answer_is_charged_after_the_timeout() {
    let server = Server::start(Reply::never()).await;
    let short = Duration::from_millis(60);
    let mut by_settings = HttpTargetConfig::trusting(server.url());
    by_settings.timeout = short;
    let by_engine = ReplayContext { timeout: short, ..context() };
    for (config, context) in
        [(by_settings, context()), (HttpTargetConfig::trusting(server.url()), by_engine)]
    {
        let outcome = target(config).replay(&op(), context).await;
        let ReplayOutcome::Failed { error, retry_after: None } = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(
            error,
            format!("{} gave no answer within 60ms; it may have acted", server.origin())
        );
    }
    assert_eq!(server.requests().len(), 2, "the target saw each request once");
}

#[tokio::test]
async fn a_connection_that_breaks_after_sending_is_charged() {
    let server = Server::hanging_up().await;
    let outcome = target(HttpTargetConfig::trusting(server.url())).replay(&op(), context()).await;
    let ReplayOutcome::Failed { error, .. } = outcome else { panic!("{outcome:?}") };
    assert!(error.contains("may have acted") && !error.contains("key=1"), "{error}");
}

#[tokio::test]
async fn a_target_that_is_not_reached_charges_nothing() {
    let closed = Server::closed().await;
    for url in [closed, "http://no-such-host.invalid/replay?key=1".to_owned()] {
        let outcome = target(HttpTargetConfig::trusting(url)).replay(&op(), context()).await;
        let ReplayOutcome::Deferred { reason, delay } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("was not reached") && !reason.contains("key=1"), "{reason}");
        assert_eq!(delay, Duration::from_secs(10));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let server = Server::start(
        Reply::status(StatusCode::TEMPORARY_REDIRECT).header("location", "/elsewhere"),
    )
    .await;
    let outcome = target(HttpTargetConfig::trusting(server.url())).replay(&op(), context()).await;
    assert!(matches!(outcome, ReplayOutcome::Deferred { .. }), "{outcome:?}");
    assert_eq!(server.only_request().path, "/replay?key=1");
}

#[tokio::test]
async fn an_endless_answer_is_read_up_to_its_bound() {
    // The body never ends, so only a bounded read returns; and it does so long before the timeout.
    let outcome = answered(Reply::status(StatusCode::OK).endless()).await;
    let ReplayOutcome::Succeeded { note } = outcome else { panic!("{outcome:?}") };
    assert!(note.len() < 1100, "{}", note.len());
    assert!(note.ends_with("[truncated, 65536 bytes]"), "{note}");
}

#[tokio::test]
async fn a_body_that_stalls_does_not_change_what_the_status_said() {
    let server = Server::start(Reply::status(StatusCode::CREATED).stalling()).await;
    let short = Duration::from_millis(60);
    let mut config = HttpTargetConfig::trusting(server.url());
    config.timeout = short;
    let outcome = target(config).replay(&op(), context()).await;
    assert_eq!(outcome, ReplayOutcome::Succeeded { note: "201 Created: begun".to_owned() });
}
