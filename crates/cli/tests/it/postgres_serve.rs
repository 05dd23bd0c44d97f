//! `baldur serve` on a PostgreSQL that goes away and comes back.

use baldur_services::{PostgresOptions, PostgresServer};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::{
    Bench, id, json,
    postgres::sql,
    serve::{Server, logs, op},
    serve_services::target,
};

fn own_server() -> (PostgresServer, Bench) {
    let server = PostgresServer::start(PostgresOptions::default()).expect("it starts");
    let bench = Bench::at(server.url().expose_secret(), "default");
    (server, bench)
}

/// Waits until the store has these entries.
fn stored(server: &Server, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        server.until(&format!("/api/v1/entries/{}", id(n)), |status, _| status == 200);
    }
}

/// Captures it. Whether the store took it in time, or the spool did, is a matter of the machine's load.
fn kept(server: &Server, n: u64) {
    let (status, body) = server.post(&op(n));
    assert!(matches!(status, 201 | 202), "{status} {body}");
    stored(server, [n]);
}

fn parts(server: &Server) -> (u16, Value) {
    let (status, body) = server.get("/readyz");
    let body = json(&body);
    // Trouble has its parts beside its code.
    (status, body["parts"].clone())
}

#[test]
fn entries_are_captured_and_read_over_http_and_it_ends_in_order() {
    let (_postgres, bench) = own_server();
    let server = Server::start(&bench, &[]);
    let (status, body) = server.post(&op(1));
    assert_eq!((status, &json(&body)["durability"]), (201, &"stored".into()));
    let many = format!("{}\n{}\nnot json\n", op(2), op(3));
    let head = "POST /api/v1/entries HTTP/1.1\r\ncontent-type: application/x-ndjson\r\n";
    let (status, body) = server.ask(head, &many);
    assert_eq!(status, 200, "{body}");
    assert_eq!(body.matches("\"durability\":\"stored\"").count(), 2, "{body}");
    assert!(body.contains("not_an_object"), "{body}");
    let listed = json(&server.get("/api/v1/entries").1);
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(3), "{listed}");
    assert_eq!(json(&server.get("/api/v1/facets").1)["by_status"]["pending"], 3);
    assert_eq!(server.get("/healthz").0, 200);
    assert_eq!(
        parts(&server),
        (200, serde_json::json!({"outbox": "ok", "server": "ok", "store": "ok"}))
    );
    let metrics = server.get("/metrics").1;
    for line in ["baldur_store_up 1", "baldur_store_entries{status=\"pending\"} 3"] {
        assert!(metrics.lines().any(|it| it == line), "{line} in {metrics}");
    }
    // What a host captured by SQL becomes an entry.
    let by_sql = op(4);
    sql(&bench.url, &format!("SELECT baldur.capture('{by_sql}')"));
    stored(&server, [4]);
    server.signal("TERM");
    let run = server.ended();
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(bench.count(), 4);
}

#[test]
fn a_server_that_is_killed_meanwhile_loses_nothing() {
    let (mut postgres, bench) = own_server();
    let (_, config) = bench.with_spool();
    let server = Server::start(&bench, &["--config", &config]);
    kept(&server, 1);
    postgres.kill().expect("killed");
    for n in 2..=20 {
        let (status, body) = server.post(&op(n));
        assert_eq!((status, &json(&body)["durability"]), (202, &"spooled".into()), "{body}");
    }
    assert_eq!(server.get("/api/v1/facets").0, 503);
    server.until("/readyz", |_, body| json(body)["parts"]["store"] != "ok");
    let (status, told) = parts(&server);
    assert_eq!((status, &told["spool"]), (200, &"ok".into()), "captures can be kept: {told}");
    postgres.start_again().expect("it starts");
    stored(&server, 1..=20);
    server.until("/readyz", |status, body| status == 200 && json(body)["parts"]["store"] == "ok");
    kept(&server, 21);
    server.signal("TERM");
    let run = server.ended();
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(bench.count(), 21);
    let check = json(&bench.ok(&["store", "check", "--deep", "--json"]));
    assert_eq!(check["ok"], true, "{check}");
}

#[test]
fn without_a_spool_a_killed_server_is_told_and_comes_back() {
    let (mut postgres, bench) = own_server();
    let server = Server::start(&bench, &[]);
    assert_eq!(server.post(&op(1)).0, 201);
    postgres.kill().expect("killed");
    let (status, body) = server.post(&op(2));
    assert_eq!(status, 503, "{body}");
    server.until("/readyz", |status, body| {
        status == 503 && json(body)["parts"]["store"] != "ok" || body.contains("unavailable")
    });
    postgres.start_again().expect("it starts");
    server.until("/readyz", |status, _| status == 200);
    assert_eq!(server.post(&op(2)).0, 201);
    server.signal("TERM");
    assert_eq!(server.ended().code, 0);
    assert_eq!(bench.count(), 2);
}

#[test]
fn with_a_spool_it_starts_before_its_server_and_then_does_everything() {
    let (mut postgres, bench) = own_server();
    // The schema is there, as after an earlier start, and an operation waits.
    bench.ok(&["facets"]);
    sql(&bench.url, &format!("SELECT baldur.capture('{}')", op(100)));
    postgres.kill().expect("killed");
    let target = target();
    let dir = bench.path().join("spool");
    let config = bench.settings(&format!(
        "[spool]\ndir = '{}'\n[recovery]\njitter = '0s'\n\
         [recovery.dependencies.payment-gateway]\nprobe_url = 'http://{target}/health'\n\
         probe_allowed_hosts = ['{target}']\nprobe_interval = '10ms'\nprobe_successes = 1\n\
         [handlers.payment]\nurl = 'http://{target}/replay'\nallowed_hosts = ['{target}']\n",
        dir.display()
    ));
    let server = Server::start(&bench, &["--config", &config]);
    for n in 1..=5 {
        let due = op(n).replace('}', ",\"dependency\":\"payment-gateway\",\"request_data\":{}}");
        let (status, body) = server.post(&due);
        assert_eq!((status, &json(&body)["durability"]), (202, &"spooled".into()), "{body}");
    }
    assert_eq!(parts(&server).0, 200);
    assert_eq!(server.get("/healthz").0, 200);
    assert_eq!(server.get("/api/v1/entries").0, 503);
    assert!(server.get("/metrics").1.lines().any(|line| line == "baldur_store_up 0"));
    postgres.start_again().expect("it starts");
    stored(&server, (1..=5).chain([100]));
    for n in 1..=5 {
        server.until(&format!("/api/v1/entries/{}", id(n)), |_, body| {
            json(body)["entry"]["status"] == "resolved"
        });
    }
    server.signal("TERM");
    let run = server.ended();
    assert_eq!(run.code, 0, "{run:?}");
    let events: Vec<String> = logs(&run).iter().map(|log| log["message"].to_string()).collect();
    for event in ["store.not_reached_at_start", "recovery.sweep_ended"] {
        assert!(events.contains(&format!("\"{event}\"")), "{event} in {run:?}");
    }
    let secret = postgres.password().expose_secret();
    assert!(!run.err.contains(secret) && !run.out.contains(secret), "{run:?}");
}

#[test]
fn without_a_spool_it_does_not_start_before_its_server() {
    let (mut postgres, bench) = own_server();
    postgres.kill().expect("killed");
    let run = bench.run(&["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(run.code, 5, "{run:?}");
    assert!(run.err.contains("is the server running"), "{run:?}");
    assert!(!run.err.contains(postgres.password().expose_secret()), "{run:?}");
    assert_eq!(run.out, "");
}
