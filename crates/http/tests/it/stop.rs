//! Connections that hang, and a server that stops.

use std::{sync::Arc, time::Duration};

use baldur_http::{Limits, Served, ServerConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Semaphore,
};

use crate::{
    failing::Failing,
    server::{Answer, NEVER, Server, Setup, head, memory, op},
};

#[tokio::test]
async fn a_head_that_does_not_end_is_not_waited_for() {
    let config =
        ServerConfig { header_timeout: Duration::from_millis(50), ..ServerConfig::default() };
    let server = Server::with(memory(), Setup { config, ..Setup::default() }).await;
    for head in ["", "GET /healthz HTTP/1.1\r\nhost: local"] {
        let mut stream = server.connect().await;
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        // The end of this read is the fact: the server closed.
        let _ = stream.read_to_end(&mut answer).await;
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{head}");
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = Server::start().await;
    let long = format!("x-long: {}", "x".repeat(40 << 10));
    let answer = server.ask("GET", "/healthz", &[&long]).await;
    assert_eq!(answer.status, 431, "{answer:?}");
}

#[tokio::test]
async fn so_many_connections_and_no_more() {
    let config = ServerConfig { connections: 1, header_timeout: NEVER, ..ServerConfig::default() };
    let server = Server::with(memory(), Setup { config, ..Setup::default() }).await;
    let mut first = server.connect().await;
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.expect("sent");
    let mut begun = [0; 12];
    first.read_exact(&mut begun).await.expect("answered");
    assert_eq!(&begun, b"HTTP/1.1 200");
    let mut second = server.connect().await;
    let mut answer = Vec::new();
    second.read_to_end(&mut answer).await.expect("readable");
    let answer = Answer::parse(&answer);
    assert_eq!((answer.status, answer.problem().as_str()), (503, "overloaded"));
    drop(first);
    while server.get("/healthz").await.status != 200 {}
}

#[tokio::test]
async fn requests_that_are_under_way_are_finished() {
    let gate = Arc::new(Semaphore::new(0));
    let store = Failing::gated(memory(), Arc::clone(&gate));
    let config = ServerConfig { grace: NEVER, ..ServerConfig::default() };
    let mut server = Server::with(store.clone(), Setup { config, ..Setup::default() }).await;
    // Idle connections are no requests: they don't hold the server up.
    let _idle = server.connect().await;
    let mut stream = server.connect().await;
    let body = op(1);
    let request = head("POST", "/api/v1/entries", &["content-type: application/json"])
        + &format!("content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.expect("sent");
    store.waiting.acquire().await.expect("open").forget();
    server.begin_stop();
    // No connection is taken any more.
    while tokio::net::TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("answered, then closed");
    assert_eq!(Answer::parse(&answer).status, 201);
    assert_eq!(server.stopped().await, Served { cut: 0 });
}

#[tokio::test]
async fn a_stream_without_an_end_is_told_that_the_server_stops() {
    let config = ServerConfig { grace: Duration::from_millis(400), ..ServerConfig::default() };
    let limits = Limits { request_timeout: NEVER, ..Limits::default() };
    let setup = Setup { limits, config, ..Setup::default() };
    let mut server = Server::with(memory(), setup).await;
    let mut stream = server.connect().await;
    let kind = ["content-type: application/x-ndjson", "transfer-encoding: chunked"];
    let body = op(1) + "\n";
    let request =
        head("POST", "/api/v1/entries", &kind) + &format!("\r\n{:x}\r\n{body}\r\n", body.len());
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).await.expect("answered");
    server.begin_stop();
    let mut answer = begun.to_vec();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = Answer::parse(&answer);
    let lines = answer.lines();
    assert!(answer.whole && lines.len() == 2, "{answer:?}");
    assert_eq!(lines[1]["error"]["code"], "shutting_down");
    assert_eq!(server.stopped().await, Served { cut: 0 });
}

#[tokio::test]
async fn what_does_not_finish_is_cut_off_and_counted() {
    let store = Failing::gated(memory(), Arc::new(Semaphore::new(0)));
    let config = ServerConfig { grace: Duration::from_millis(50), ..ServerConfig::default() };
    let limits = Limits { request_timeout: NEVER, ..Limits::default() };
    let setup = Setup { limits, config, ..Setup::default() };
    let mut server = Server::with(store.clone(), setup).await;
    let mut stream = server.connect().await;
    let body = op(1);
    let request = head("POST", "/api/v1/entries", &["content-type: application/json"])
        + &format!("content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.expect("sent");
    store.waiting.acquire().await.expect("open").forget();
    server.begin_stop();
    assert_eq!(server.stopped().await, Served { cut: 1 });
}
