//! `replay` and `entries retry`, against a real server.

use std::{
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use axum::{Router, extract::State, http::HeaderMap, routing::post};
use tokio::runtime::Runtime;

use crate::{Bench, id, json};

/// A target on a loopback port, which notes the keys it saw and answers with one status.
pub(crate) struct Target {
    pub(crate) url: String,
    keys: Arc<Mutex<Vec<String>>>,
    _runtime: Runtime,
}

#[derive(Clone)]
struct Answering {
    status: axum::http::StatusCode,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Target {
    pub(crate) fn answering(status: u16) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let keys = Arc::default();
        let state = Answering {
            status: axum::http::StatusCode::from_u16(status).expect("a status"),
            keys: Arc::clone(&keys),
        };
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a loopback port");
        let url = format!("http://{}/pay", listener.local_addr().expect("bound"));
        let app = Router::new().route("/pay", post(answer)).with_state(state);
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, keys, _runtime: runtime }
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys = self.keys.lock().expect("unbroken").clone();
        keys.sort();
        keys
    }
}

async fn answer(State(state): State<Answering>, headers: HeaderMap) -> axum::http::StatusCode {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok()).unwrap_or_default();
    state.keys.lock().expect("unbroken").push(key.to_owned());
    state.status
}

fn captured(bench: &Bench, count: u64) {
    let mut lines = String::new();
    for n in 1..=count {
        let id = id(n);
        let key = format_args!("key-{n:03}");
        writeln!(
            lines,
            r#"{{"id":"{id}","domain":"payment","failure_type":"T","idempotency_key":"{key}"}}"#
        )
        .expect("a string");
    }
    assert_eq!(bench.feed(&["capture"], lines.as_bytes()).code, 0);
}

#[test]
fn what_is_due_is_replayed_under_its_keys() {
    let bench = Bench::new();
    captured(&bench, 20);
    let target = Target::answering(200);
    let dry = bench.run(&[
        "replay",
        "--domain",
        "payment",
        "--handler-url",
        &target.url,
        "--dry-run",
        "--json",
    ]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert_eq!(dry.json_lines().last().expect("a summary")["summary"]["dry_run"], true);
    assert_eq!(target.keys().len(), 0);

    let run = bench.run(&[
        "replay",
        "--domain",
        "payment",
        "--handler-url",
        &target.url,
        "--rate",
        "1000",
        "--ramp",
        "10ms",
        "--concurrency",
        "4",
        "--json",
    ]);
    assert_eq!(run.code, 0, "{run:?}");
    let lines = run.json_lines();
    assert_eq!(lines.len(), 21);
    assert!(
        lines[..20]
            .iter()
            .all(|line| line["outcome"] == "succeeded" && line["status"] == "resolved")
    );
    let summary = &lines[20]["summary"];
    assert_eq!((summary["claimed"].as_u64(), summary["succeeded"].as_u64()), (Some(20), Some(20)));
    assert_eq!(summary["stop"], "drained");
    let expected: Vec<String> = (1..=20).map(|n| format!("key-{n:03}")).collect();
    assert_eq!(target.keys(), expected);

    let idle = bench.run(&["replay", "--domain", "payment", "--handler-url", &target.url]);
    assert_eq!((idle.code, idle.out.as_str()), (0, "nothing was due\n"));
}

#[test]
fn a_limit_and_ids_are_kept_to() {
    let bench = Bench::new();
    captured(&bench, 5);
    let target = Target::answering(200);
    let limited = ["replay", "--domain", "payment", "--handler-url", &target.url, "--limit", "2"];
    assert_eq!(bench.run(&limited).code, 0);
    assert_eq!(target.keys().len(), 2);
    let run = bench.run(&[
        "replay",
        "--id",
        &id(5),
        "--id",
        &id(9),
        "--handler-url",
        &target.url,
        "--json",
    ]);
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(bench.status(&id(5)), "resolved");
    assert_eq!(run.json_lines().last().expect("a summary")["summary"]["refused"], 1);
}

#[test]
fn what_does_not_work_stays_and_the_code_says_so() {
    let bench = Bench::new();
    captured(&bench, 1);
    let broken = Target::answering(500);
    let run = bench.run(&["replay", "--domain", "payment", "--handler-url", &broken.url]);
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.out.contains("1 failed"), "{}", run.out);
    assert!(run.err.contains(&format!("{} failed", id(1))), "{}", run.err);
    assert_eq!(bench.status(&id(1)), "pending");
    let never = Target::answering(422);
    let run = bench.run(&["entries", "retry", &id(1), "--handler-url", &never.url, "--json"]);
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(json(run.out.trim())["outcome"], "permanent");
    assert_eq!(bench.status(&id(1)), "requires_review");

    let works = Target::answering(200);
    let waits = bench.run(&["entries", "retry", &id(1), "--handler-url", &works.url]);
    assert_eq!(waits.code, 4, "{waits:?}");
    let forced =
        ["entries", "retry", &id(1), "--force", "--reason", "fixed", "--handler-url", &works.url];
    assert!(bench.ok(&forced).contains("succeeded  resolved"));
    let unknown = bench.run(&["entries", "retry", &id(9), "--handler-url", &works.url]);
    assert_eq!(unknown.code, 3, "{unknown:?}");
}

#[test]
fn a_domain_without_a_handler_is_refused_with_advice() {
    let bench = Bench::new();
    captured(&bench, 1);
    let run = bench.run(&["replay", "--domain", "payment"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(run.err.contains("--handler-url"), "{}", run.err);
    let run = bench.run(&["replay", "--domain", "payment", "--handler-url", "ftp://h/secret"]);
    assert_eq!(run.code, 2, "{run:?}");
    assert!(!run.err.contains("secret"), "{}", run.err);
    assert_eq!(bench.status(&id(1)), "pending");
}

#[test]
fn handlers_of_the_settings_are_used() {
    let bench = Bench::new();
    captured(&bench, 1);
    let target = Target::answering(200);
    let host = target.url.trim_start_matches("http://").trim_end_matches("/pay");
    let toml = format!("[handlers.payment]\nurl = '{}'\nallowed_hosts = ['{host}']\n", target.url);
    std::fs::write(bench.path().join("b.toml"), toml).expect("written");
    bench.ok(&["replay", "--domain", "payment", "--config", "b.toml"]);
    assert_eq!(target.keys(), ["key-001"]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_finishes_what_has_begun_and_gives_back_the_rest() {
    use std::io::{BufRead as _, BufReader};
    let bench = Bench::new();
    captured(&bench, 50);
    let target = Target::answering(200);
    let mut command = bench.command(&[
        "replay",
        "--domain",
        "payment",
        "--handler-url",
        &target.url,
        "--rate",
        "5",
        "--json",
    ]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("the binary runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    lines.next().expect("one was replayed").expect("read");
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill runs").success());
    let last = lines.map(|line| line.expect("read")).last().expect("a summary");
    assert_eq!(json(&last)["summary"]["stop"], "cancelled");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let facets = json(&bench.ok(&["facets", "--json"]));
    assert_eq!(facets["by_status"]["replaying"], serde_json::Value::Null);
    let pending = facets["by_status"]["pending"].as_u64().expect("some are left");
    let resolved = facets["by_status"]["resolved"].as_u64().expect("some are done");
    assert_eq!(pending + resolved, 50);
    assert_eq!(u64::try_from(target.keys().len()).expect("few"), resolved);
}
