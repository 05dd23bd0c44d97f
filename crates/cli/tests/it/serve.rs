//! `baldur serve`, as a process of its own that gets real signals.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread::{JoinHandle, spawn},
};

use serde_json::Value;

use crate::{Bench, Run, id, json};

const KEYS: &str = "[serve.api_keys.checkout]\nkey = 'checkout-checkout-checkout'\nroles = ['capture']\n\
                    [serve.api_keys.board]\nkey = 'board-board-board-board'\nroles = ['read']\n";

/// A running server.
pub(crate) struct Server {
    child: Child,
    address: String,
    /// Reads what it logs as it comes: a full pipe would stop the server.
    log: JoinHandle<Vec<u8>>,
}

impl Server {
    pub(crate) fn start(bench: &Bench, args: &[&str]) -> Self {
        Self::run(bench.command(&[&["serve", "--listen", "127.0.0.1:0"], args].concat()))
    }

    pub(crate) fn run(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary runs");
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut line).expect("it says where it is");
        let listening = json(&line)["listening"].as_str().expect("an address").to_owned();
        let address = listening.strip_prefix("http://").expect("a URL").to_owned();
        let mut err = child.stderr.take().expect("piped");
        let log = spawn(move || {
            let mut log = Vec::new();
            err.read_to_end(&mut log).expect("read");
            log
        });
        Self { child, address, log }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(&self.address).expect("it listens")
    }

    pub(crate) fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let mut stream = self.connect();
        let request = format!(
            "{head}host: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("sent");
        read(stream)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\n"), "")
    }

    pub(crate) fn post(&self, body: &str) -> (u16, String) {
        self.post_as("sync", body)
    }

    pub(crate) fn post_as(&self, mode: &str, body: &str) -> (u16, String) {
        let head = format!(
            "POST /api/v1/entries?mode={mode} HTTP/1.1\r\ncontent-type: application/json\r\n"
        );
        self.ask(&head, body)
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn until(&self, path: &str, wanted: impl Fn(u16, &str) -> bool) {
        loop {
            let (status, body) = self.get(path);
            if wanted(status, &body) {
                return;
            }
            std::thread::yield_now();
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status().expect("kill runs");
        assert!(sent.success());
    }

    /// Waits for the end.
    pub(crate) fn ended(self) -> Run {
        let mut output = self.child.wait_with_output().expect("it ends");
        output.stderr = self.log.join().expect("no panic");
        Run::of(output)
    }
}

fn read(mut stream: TcpStream) -> (u16, String) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").expect("a head").1.to_owned();
    (status, body)
}

pub(crate) fn op(n: u64) -> String {
    format!(r#"{{"id":"{}","domain":"payment","failure_type":"TIMEOUT"}}"#, id(n))
}

pub(crate) fn logs(run: &Run) -> Vec<Value> {
    run.err.lines().map(json).collect()
}

#[test]
fn what_was_captured_over_http_is_there_after_the_end() {
    let bench = Bench::new();
    for signal in ["TERM", "INT"] {
        let server = Server::start(&bench, &[]);
        assert_eq!(server.get("/readyz").0, 200);
        let n = if signal == "TERM" { 1 } else { 2 };
        assert_eq!(server.post(&op(n)).0, 201);
        server.signal(signal);
        let run = server.ended();
        assert_eq!(run.code, 0, "{run:?}");
        let events: Vec<Value> = logs(&run).iter().map(|log| log["message"].clone()).collect();
        assert_eq!(events, ["serve.started", "serve.stopping", "serve.stopped"], "{run:?}");
        assert_eq!(bench.status(&id(n)), "pending");
    }
    assert_eq!(bench.count(), 2);
}

#[test]
fn a_request_that_is_under_way_is_finished_after_the_signal() {
    let bench = Bench::new();
    let server = Server::start(&bench, &[]);
    let mut stream = server.connect();
    let body = op(1);
    let head = format!(
        "POST /api/v1/entries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("sent");
    // The server asks for the body: from here on the request is under way.
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).expect("asked");
    assert!(go_on.starts_with(b"HTTP/1.1 100 Continue"), "{go_on:?}");
    server.signal("TERM");
    while TcpStream::connect(&server.address).is_ok() {}
    stream.write_all(body.as_bytes()).expect("sent");
    assert_eq!(read(stream).0, 201);
    let run = server.ended();
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(bench.status(&id(1)), "pending");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let bench = Bench::new();
    let server = Server::start(&bench, &[]);
    let mut stream = server.connect();
    let head = "POST /api/v1/entries HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                expect: 100-continue\r\ncontent-length: 10\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    stream.read_exact(&mut [0; 25]).expect("asked");
    server.signal("TERM");
    while TcpStream::connect(&server.address).is_ok() {}
    server.signal("TERM");
    let run = server.ended();
    assert_eq!(run.code, 130, "{run:?}");
    assert!(run.err.contains("serve.interrupted"), "{run:?}");
}

#[test]
fn an_address_that_others_reach_is_refused_without_keys_and_nothing_is_created() {
    let bench = Bench::new();
    let run = bench.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.err.contains("no API key is set") && run.err.contains("--listen"), "{run:?}");
    assert!(!bench.path().join("baldur.db").exists());
}

#[test]
fn keys_from_settings_are_asked_for_and_named_in_the_evidence_and_shown_nowhere() {
    let bench = Bench::new();
    let path = bench.path().join("baldur.toml");
    std::fs::write(&path, KEYS).expect("written");
    let config = path.to_str().expect("Unicode");
    let shown = bench.ok(&["config", "--config", config]);
    assert!(shown.contains("checkout") && !shown.contains("checkout-"), "{shown}");
    let server = Server::start(&bench, &["--config", config]);
    assert_eq!(server.post(&op(1)).0, 401);
    let key = "x-api-key: checkout-checkout-checkout\r\n";
    let head = format!("POST /api/v1/entries HTTP/1.1\r\ncontent-type: application/json\r\n{key}");
    assert_eq!(server.ask(&head, &op(1)).0, 201);
    assert_eq!(server.ask(&format!("GET /api/v1/entries HTTP/1.1\r\n{key}"), "").0, 403);
    assert_eq!(server.get("/metrics").0, 401);
    let board = "GET /metrics HTTP/1.1\r\nauthorization: Bearer board-board-board-board\r\n";
    let (status, text) = server.ask(board, "");
    assert_eq!(status, 200);
    for line in [
        "baldur_store_up 1",
        "baldur_store_entries{status=\"pending\"} 1",
        "baldur_capture_answers_total{domain=\"payment\",answer=\"stored\"} 1",
        "# TYPE baldur_breaker_changes_total counter",
        "# TYPE baldur_http_request_seconds histogram",
        "baldur_http_requests_total{route=\"/api/v1/entries\",method=\"POST\",status=\"4xx\"} 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
    server.signal("TERM");
    let run = server.ended();
    assert!(!run.err.contains("board-board") && !run.err.contains("checkout-"), "{run:?}");
    let record = json(&bench.ok(&["entries", "show", &id(1), "--json"]));
    assert_eq!(record["evidence"][0]["actor"], "checkout");
}

#[test]
fn an_address_that_is_taken_is_told() {
    let bench = Bench::new();
    let server = Server::start(&bench, &["--store", "memory:"]);
    let run = bench.run(&["serve", "--listen", &server.address]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.err.contains("can't be listened on"), "{run:?}");
    server.signal("TERM");
    assert_eq!(server.ended().code, 0);
}

#[test]
fn logs_are_for_people_when_asked_for() {
    let bench = Bench::new();
    let server = Server::start(&bench, &["--log-format", "human"]);
    server.signal("TERM");
    let run = server.ended();
    assert!(run.err.contains("INFO") && run.err.contains("serve.started"), "{run:?}");
}
