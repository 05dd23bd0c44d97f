//! Protected HTTP clients.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    io,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use baldur_app::{
    Protected,
    protect::{CallFailure, OnPermanent, Protect, ProtectBuilder},
    tower::{
        ClientError, ClientPolicy, HttpFailure, IDEMPOTENCY_KEY, NO_ANSWER, OnClientError,
        ProtectLayer, RequestHeaders,
    },
};
use baldur_core::policy::BreakerState;
use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::{Layer as _, Service, ServiceExt as _};

use crate::{
    protected::breaker,
    protected_order::patient,
    world::{SECOND, World},
};

type Body = Full<Bytes>;
type Answer = Result<Response<Body>, io::Error>;

/// A client that answers as told, in order, and remembers what it was sent.
#[derive(Clone, Default)]
struct Target {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    sent: Arc<Mutex<Vec<Request<Body>>>>,
}

impl Target {
    fn of(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = Arc::new(Mutex::new(answers.into_iter().collect()));
        Self { answers, sent: Arc::default() }
    }

    fn keys(&self) -> Vec<String> {
        let sent = self.sent.lock().expect("not poisoned");
        let key = |request: &Request<Body>| {
            request.headers()[&IDEMPOTENCY_KEY].to_str().expect("ASCII").to_owned()
        };
        sent.iter().map(key).collect()
    }
}

impl Service<Request<Body>> for Target {
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Ready<Answer>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), io::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Ready<Answer> {
        self.sent.lock().expect("not poisoned").push(request);
        ready(self.answers.lock().expect("not poisoned").pop_front().expect("an answer"))
    }
}

fn status(code: u16) -> Response<Body> {
    Response::builder().status(code).body(Full::from("an answer")).expect("a response")
}

fn charge() -> Request<Body> {
    Request::post("https://user:hunter2@pay.test:8443/charges?expand=card")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, "Bearer abcdefghijklmnop")
        .body(Full::from(r#"{"amount": 19.990, "password": "hunter2"}"#))
        .expect("a request")
}

fn guard(builder: ProtectBuilder) -> Protect {
    builder.build().expect("a good policy")
}

async fn data(world: &World) -> Value {
    let entries = world.all().await;
    assert_eq!(entries.len(), 1);
    serde_json::from_str(entries[0].request_data.as_str()).expect("JSON")
}

type Sent = Result<Response<Body>, ClientError<Body, io::Error>>;

async fn send(layer: &ProtectLayer, target: &Target, request: Request<Body>) -> Sent {
    layer.layer(target.clone()).oneshot(request).await
}

fn of_call<E: std::fmt::Display>(error: ClientError<Body, E>) -> Protected<HttpFailure<Body, E>> {
    match error {
        ClientError::Call(protected) => *protected,
        ClientError::Body | ClientError::BodyTooLong { .. } => panic!("{error}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_answer_passes_and_the_request_has_a_key() {
    let world = World::new();
    let layer = ProtectLayer::new("payment", guard(patient(&world)));
    let target = Target::of([Ok(status(201))]);
    let answer = send(&layer, &target, charge()).await.expect("it worked");
    assert_eq!(answer.status(), StatusCode::CREATED);
    let body = answer.into_body().collect().await.expect("whole").to_bytes();
    assert_eq!(body, "an answer");
    assert_eq!(target.keys().len(), 1);
    assert!(world.all().await.is_empty());
    // All else reaches the target as it was.
    let sent = target.sent.lock().expect("not poisoned").pop().expect("sent");
    assert_eq!(sent.uri(), charge().uri());
    assert_eq!(sent.headers()[header::AUTHORIZATION], "Bearer abcdefghijklmnop");
    let body = sent.into_body().collect().await.expect("whole").to_bytes();
    assert_eq!(body, r#"{"amount": 19.990, "password": "hunter2"}"#);
}

#[tokio::test(start_paused = true)]
async fn a_failed_request_is_tried_again_and_kept_once_as_a_replay_needs_it() {
    let world = World::new();
    let layer = ProtectLayer::new("payment", guard(patient(&world)));
    let target = Target::of([Ok(status(503)), Ok(status(502)), Ok(status(500))]);
    let error = send(&layer, &target, charge()).await.expect_err("it failed");
    let Protected::Captured { captured, cause } = of_call(error) else { panic!("not kept") };
    let response = match cause.error() {
        Some(HttpFailure::Status(response)) => response,
        other => panic!("{other:?}"),
    };
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let keys = target.keys();
    let entry = world.entry(captured.id).await;
    assert_eq!(keys, [entry.idempotency_key.as_str(); 3]);
    assert_eq!((entry.failure_type.as_str(), entry.error_code.as_str()), ("HTTP_500", "500"));
    assert_eq!((entry.domain.as_str(), entry.dependency.as_str()), ("payment", "gateway"));
    let data = data(&world).await;
    assert_eq!(
        data,
        json!({
            "method": "POST",
            "host": "pay.test:8443",
            "path": "/charges",
            "query": "expand=card",
            "headers": {"content-type": ["application/json"]},
            "body": {"amount": 19.990, "password": "***REDACTED***"},
        })
    );
    // To the letter, not only in value.
    assert!(entry.request_data.as_str().contains(r#""amount": 19.990"#));
    let dump = format!("{:?}", world.dump().await);
    assert!(!dump.contains("hunter2") && !dump.contains("abcdefghijklmnop"));
}

#[tokio::test(start_paused = true)]
async fn a_key_of_the_request_is_kept_and_a_wrong_one_is_not_sent() {
    let world = World::new();
    let layer = ProtectLayer::new("payment", guard(patient(&world).tries(1)));
    let target = Target::of([Ok(status(503))]);
    let mut request = charge();
    request.headers_mut().insert(IDEMPOTENCY_KEY, "order-4711".parse().expect("a value"));
    send(&layer, &target, request).await.expect_err("it failed");
    assert_eq!(target.keys(), ["order-4711"]);
    assert_eq!(world.all().await[0].idempotency_key.as_str(), "order-4711");
    let mut request = charge();
    request.headers_mut().insert(IDEMPOTENCY_KEY, "with blanks".parse().expect("a value"));
    let error = send(&layer, &target, request).await.expect_err("no key");
    assert!(matches!(of_call(error), Protected::InvalidKey(_)));
    assert_eq!((target.keys().len(), world.all().await.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn each_status_means_what_the_table_says() {
    for (code, tries) in
        [(200, 1), (302, 1), (404, 1), (408, 3), (425, 3), (429, 3), (500, 3), (503, 3), (504, 3)]
    {
        let world = World::new();
        let guard = guard(patient(&world));
        let layer = ProtectLayer::new("payment", guard.clone());
        let target = Target::of([(); 3].map(|()| Ok(status(code))));
        let answer = send(&layer, &target, charge()).await;
        assert_eq!(target.keys().len(), tries, "{code}");
        // What is an answer comes as one, a 404 too.
        assert_eq!(answer.is_ok(), tries == 1, "{code}");
        assert_eq!(world.all().await.len(), usize::from(tries == 3), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn other_client_errors_are_permanent_where_the_policy_says_so() {
    for (on_permanent, kept) in [(OnPermanent::Capture, 1), (OnPermanent::Return, 0)] {
        let world = World::new();
        let guard = guard(patient(&world).breaker(breaker(1, 1)).on_permanent(on_permanent));
        let policy =
            ClientPolicy { on_client_error: OnClientError::Permanent, ..ClientPolicy::default() };
        let layer = ProtectLayer::new("payment", guard.clone()).policy(policy);
        let target = Target::of([Ok(status(422))]);
        let answer = send(&layer, &target, charge()).await;
        // What is not kept is an answer again.
        assert_eq!(answer.is_ok(), kept == 0);
        assert_eq!(world.all().await.len(), kept);
        assert_eq!(guard.state(), BreakerState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_honoured_in_seconds_and_as_a_date() {
    let world = World::new();
    let layer = ProtectLayer::new("payment", guard(patient(&world).tries(2)));
    let mut busy = status(429);
    busy.headers_mut().insert(header::RETRY_AFTER, "7".parse().expect("a value"));
    let target = Target::of([Ok(busy), Ok(status(200))]);
    let begun = tokio::time::Instant::now();
    send(&layer, &target, charge()).await.expect("it worked");
    assert_eq!(begun.elapsed().as_secs(), 7);
    // The world's clock begins on 2026-01-01 at 00:00:00.
    let mut down = status(503);
    let date = "Thu, 01 Jan 2026 00:30:07 GMT";
    down.headers_mut().insert(header::RETRY_AFTER, date.parse().expect("a value"));
    let target = Target::of([Ok(down)]);
    send(&layer, &target, charge()).await.expect_err("longer than any pause between tries");
    let entry = &world.all().await[0];
    let waits = entry.state.next_attempt_at.since(entry.state.updated_at);
    assert!(waits > SECOND * 29 * 60 && waits <= SECOND * 30 * 60, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_transient_unless_a_function_says_otherwise() {
    let world = World::new();
    let guard = guard(patient(&world).tries(2));
    let layer = ProtectLayer::new("payment", guard.clone());
    let refused = || Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens"));
    let target = Target::of([refused(), refused()]);
    send(&layer, &target, charge()).await.expect_err("no answer");
    assert_eq!(world.all().await[0].failure_type.as_str(), NO_ANSWER);
    let told = layer.classify_errors(|error: &io::Error| {
        CallFailure::permanent("CONNECTION_REFUSED", error.to_string())
    });
    let target = Target::of([refused()]);
    let error = told.layer(target.clone()).oneshot(charge()).await.expect_err("no answer");
    assert!(matches!(of_call(error), Protected::Captured { .. }));
    let entries = world.all().await;
    assert!(entries.iter().any(|entry| entry.failure_type.as_str() == "CONNECTION_REFUSED"));
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_sends_nothing_and_keeps_the_request() {
    let world = World::new();
    let layer =
        ProtectLayer::new("payment", guard(patient(&world).tries(1).breaker(breaker(1, 1))));
    let target = Target::of([Ok(status(500))]);
    send(&layer, &target, charge()).await.expect_err("it failed");
    let error = send(&layer, &target, charge()).await.expect_err("open");
    assert!(error.to_string().contains("kept as entry"), "{error}");
    assert_eq!((target.keys().len(), world.all().await.len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_body_too_long_to_be_kept_is_not_sent() {
    let world = World::new();
    let policy = ClientPolicy { max_body: 10, ..ClientPolicy::default() };
    let layer = ProtectLayer::new("payment", guard(patient(&world))).policy(policy);
    let target = Target::default();
    let error = send(&layer, &target, charge()).await.expect_err("too long");
    assert!(matches!(error, ClientError::BodyTooLong { max: 10 }), "{error}");
    assert!(target.sent.lock().expect("not poisoned").is_empty());
}

#[tokio::test(start_paused = true)]
async fn bodies_are_kept_as_json_as_text_or_as_bytes() {
    let form = header::HeaderValue::from_static("application/x-www-form-urlencoded");
    let plain = header::HeaderValue::from_static("text/plain");
    let image = header::HeaderValue::from_static("image/png");
    let cases: [(_, &[u8], &str, Value); 6] = [
        (None, b"{\"a\":1}", "body", json!({"a": 1})),
        (Some(plain), b"{\"a\":1}", "body_text", json!("{\"a\":1}")),
        (None, b"{\"a\":", "body_text", json!("{\"a\":")),
        (Some(form), b"a=1&password=hunter2", "body_text", json!("a=1&password=***REDACTED***")),
        (Some(image.clone()), b"\xff\xfe\x00", "body_base64", json!("//4A")),
        // What nobody could find there later is not kept at all.
        (Some(image), b"\xff password=hunter2", "body_base64", json!("***REDACTED***")),
    ];
    for (kind, body, field, expected) in cases {
        let world = World::new();
        let layer = ProtectLayer::new("payment", guard(patient(&world).tries(1)));
        let mut request = Request::put("/x").body(Full::from(body.to_vec())).expect("a request");
        if let Some(kind) = kind {
            request.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        send(&layer, &Target::of([Ok(status(500))]), request).await.expect_err("it failed");
        let data = data(&world).await;
        assert_eq!(data[field], expected);
        let bodies =
            data.as_object().expect("an object").keys().filter(|key| key.starts_with("body"));
        assert_eq!(bodies.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn only_allowed_headers_are_kept_and_credentials_never() {
    let world = World::new();
    let tenant = HeaderName::from_static("x-tenant");
    let headers = RequestHeaders::of([tenant.clone(), header::AUTHORIZATION, header::COOKIE]);
    let policy = ClientPolicy { headers, ..ClientPolicy::default() };
    let layer = ProtectLayer::new("payment", guard(patient(&world).tries(1)))
        .policy(policy)
        .describe(|parts, op| op.label("method", parts.method.as_str()).entity("order", "4711"));
    let mut request = charge();
    request.headers_mut().insert(header::COOKIE, "session=1".parse().expect("a value"));
    for value in ["one", "two"] {
        request.headers_mut().append(&tenant, value.parse().expect("a value"));
    }
    send(&layer, &Target::of([Ok(status(500))]), request).await.expect_err("it failed");
    assert_eq!(data(&world).await["headers"], json!({"x-tenant": ["one", "two"]}));
    let entry = &world.all().await[0];
    assert_eq!(entry.entity_id.as_ref().map(AsRef::<str>::as_ref), Some("4711"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_never_ready_takes_the_time_of_a_try_and_no_longer() {
    #[derive(Clone)]
    struct Busy;
    impl Service<Request<Body>> for Busy {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Pending
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            unreachable!("it was never ready")
        }
    }
    let world = World::new();
    let layer = ProtectLayer::new("payment", guard(patient(&world).tries(1).timeout(SECOND)));
    let begun = tokio::time::Instant::now();
    let error = layer.layer(Busy).oneshot(charge()).await.expect_err("never ready");
    assert!(matches!(of_call(error), Protected::Captured { .. }));
    assert_eq!(begun.elapsed().as_secs(), 1);
}
