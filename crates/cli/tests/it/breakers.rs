//! `breakers`.

use crate::{Bench, json};

fn listed(bench: &Bench) -> Vec<serde_json::Value> {
    bench.ok(&["breakers", "list", "--json"]).lines().map(json).collect()
}

#[test]
fn orders_are_given_listed_and_lifted() {
    let bench = Bench::new();
    let none = bench.run(&["breakers", "list"]);
    let shown = (none.code, none.out.as_str(), none.err.as_str());
    assert_eq!(shown, (0, "", "no process has shared a breaker\n"));

    let opened = bench.run(&[
        "breakers",
        "open",
        "gateway",
        "--for",
        "10m",
        "--reason",
        "planned work",
        "--json",
    ]);
    assert_eq!(opened.code, 0, "{opened:?}");
    assert!(opened.err.contains("the order waits for one"), "{}", opened.err);
    let breaker = json(opened.out.trim());
    assert_eq!(breaker["state"], "open");
    assert_eq!(breaker["own_state"], "closed");
    assert_eq!(breaker["order"]["state"], "open");
    let remaining = breaker["order"]["remaining"].as_f64().expect("seconds");
    assert!((599.0..=600.0).contains(&remaining), "{remaining}");
    assert_eq!(breaker["changed_by"], "ann");
    assert_eq!(breaker["reason"], "planned work");

    let closed = bench.ok(&["breakers", "close", "gateway", "--actor", "bob"]);
    assert_eq!(closed, "gateway  closed  (closed until lifted)\n");
    bench.ok(&["breakers", "open", "Mail"]);
    let names: Vec<_> = listed(&bench).iter().map(|b| b["name"].clone()).collect();
    assert_eq!(names, ["Mail", "gateway"]);

    let table = bench.ok(&["breakers", "list"]);
    assert!(!table.contains('\u{1b}'), "{table}");
    let lines: Vec<&str> = table.lines().collect();
    let column = lines[0].find("STATE").expect("a header");
    assert!(lines[1][column..].starts_with("open "), "{table}");
    assert!(lines[2][column..].starts_with("closed "), "{table}");
    assert!(lines[2].contains("closed until lifted") && lines[2].contains("bob"), "{table}");
    assert!(bench.ok(&["breakers", "list", "--color", "always"]).contains('\u{1b}'));

    let auto = bench.ok(&["breakers", "auto", "gateway"]);
    assert_eq!(auto, "gateway  closed  (auto)\n");
    assert!(listed(&bench)[1].get("order").is_none());
    assert_eq!(listed(&bench)[1]["version"], 3);
}

#[test]
fn an_order_for_nobody_can_not_be_lifted() {
    let bench = Bench::new();
    let run = bench.run(&["breakers", "auto", "gateway"]);
    assert_eq!(run.code, 3, "{run:?}");
    assert!(run.err.contains("no process has shared a breaker gateway"), "{}", run.err);
}

#[test]
fn namespaces_have_breakers_of_their_own() {
    let bench = Bench::new();
    bench.ok(&["breakers", "open", "gateway"]);
    assert_eq!(bench.ok(&["breakers", "list", "--json", "--namespace", "other"]), "");
}
