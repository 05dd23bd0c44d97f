//! Each route, by each method, for each kind of caller.

use crate::server::{ADMIN_KEY, CAPTURE_KEY, READ_KEY, Server, Setup, keys, memory, op};

const ROUTES: [(&str, &str); 7] = [
    ("POST", "/api/v1/entries"),
    ("GET", "/api/v1/entries"),
    ("GET", "/api/v1/entries/01890a5d-ac96-774b-bcce-000000000001"),
    ("GET", "/api/v1/facets"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
];

async fn ask(server: &Server, method: &str, path: &str, key: Option<&str>) -> (u16, String) {
    let mut headers = vec!["content-type: application/json".to_owned()];
    headers.extend(key.map(|key| format!("authorization: Bearer {key}")));
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let body = if method == "POST" { op(1) } else { String::new() };
    let answer = server.send(method, path, &headers, body.as_bytes()).await;
    let code = if answer.status >= 400 { answer.problem() } else { String::new() };
    assert!(answer.has("cache-control: no-store"), "{answer:?}");
    assert!(!answer.has("access-control-"), "{answer:?}");
    (answer.status, code)
}

#[tokio::test]
async fn with_keys_each_role_reaches_its_routes_and_no_other() {
    let server = Server::with(memory(), Setup { keys: keys(), ..Setup::default() }).await;
    let callers =
        [None, Some("unknown-unknown-unknown"), Some(CAPTURE_KEY), Some(READ_KEY), Some(ADMIN_KEY)];
    let open = [200; 5];
    let read = [401, 401, 403, 200, 200];
    // The first capture is new, the second one repeats it.
    let wanted = [[401, 401, 201, 403, 200], read, read, read, open, open, read];
    for ((method, path), wanted) in ROUTES.into_iter().zip(wanted) {
        for (caller, wanted) in callers.into_iter().zip(wanted) {
            let (status, code) = ask(&server, method, path, caller).await;
            assert_eq!(status, wanted, "{method} {path} {caller:?}");
            let named = match status {
                401 => "unauthorized",
                403 => "forbidden",
                _ => "",
            };
            assert_eq!(code, named);
        }
    }
}

#[tokio::test]
async fn without_keys_whoever_reaches_this_machine_may_do_everything() {
    let server = Server::start().await;
    for (method, path) in ROUTES {
        let (status, _) = ask(&server, method, path, None).await;
        assert!((200..300).contains(&status), "{method} {path}: {status}");
    }
}

#[tokio::test]
async fn other_methods_are_refused_with_those_that_are_taken() {
    let server = Server::start().await;
    for path in ["/api/v1/entries", "/api/v1/facets", "/healthz", "/readyz", "/metrics"] {
        for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
            let answer = server.ask(method, path, &[]).await;
            assert_eq!((answer.status, answer.problem().as_str()), (405, "method_not_allowed"));
            let allowed =
                if path == "/api/v1/entries" { "allow: post,get,head" } else { "allow: get,head" };
            assert!(answer.has(allowed), "{method} {path}: {answer:?}");
        }
    }
    let answer = server.get("/api/v1/nothing").await;
    assert_eq!((answer.status, answer.problem().as_str()), (404, "no_route"));
}

#[tokio::test]
async fn an_unknown_caller_does_not_learn_which_paths_there_are() {
    let server = Server::with(memory(), Setup { keys: keys(), ..Setup::default() }).await;
    for (method, path) in [("GET", "/api/v1/nothing"), ("DELETE", "/api/v1/facets")] {
        assert_eq!(ask(&server, method, path, None).await.0, 401, "{path}");
    }
}

#[tokio::test]
async fn a_name_that_is_not_this_machines_is_not_answered() {
    let server = Server::start().await;
    let raw = |host: &str| format!("GET /healthz HTTP/1.1\r\n{host}connection: close\r\n\r\n");
    let answer = server.raw(raw("host: evil.example\r\n").as_bytes()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (403, "host_not_allowed"));
    let answer = server.raw(raw("").as_bytes()).await;
    assert_eq!((answer.status, answer.problem().as_str()), (400, "bad_request"));
    let address = format!("host: {}\r\n", server.address);
    assert_eq!(server.raw(raw(&address).as_bytes()).await.status, 200);
}

#[tokio::test]
async fn a_host_without_a_recorder_has_no_metrics() {
    let server = Server::with(memory(), Setup { metrics: false, ..Setup::default() }).await;
    let answer = server.get("/metrics").await;
    assert_eq!((answer.status, answer.problem().as_str()), (404, "no_metrics"));
}

#[tokio::test]
async fn metrics_say_what_the_store_holds() {
    let server = Server::start().await;
    assert_eq!(server.post_json(&op(1)).await.status, 201);
    let answer = server.get("/metrics").await;
    assert!(answer.has("content-type: text/plain; version=0.0.4"), "{answer:?}");
    for line in [
        "baldur_store_up 1",
        "baldur_store_entries{status=\"pending\"} 1",
        "baldur_store_entries{status=\"resolved\"} 0",
        "baldur_store_live_entries{domain=\"payment\"} 1",
        "baldur_store_unsealed_records 1",
        "# TYPE baldur_capture_answers_total counter",
    ] {
        assert!(answer.body.lines().any(|it| it == line), "{line} in {}", answer.body);
    }
}

#[tokio::test]
async fn a_host_mounts_the_routes_below_a_path_of_its_own() {
    let mut server = Server::with(memory(), Setup { keys: keys(), ..Setup::default() }).await;
    let app = axum::Router::new().nest("/baldur", baldur_http::router(server.state.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    server.address = listener.local_addr().expect("bound");
    let host = tokio::spawn(async { axum::serve(listener, app).await });
    for (path, key, wanted) in [
        ("/baldur/healthz", None, 200),
        ("/baldur/readyz", None, 200),
        ("/baldur/api/v1/facets", None, 401),
        ("/baldur/api/v1/facets", Some(READ_KEY), 200),
        ("/baldur/nothing", Some(READ_KEY), 404),
    ] {
        assert_eq!(ask(&server, "GET", path, key).await.0, wanted, "{path}");
    }
    host.abort();
}
