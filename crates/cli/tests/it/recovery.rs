//! `recovery status`.

use crate::{Bench, json};

fn captured(bench: &Bench) {
    let line = |domain: &str, dependency: &str| {
        format!(r#"{{"domain":"{domain}","failure_type":"TIMEOUT","dependency":"{dependency}"}}"#)
    };
    let lines = [
        line("payment", "gateway"),
        line("payment", "gateway"),
        line("mail", "gateway"),
        line("mail", "smtp"),
    ];
    let run = bench.feed(&["capture"], format!("{}\n", lines.join("\n")).as_bytes());
    assert_eq!(run.code, 0, "{}", run.err);
}

#[test]
fn it_tells_what_waits_and_what_is_missing() {
    let bench = Bench::new();
    assert_eq!(bench.ok(&["recovery", "status"]).trim(), "nothing waits for any dependency");
    captured(&bench);
    let settings = bench.path().join("recovery.toml");
    std::fs::write(
        &settings,
        "[handlers.payment]\nurl = 'http://127.0.0.1:9/replay'\nallowed_hosts = ['127.0.0.1:9']\n\
         [recovery.dependencies.ledger]\nenabled = false\n",
    )
    .expect("written");
    let settings = settings.to_str().expect("UTF-8");
    let with =
        |args: &[&str]| bench.ok(&[&["--config", settings, "recovery", "status"], args].concat());
    let lines: Vec<_> = with(&["--json"]).lines().map(json).collect();
    let names: Vec<_> = lines.iter().map(|line| line["dependency"].clone()).collect();
    assert_eq!(names, ["gateway", "smtp", "ledger"]);
    assert_eq!(lines[0]["pending"], 3);
    assert_eq!(lines[0]["armed"], false);
    assert_eq!(lines[0]["missing"], serde_json::json!(["handler"]));
    assert_eq!(
        lines[0]["domains"],
        serde_json::json!([
            { "domain": "mail", "pending": 1, "armed": false, "missing": ["handler"] },
            { "domain": "payment", "pending": 2, "armed": true, "missing": [] },
        ])
    );
    assert_eq!(lines[2]["missing"], serde_json::json!(["policy"]));
    let table = with(&["--dependency", "Gateway"]);
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["DEPENDENCY", "DOMAIN", "WAITING", "STATE", "MISSING"]);
    assert_eq!(rows[1], ["gateway", "mail", "1", "disarmed", "handler"]);
    assert_eq!(rows[2], ["gateway", "payment", "2", "armed"]);
    assert_eq!(rows.len(), 3);
}
