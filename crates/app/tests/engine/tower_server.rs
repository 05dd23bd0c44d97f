//! HTTP servers whose failed requests are captured.

use std::{
    convert::Infallible,
    future::Future,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use baldur_app::{
    protect::{CALL_DROPPED, CALL_TIMEOUT, CIRCUIT_OPEN, OnDrop, Protect},
    tower::{
        Buffered, CaptureLayer, ENTRY_ID, HANDLER_FAILED, HANDLER_PANICKED, IDEMPOTENCY_KEY,
        ServerPolicy,
    },
};
use baldur_core::{FailedOp, NotReplayable, Status, policy::CallOutcome};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, channel::Channel};
use serde_json::{Value, json};
use tokio::time::timeout;
use tower::{Layer as _, ServiceExt as _};

use crate::{
    faults::Faulty,
    protected::breaker,
    protected_order::patient,
    world::{SECOND, World, virtual_time},
};

type Body = Full<Bytes>;
type Received = Request<Buffered<Body>>;

fn order() -> Request<Body> {
    Request::post("/orders")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(r#"{"order": "A-1"}"#))
        .expect("a request")
}

fn answer(status: u16) -> Response<Body> {
    Response::builder().status(status).body(Full::from("from the handler")).expect("a response")
}

fn layer(world: &World, policy: ServerPolicy) -> CaptureLayer {
    CaptureLayer::with_policy("checkout", world.capture_service(), policy)
}

/// Sends a request through the layer to a handler.
async fn served<E, F, Fut>(
    layer: &CaptureLayer,
    request: Request<Body>,
    handler: F,
) -> Result<Response<Body>, E>
where
    E: std::fmt::Display + Send + 'static,
    F: FnMut(Received) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<Response<Body>, E>> + Send + 'static,
{
    layer.layer(tower::service_fn(handler)).oneshot(request).await
}

async fn with_status(layer: &CaptureLayer, status: u16, request: Request<Body>) -> Response<Body> {
    let handler = move |_| std::future::ready(Ok::<_, Infallible>(answer(status)));
    served(layer, request, handler).await.expect("never fails")
}

async fn the_only(world: &World) -> FailedOp {
    let mut entries = world.all().await;
    assert_eq!(entries.len(), 1);
    entries.remove(0)
}

fn data(entry: &FailedOp) -> Value {
    serde_json::from_str(entry.request_data.as_str()).expect("JSON")
}

#[tokio::test(start_paused = true)]
async fn good_answers_and_refusals_pass_and_keep_nothing() {
    let world = World::new();
    let layer = layer(&world, ServerPolicy::default());
    for status in [200, 302, 404, 422, 429] {
        let response = with_status(&layer, status, order()).await;
        assert_eq!(response.status(), status);
        assert!(!response.headers().contains_key(&ENTRY_ID));
    }
    assert!(world.all().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_request_answered_by_5xx_is_kept_and_the_answer_names_its_entry() {
    let world = World::new();
    let layer = layer(&world, ServerPolicy::default())
        .describe(|parts, op| op.label("method", parts.method.as_str()));
    let seen = Arc::new(Mutex::new(None));
    let handler = {
        let seen = Arc::clone(&seen);
        move |request: Received| {
            let seen = Arc::clone(&seen);
            async move {
                let key = request.headers()[&IDEMPOTENCY_KEY].to_str().expect("ASCII").to_owned();
                let body = request.into_body().collect().await.expect("whole").to_bytes();
                *seen.lock().expect("not poisoned") = Some((key, body));
                Ok::<_, Infallible>(answer(500))
            }
        }
    };
    let response = served(&layer, order(), handler).await.expect("never fails");
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let entry = the_only(&world).await;
    assert_eq!(response.headers()[&ENTRY_ID], entry.id.to_string());
    // The handler saw the whole request, and the key that a replay will have.
    let (key, body) = seen.lock().expect("not poisoned").take().expect("it was asked");
    assert_eq!(
        (key.as_str(), &body[..]),
        (entry.idempotency_key.as_str(), &br#"{"order": "A-1"}"#[..])
    );
    assert_eq!((entry.domain.as_str(), entry.failure_type.as_str()), ("checkout", "HTTP_500"));
    assert_eq!(data(&entry)["body"], json!({"order": "A-1"}));
    assert_eq!(entry.state.status, Status::Pending);
    // The handler's own words are the client's.
    let text = response.into_body().collect().await.expect("whole").to_bytes();
    assert_eq!(text, "from the handler");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_the_client_is_the_key_of_the_entry() {
    let world = World::new();
    let layer = layer(&world, ServerPolicy::default());
    let mut request = order();
    request.headers_mut().insert(IDEMPOTENCY_KEY, "order-4711".parse().expect("a value"));
    with_status(&layer, 503, request).await;
    assert_eq!(the_only(&world).await.idempotency_key.as_str(), "order-4711");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_names_an_entry_already_is_left_alone() {
    let world = World::new();
    let layer = layer(&world, ServerPolicy::default());
    let handler = |_: Received| {
        let mut response = answer(503);
        response.headers_mut().insert(ENTRY_ID, "from-the-handler".parse().expect("a value"));
        std::future::ready(Ok::<_, Infallible>(response))
    };
    let response = served(&layer, order(), handler).await.expect("never fails");
    assert_eq!(response.headers()[&ENTRY_ID], "from-the-handler");
    assert!(world.all().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn other_methods_pass_untouched() {
    let world = World::new();
    let layer = layer(&world, ServerPolicy::default());
    let request = Request::get("/orders").body(Body::default()).expect("a request");
    let handler = |request: Received| {
        assert!(!request.headers().contains_key(&IDEMPOTENCY_KEY));
        std::future::ready(Ok::<_, Infallible>(answer(500)))
    };
    let response = served(&layer, request, handler).await.expect("never fails");
    assert!(!response.headers().contains_key(&ENTRY_ID));
    assert!(world.all().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_is_kept_and_its_error_returned() {
    let world = World::new();
    let layer = layer(&world, ServerPolicy::default());
    let handler = |_: Received| std::future::ready(Err(io::Error::other("no database")));
    let error = served(&layer, order(), handler).await.expect_err("it failed");
    assert_eq!(error.to_string(), "no database");
    let entry = the_only(&world).await;
    assert_eq!(entry.failure_type.as_str(), HANDLER_FAILED);
    assert_eq!(entry.error_message.as_str(), "POST /orders failed: no database");
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_kept_and_answered_by_504() {
    let world = World::new();
    let layer = layer(&world, ServerPolicy { timeout: Some(SECOND), ..ServerPolicy::default() });
    let handler = |_: Received| std::future::pending::<Result<_, Infallible>>();
    let response = served(&layer, order(), handler).await.expect("never fails");
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    let entry = the_only(&world).await;
    assert_eq!(response.headers()[&ENTRY_ID], entry.id.to_string());
    assert_eq!(entry.failure_type.as_str(), CALL_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_panics_is_kept() {
    let world = World::new();
    let layer = layer(&world, ServerPolicy::default()).describe(|_, _| panic!("another bug"));
    let call = tokio::spawn(async move {
        let handler = |_: Received| async { panic!("a bug") as Result<_, Infallible> };
        served(&layer, order(), handler).await.map(|_| ())
    });
    assert!(call.await.expect_err("it panicked").is_panic());
    virtual_time(SECOND).await;
    let entry = the_only(&world).await;
    assert_eq!(entry.failure_type.as_str(), HANDLER_PANICKED);
    assert_eq!(data(&entry)["path"], json!("/orders"));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_hangs_up_is_forgotten_unless_the_policy_says_otherwise() {
    for (on_drop, kept) in [(OnDrop::Ignore, 0), (OnDrop::Capture, 1)] {
        let world = World::new();
        let layer = layer(&world, ServerPolicy { on_drop, ..ServerPolicy::default() });
        let handler = |_: Received| std::future::pending::<Result<_, Infallible>>();
        assert!(timeout(SECOND, served(&layer, order(), handler)).await.is_err());
        virtual_time(SECOND).await;
        let entries = world.all().await;
        assert_eq!(entries.len(), kept);
        assert!(entries.iter().all(|entry| entry.failure_type.as_str() == CALL_DROPPED));
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_body_reaches_the_handler_and_its_entry_waits_for_a_person() {
    let world = World::new();
    let layer = layer(&world, ServerPolicy { max_body: 1_000, ..ServerPolicy::default() });
    // In chunks, so that some of it is read before it is known to be long, and some is not.
    let (mut sender, body) = Channel::<Bytes>::new(1);
    tokio::spawn(async move {
        for n in 0..100_u8 {
            sender.send_data(Bytes::from(vec![n; 100])).await.expect("somebody reads");
        }
    });
    let request = Request::post("/upload").body(body).expect("a request");
    let handler = |request: Request<Buffered<Channel<Bytes>>>| async move {
        let body = request.into_body().collect().await.expect("whole").to_bytes();
        let expected: Vec<u8> = (0..100_u8).flat_map(|n| vec![n; 100]).collect();
        assert_eq!(body, expected);
        Ok::<_, Infallible>(answer(500))
    };
    let response = layer.layer(tower::service_fn(handler)).oneshot(request).await;
    assert!(response.expect("never fails").headers().contains_key(&ENTRY_ID));
    let entry = the_only(&world).await;
    assert_eq!(entry.state.status, Status::RequiresReview);
    assert_eq!(entry.state.not_replayable, Some(NotReplayable::RequestTooLarge));
    assert!(data(&entry).get("body_omitted").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_breaks_off_for_the_handler_too() {
    let world = World::new();
    let layer = layer(&world, ServerPolicy::default());
    let frames = [
        Ok(http_body::Frame::data(Bytes::from_static(b"half"))),
        Err(io::Error::other("the line is cut")),
    ];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    let request = Request::post("/upload").body(body).expect("a request");
    let handler = |request: Request<Buffered<_>>| async move {
        let mut body = request.into_body();
        let first = body.frame().await.expect("a frame").expect("data").into_data().ok();
        assert_eq!(first.as_deref(), Some(&b"half"[..]));
        let error: io::Error = body.frame().await.expect("a frame").expect_err("cut");
        assert_eq!(error.to_string(), "the line is cut");
        Ok::<_, Infallible>(answer(400))
    };
    let response = layer.layer(tower::service_fn(handler)).oneshot(request).await;
    assert_eq!(response.expect("never fails").status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_refuses_early_and_keeps_the_request() {
    let world = World::new();
    let guard: Protect = patient(&world).breaker(breaker(1, 1)).build().expect("a good policy");
    let layer = layer(&world, ServerPolicy::default()).refuse_while_open(guard.breaker().clone());
    let asked = Arc::new(AtomicU32::new(0));
    let handler = {
        let asked = Arc::clone(&asked);
        move |_: Received| {
            asked.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok::<_, Infallible>(answer(200)))
        }
    };
    let serve = || served(&layer, order(), handler.clone());
    assert_eq!(serve().await.expect("never fails").status(), 200);
    guard.breaker().admit().expect("closed").end(CallOutcome::Failure);
    virtual_time(SECOND / 2).await;

    let response = serve().await.expect("never fails");
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    // Nine and a half seconds are left.
    assert_eq!(response.headers()[header::RETRY_AFTER], "10");
    let entry = the_only(&world).await;
    assert_eq!(response.headers()[&ENTRY_ID], entry.id.to_string());
    assert_eq!((entry.failure_type.as_str(), entry.dependency.as_str()), (CIRCUIT_OPEN, "gateway"));
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    // Reading is still possible, and when the time is over somebody has to probe.
    let get = Request::get("/orders").body(Body::default()).expect("a request");
    assert_eq!(served(&layer, get, handler.clone()).await.expect("never fails").status(), 200);
    virtual_time(SECOND * 10).await;
    assert_eq!(serve().await.expect("never fails").status(), 200);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_or_panics_changes_no_answer() {
    let world = World::new();
    let store = Faulty::new(&world.store);
    let service = world.capture_service_on(Arc::new(store.clone()));
    let policy = ServerPolicy { capture_timeout: SECOND, ..ServerPolicy::default() };
    let layer = CaptureLayer::with_policy("checkout", service, policy);
    store.faults.captures_fail.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let response = with_status(&layer, 500, order()).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        // It does not say that anything is kept.
        assert!(!response.headers().contains_key(&ENTRY_ID));
        assert_eq!(with_status(&layer, 200, order()).await.status(), StatusCode::OK);
        store.faults.captures_panic.store(true, Ordering::SeqCst);
    }
}
