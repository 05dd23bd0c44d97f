//! `entries` and `facets`.

use crate::{Bench, id, json};

fn three(bench: &Bench) {
    let input = format!(
        "{}\n{}\n{}\n",
        format_args!(
            r#"{{"id":"{}","domain":"payment","failure_type":"TIMEOUT","dependency":"gateway","entity_type":"order","entity_id":"1","labels":{{"tenant":"a"}},"user_id":"u","order_key":"k","dedup_key":"d","idempotency_key":"i","origin_service":"checkout"}}"#,
            id(1)
        ),
        format_args!(r#"{{"id":"{}","domain":"payment","failure_type":"REFUSED"}}"#, id(2)),
        format_args!(r#"{{"id":"{}","domain":"mail","failure_type":"TIMEOUT"}}"#, id(3)),
    );
    let run = bench.feed(&["capture"], input.as_bytes());
    assert_eq!(run.code, 0, "{}", run.err);
}

#[test]
fn an_evicted_entry_is_told_with_when_and_why() {
    let bench = Bench::new();
    let settings = "[overflow.domains.payment]\nlimit = 1\nwhen_full = 'drop_oldest'\n";
    std::fs::write(bench.path().join("limits.toml"), settings).expect("written");
    let line = |n| format!(r#"{{"id":"{}","domain":"payment","failure_type":"TIMEOUT"}}"#, id(n));
    let input = format!("{}\n{}\n", line(1), line(2));
    let run = bench.feed(&["--config", "limits.toml", "capture"], input.as_bytes());
    assert_eq!(run.code, 0, "{run:?}");
    let shown = bench.run(&["entries", "show", &id(1)]);
    assert_eq!(shown.code, 3, "{shown:?}");
    let because = format!("made room for {}: 1 live entries in its domain, limit 1", id(2));
    assert!(shown.err.contains(&format!("entry {} was evicted at 20", id(1))), "{shown:?}");
    assert!(shown.err.contains(&because), "{shown:?}");
    assert!(shown.out.contains("evidence: 2"), "{shown:?}");
    let shown = json(bench.run(&["entries", "show", "--json", &id(1)]).out.trim());
    assert_eq!(shown["entry"], serde_json::Value::Null);
    assert_eq!(shown["evidence"][1]["event"], "evicted");
    assert_eq!(shown["evidence"][1]["reason"], because);
    let unknown = bench.run(&["entries", "show", &id(9)]);
    assert!(unknown.err.contains("no entry"), "{unknown:?}");
    assert_eq!(bench.run(&["entries", "show", &id(2)]).code, 0);
}

fn ids(bench: &Bench, args: &[&str]) -> Vec<String> {
    let out = bench.ok(&[&["entries", "list", "--json", "--oldest-first"], args].concat());
    out.lines().map(|line| json(line)["id"].as_str().expect("an id").to_owned()).collect()
}

#[test]
fn every_filter_chooses() {
    let bench = Bench::new();
    three(&bench);
    bench.ok(&["entries", "reject", &id(3), "--note", "spam"]);
    let fingerprint = json(bench.ok(&["entries", "list", "--json", "--entity", "order:1"]).trim());
    let fingerprint = fingerprint["fingerprint"].as_str().expect("a fingerprint").to_owned();
    for filter in [
        ["--entity", "order:1"],
        ["--dependency", "gateway"],
        // As a host spelled it; capture keeps it in lower case.
        ["--dependency", " Gateway"],
        ["--origin", "checkout"],
        ["--label", "tenant=a"],
        ["--user", "u"],
        ["--order-key", "k"],
        ["--dedup-key", "d"],
        ["--idempotency-key", "i"],
        ["--fingerprint", &fingerprint],
    ] {
        assert_eq!(ids(&bench, &filter), [id(1)], "{filter:?}");
    }
    assert_eq!(ids(&bench, &["--status", "rejected"]), [id(3)]);
    assert_eq!(ids(&bench, &["--status", "rejected", "--status", "pending"]).len(), 3);
    assert_eq!(ids(&bench, &["--domain", "payment"]), [id(1), id(2)]);
    assert_eq!(ids(&bench, &["--failure-type", "TIMEOUT"]), [id(1), id(3)]);
    assert_eq!(ids(&bench, &["--since", "1h"]).len(), 3);
    assert_eq!(ids(&bench, &["--until", "1h"]).len(), 0);
    assert_eq!(
        ids(&bench, &["--since", "2020-01-01T00:00:00Z", "--until", "2020-01-02T00:00:00Z"]).len(),
        0
    );
}

#[test]
fn a_cursor_of_any_line_goes_on_after_it() {
    let bench = Bench::new();
    three(&bench);
    let first = json(bench.ok(&["entries", "list", "--json", "--limit", "1"]).trim());
    assert_eq!(first["id"], id(3));
    let cursor = first["cursor"].as_str().expect("a cursor");
    let rest = bench.ok(&["entries", "list", "--json", "--after", cursor]);
    let rest: Vec<_> = rest.lines().map(|line| json(line)["id"].clone()).collect();
    assert_eq!(rest, [id(2), id(1)]);
    let wrong_way = bench.run(&["entries", "list", "--after", cursor, "--oldest-first"]);
    assert_eq!(wrong_way.code, 2, "{wrong_way:?}");
}

#[test]
fn a_piped_table_is_plain_and_aligned() {
    let bench = Bench::new();
    three(&bench);
    let table = bench.run(&["entries", "list", "--limit", "2"]);
    assert!(!table.out.contains('\u{1b}'), "{}", table.out);
    let lines: Vec<&str> = table.out.lines().collect();
    assert_eq!(lines.len(), 3);
    let column = lines[0].find("STATUS").expect("a header");
    assert!(lines[1..].iter().all(|line| line[column..].starts_with("pending ")));
    assert!(table.err.starts_with("there are more: --after "), "{}", table.err);
    let colored = bench.ok(&["entries", "list", "--color", "always"]);
    assert!(colored.contains('\u{1b}'));
    let none = bench.run(&["entries", "list", "--domain", "none"]);
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (0, "", "no entries match\n"));
}

#[test]
fn entries_are_shown_with_their_payload_and_evidence() {
    let bench = Bench::new();
    let entry = bench.captured("payment");
    let page = bench.ok(&["entries", "show", &entry]);
    for part in ["pending", "{\"n\":1}", "evidence: 1", "captured", "ann"] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let run = bench.run(&["entries", "show", &entry, &id(9)]);
    assert_eq!(run.code, 3);
    assert!(run.out.contains(&entry));
    assert_eq!(run.err, format!("error: no entry {}\n", id(9)));
}

#[test]
fn what_others_wrote_cannot_steer_the_terminal() {
    let bench = Bench::new();
    let text = r#"{"domain":"a","failure_type":"b","error_message":"x\u001b[2Jy\rz"}"#;
    bench.feed(&["capture"], text.as_bytes());
    let list = bench.ok(&["entries", "list"]);
    assert!(!list.contains('\u{1b}') && !list.contains('\r'), "{list:?}");
}

#[test]
fn entries_are_resolved_rejected_and_reopened_with_evidence() {
    let bench = Bench::new();
    let entry = bench.captured("payment");
    let done = bench.ok(&[
        "entries",
        "resolve",
        &entry,
        "--note",
        "paid by hand",
        "--actor",
        "bob",
        "--json",
    ]);
    assert_eq!(json(&done), json(&format!(r#"{{"id":"{entry}","status":"resolved"}}"#)));
    let again = bench.run(&["entries", "resolve", &entry]);
    assert_eq!(again.code, 4);
    assert!(again.err.contains("is resolved"), "{}", again.err);
    bench.ok(&["entries", "reopen", &entry, "--reason", "it was not"]);
    bench.ok(&["entries", "reject", &entry]);
    assert_eq!(bench.status(&entry), "rejected");
    let record = json(&bench.ok(&["entries", "show", &entry, "--json"]));
    let events: Vec<_> = record["evidence"]
        .as_array()
        .expect("evidence")
        .iter()
        .map(|e| e["event"].clone())
        .collect();
    assert_eq!(events, ["captured", "resolve", "reopen", "reject"]);
    assert_eq!(record["evidence"][1]["actor"], "bob");
    assert_eq!(record["evidence"][2]["actor"], "ann");
    assert_eq!(record["evidence"][2]["reason"], "it was not");
}

#[test]
fn several_entries_are_answered_each_and_the_code_is_theirs() {
    let bench = Bench::new();
    let entry = bench.captured("payment");
    let run = bench.run(&["entries", "resolve", &entry, &id(9), "--json"]);
    assert_eq!(run.code, 3);
    let answers = run.json_lines();
    assert_eq!(answers[0]["status"], "resolved");
    assert_eq!(answers[1]["error"]["code"], "not_found");
    // One is unknown, one does not allow it: the codes differ, so the general one is left.
    let mixed = bench.run(&["entries", "resolve", &entry, &id(9), "--json"]);
    assert_eq!(mixed.code, 1);
    assert_eq!(mixed.json_lines()[0]["error"]["code"], "not_allowed");
}

#[test]
fn facets_count_by_each_dimension() {
    let bench = Bench::new();
    three(&bench);
    bench.ok(&["entries", "resolve", &id(3)]);
    let facets = json(&bench.ok(&["facets", "--json"]));
    assert_eq!(
        facets,
        json(
            r#"{"by_status":{"pending":2,"resolved":1},"by_domain":{"mail":1,"payment":2},
                "by_failure_type":{"REFUSED":1,"TIMEOUT":2},"by_dependency":{"gateway":1,"unknown":2}}"#
        )
    );
    let scoped = json(&bench.ok(&["facets", "--status", "pending", "--domain", "mail", "--json"]));
    assert_eq!(scoped["by_domain"], json(r#"{"payment":2}"#));
    let table = bench.ok(&["facets"]);
    assert!(table.starts_with("BY "), "{table}");
}
