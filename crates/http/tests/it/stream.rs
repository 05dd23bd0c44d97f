//! Streams of operations.

use std::{sync::Arc, time::Duration};

use baldur_core::{Count, Filter, port::EntryReader};
use baldur_http::Limits;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::Semaphore,
};

use crate::{
    failing::Failing,
    server::{Answer, NEVER, Server, Setup, head, memory, op},
};

const KIND: [&str; 2] = ["content-type: application/x-ndjson", "transfer-encoding: chunked"];

/// A stream that was begun: chunks can be sent.
async fn begin(server: &Server) -> TcpStream {
    let mut stream = server.connect().await;
    let head = head("POST", "/api/v1/entries", &KIND) + "connection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream
}

async fn send(stream: &mut TcpStream, text: &str) {
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    stream.write_all(chunk.as_bytes()).await.expect("sent");
}

async fn rest(mut stream: TcpStream) -> Answer {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    Answer::parse(&answer)
}

async fn kept(store: &impl EntryReader) -> Count {
    store.count(Filter::default(), 1_000_000).await.expect("readable")
}

/// Waits until the store holds this many.
async fn holds(store: &impl EntryReader, wanted: u64) {
    while kept(store).await != Count::Exactly(wanted) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_lines_are_answered_in_order() {
    let store = memory();
    let server = Server::with(store.clone(), Setup::default()).await;
    let lines: Vec<String> = (0..10_000).map(op).collect();
    let answer = server.post_lines(&lines.join("\n")).await;
    assert!(answer.status == 200 && answer.whole, "{}", answer.head);
    assert!(answer.has("content-type: application/x-ndjson"));
    let answers = answer.lines();
    assert_eq!(answers.len(), 10_000);
    for (n, answer) in answers.iter().enumerate() {
        let id = format!("01890a5d-ac96-774b-bcce-{n:012x}");
        let wanted = json!({"line": n + 1, "id": id, "durability": "stored", "occurrence": 1, "disposition": "new"});
        assert_eq!(*answer, wanted);
    }
    assert_eq!(kept(&store).await, Count::Exactly(10_000));
}

#[tokio::test]
async fn a_line_that_may_have_been_kept_is_answered_with_its_id() {
    let store = Failing::new(memory());
    let limits = Limits { request_timeout: Duration::from_millis(500), ..Limits::default() };
    let server = Server::with(store.clone(), Setup { limits, ..Setup::default() }).await;
    let mut stream = begin(&server).await;
    let line = "{\"domain\":\"a\",\"failure_type\":\"b\"}\n";
    send(&mut stream, line).await;
    holds(&store, 1).await;
    store.silent();
    send(&mut stream, line).await;
    stream.write_all(b"0\r\n\r\n").await.expect("sent");
    let answers = rest(stream).await.lines();
    let error = &answers[1]["error"];
    assert_eq!(
        (error["code"].as_str(), error["outcome"].as_str()),
        (Some("timeout"), Some("unknown"))
    );
    assert!(answers[1]["id"].as_str().is_some_and(|id| id.len() == 36), "{answers:?}");
}

#[tokio::test]
async fn a_bad_line_fails_alone_with_its_number_and_code() {
    let server = Server::start().await;
    let lines = [
        op(1),
        String::new(),
        "secret".to_owned(),
        r#"{"domain":"a"}"#.to_owned(),
        op(1),
        r#"{"domain":"a","failure_type":"b","max_retries":0}"#.to_owned(),
        "x".repeat((16 << 20) + 1),
        op(2),
    ];
    let answer = server.post_lines(&lines.join("\r\n")).await;
    let told: Vec<(u64, String)> = answer
        .lines()
        .iter()
        .map(|line| {
            let word = line["error"]["code"].as_str().or(line["disposition"].as_str());
            (line["line"].as_u64().expect("a number"), word.expect("a word").to_owned())
        })
        .collect();
    let wanted = [
        (1, "new"),
        (3, "not_an_object"),
        (4, "missing_field"),
        (5, "repeated"),
        (6, "max_retries_out_of_range"),
        (7, "line_too_long"),
        (8, "new"),
    ];
    assert_eq!(told, wanted.map(|(line, word)| (line, word.to_owned())));
    assert!(!answer.body.contains("secret"), "{answer:?}");
}

#[tokio::test]
async fn a_body_without_operations_is_refused() {
    let server = Server::start().await;
    for body in ["", "\n\n  \n"] {
        let answer = server.post_lines(body).await;
        assert_eq!((answer.status, answer.problem().as_str()), (400, "empty_body"), "{body:?}");
    }
}

#[tokio::test]
async fn a_slow_sender_is_answered_line_by_line() {
    let server = Server::start().await;
    let mut stream = begin(&server).await;
    send(&mut stream, &(op(1) + "\n")).await;
    let mut lines = BufReader::new(stream).lines();
    // The answer to the first line is there before the second is sent.
    while !lines.next_line().await.expect("readable").expect("more").contains("\"line\":1") {}
    let mut reader = lines.into_inner();
    send(reader.get_mut(), &(op(2) + "\n")).await;
    reader.get_mut().write_all(b"0\r\n\r\n").await.expect("sent");
    let mut end = String::new();
    reader.read_to_string(&mut end).await.expect("readable");
    assert!(end.contains("\"line\":2") && end.ends_with("0\r\n\r\n"), "{end}");
}

#[tokio::test]
async fn a_caller_that_leaves_keeps_what_it_sent_whole_and_nothing_of_a_torn_line() {
    let store = memory();
    let limits = Limits { streams: 1, request_timeout: NEVER, ..Limits::default() };
    let server = Server::with(store.clone(), Setup { limits, ..Setup::default() }).await;
    let mut stream = begin(&server).await;
    send(&mut stream, &format!("{}\n{}\n{}", op(1), op(2), op(3))).await;
    holds(&store, 2).await;
    drop(stream);
    // The one place for streams is free again: nothing of the first one lingers.
    loop {
        let answer = server.post_lines(&op(4)).await;
        if answer.status == 200 {
            break;
        }
        assert_eq!(answer.problem(), "too_many_streams");
    }
    assert_eq!(kept(&store).await, Count::Exactly(3));
}

#[tokio::test]
async fn so_many_streams_and_no_more() {
    let store = memory();
    let limits = Limits { streams: 1, ..Limits::default() };
    let server = Server::with(store.clone(), Setup { limits, ..Setup::default() }).await;
    let mut stream = begin(&server).await;
    send(&mut stream, &(op(1) + "\n")).await;
    holds(&store, 1).await;
    let answer = server.post_lines(&op(2)).await;
    assert_eq!((answer.status, answer.problem().as_str()), (429, "too_many_streams"));
    assert!(answer.has("retry-after: 1"));
    stream.write_all(b"0\r\n\r\n").await.expect("sent");
    assert_eq!(rest(stream).await.lines().len(), 1);
    assert_eq!(server.post_lines(&op(2)).await.status, 200);
}

#[tokio::test]
async fn a_line_that_does_not_end_is_told_so() {
    let limits = Limits { request_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = Server::with(memory(), Setup { limits, ..Setup::default() }).await;
    let mut stream = begin(&server).await;
    send(&mut stream, &(op(1) + "\n{")).await;
    let answer = rest(stream).await;
    let lines = answer.lines();
    assert!(answer.whole && lines.len() == 2, "{answer:?}");
    assert_eq!(
        (&lines[1]["line"], &lines[1]["error"]["code"]),
        (&json!(2), &json!("request_timeout"))
    );
    let mut stream = begin(&server).await;
    send(&mut stream, "{").await;
    let answer = rest(stream).await;
    assert_eq!((answer.status, answer.problem().as_str()), (408, "request_timeout"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_answers_is_not_read_from_and_is_cut_off() {
    let limits =
        Limits { streams: 1, request_timeout: Duration::from_millis(200), ..Limits::default() };
    let server = Server::with(memory(), Setup { limits, ..Setup::default() }).await;
    let mut stream = begin(&server).await;
    let lines = "x\n".repeat(10_000);
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    // The server stops reading, then breaks the connection: without a bound this would never end.
    while stream.write_all(chunk.as_bytes()).await.is_ok() {}
    loop {
        let answer = server.post_lines(&op(4)).await;
        if answer.status == 200 {
            break;
        }
        assert_eq!(answer.problem(), "too_many_streams");
    }
}

#[tokio::test]
async fn a_store_that_fails_on_the_way_is_told_for_each_line_that_it_did_not_keep() {
    let store = Failing::new(memory());
    let server = Server::with(store.clone(), Setup::default()).await;
    store.down_after(2);
    let mut stream = begin(&server).await;
    send(&mut stream, &format!("{}\n{}\n", op(1), op(2))).await;
    let mut lines = BufReader::new(stream).lines();
    while !lines.next_line().await.expect("readable").expect("more").contains("\"line\":2") {}
    let mut reader = lines.into_inner();
    send(reader.get_mut(), &format!("{}\n", op(3))).await;
    let mut line = String::new();
    while !line.contains("\"line\":3") {
        line.clear();
        reader.read_line(&mut line).await.expect("readable");
    }
    assert!(line.contains("\"code\":\"unavailable\"") && !line.contains("secret"), "{line}");
    send(reader.get_mut(), &format!("{}\nbad\n", op(4))).await;
    reader.get_mut().write_all(b"0\r\n\r\n").await.expect("sent");
    let mut end = String::new();
    reader.read_to_string(&mut end).await.expect("readable");
    assert!(end.contains("\"line\":4") && end.contains("not tried"), "{end}");
    assert!(end.contains("\"line\":5") && end.contains("not_an_object"), "{end}");
    assert!(end.ends_with("0\r\n\r\n"), "{end}");
}

#[tokio::test]
async fn a_group_is_kept_to_its_end_although_the_caller_left() {
    let (inner, gate) = (memory(), Arc::new(Semaphore::new(0)));
    let store = Failing::gated(inner.clone(), Arc::clone(&gate));
    let server = Server::with(store.clone(), Setup::default()).await;
    let mut stream = begin(&server).await;
    send(&mut stream, &(op(1) + "\n")).await;
    store.waiting.acquire().await.expect("open").forget();
    drop(stream);
    gate.add_permits(1);
    holds(&inner, 1).await;
}
