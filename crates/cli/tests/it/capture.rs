//! `capture`, one and many.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    process::Stdio,
};

use crate::{Bench, id, json};

fn line(n: u64) -> String {
    format!(
        r#"{{"id":"{}","domain":"payment","failure_type":"TIMEOUT","request_data":{{"n":{n}}}}}"#,
        id(n)
    )
}

#[test]
fn one_entry_is_kept_with_every_option() {
    let bench = Bench::new();
    std::fs::write(bench.path().join("request.json"), r#"{"amount":1999}"#).expect("written");
    let answer = json(&bench.ok(&[
        "capture",
        "--domain",
        "payment",
        "--failure-type",
        "TIMEOUT",
        "--id",
        &id(1),
        "--dependency",
        "gateway",
        "--origin-service",
        "checkout",
        "--entity",
        "order:4711",
        "--user",
        "u-1",
        "--request-data",
        "@request.json",
        "--snapshot-data",
        "[1]",
        "--response-data",
        "\"late\"",
        "--metadata",
        "{\"a\":1}",
        "--entity-refs",
        "{\"b\":2}",
        "--error-code",
        "504",
        "--error-message",
        "too late",
        "--next-action-hint",
        "wait",
        "--idempotency-key",
        "call-1",
        "--dedup-key",
        "dup-1",
        "--order-key",
        "cart-1",
        "--label",
        "tenant=acme",
        "--max-retries",
        "5",
        "--expires-in",
        "1h",
        "--json",
    ]));
    assert_eq!(
        answer,
        json(&format!(
            r#"{{"id":"{}","durability":"stored","occurrence":1,"disposition":"new"}}"#,
            id(1)
        ))
    );
    let entry = json(&bench.ok(&["entries", "show", &id(1), "--json"]))["entry"].take();
    for (field, value) in [
        ("dependency", "gateway"),
        ("origin_service", "checkout"),
        ("entity_type", "order"),
        ("entity_id", "4711"),
        ("user_id", "u-1"),
        ("error_code", "504"),
        ("error_message", "too late"),
        ("next_action_hint", "wait"),
        ("idempotency_key", "call-1"),
        ("dedup_key", "dup-1"),
        ("order_key", "cart-1"),
    ] {
        assert_eq!(entry[field], value, "{field}");
    }
    assert_eq!(entry["request_data"]["amount"], 1999);
    assert_eq!(entry["labels"]["tenant"], "acme");
    assert_eq!(entry["max_retries"], 5);
    assert!(entry["expires_at"].is_string());
}

#[test]
fn every_line_is_answered_and_a_repeated_run_adds_nothing() {
    let bench = Bench::new();
    let mut input = String::new();
    for n in 1..=1_200 {
        writeln!(input, "{}", line(n)).expect("a string");
    }
    let run = bench.feed(&["capture", "--json"], input.as_bytes());
    assert_eq!(run.code, 0, "{}", run.err);
    let answers = run.json_lines();
    assert_eq!(answers.len(), 1_200);
    for (answer, n) in answers.iter().zip(1..) {
        assert_eq!(answer["line"], n);
        assert_eq!(answer["id"], id(n));
        assert_eq!(answer["durability"], "stored");
        assert_eq!(answer["disposition"], "new");
    }
    let again = bench.feed(&["capture", "--json"], input.as_bytes());
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.json_lines().iter().all(|answer| answer["disposition"] == "repeated"));
    assert_eq!(bench.count(), 1_200);
    let people = bench.feed(&["capture"], input.as_bytes());
    assert_eq!(people.out, "captured 0 entries, 1 200 were there before\n");
}

#[test]
fn lines_with_a_dedup_key_make_one_live_entry() {
    let bench = Bench::new();
    let text = r#"{"domain":"payment","failure_type":"TIMEOUT","dedup_key":"d"}"#;
    let run = bench.feed(&["capture", "--json"], format!("{text}\n{text}\n").as_bytes());
    let answers = run.json_lines();
    assert_eq!(answers[0]["id"], answers[1]["id"]);
    assert_eq!(answers[1]["disposition"], "merged");
    assert_eq!(answers[1]["occurrence"], 2);
    assert_eq!(bench.count(), 1);
}

#[test]
fn bad_lines_fail_alone_with_a_code() {
    let bench = Bench::new();
    let mut input = Vec::new();
    let long =
        format!(r#"{{"domain":"a","failure_type":"b","request_data":"{}"}}"#, "x".repeat(1 << 20));
    let endless = "y".repeat((16 << 20) + 1);
    let junk: [&[u8]; 9] = [
        b"not json",
        b"\xff\xfe",
        br#"{"domain":"a"}"#,
        br#"{"domain":"a","failure_type":"b","amount":1}"#,
        br#"{"domain":"a","failure_type":"b","id":"1"}"#,
        br#"{"domain":"a","failure_type":"b","max_retries":-1}"#,
        long.as_bytes(),
        endless.as_bytes(),
        br#"{"domain":"a","failure_type":"b","order_key":""}"#,
    ];
    for (text, n) in junk.iter().zip(1..) {
        input.extend_from_slice(text);
        input.push(b'\n');
        input.extend_from_slice(line(n).as_bytes());
        input.extend_from_slice(b"\n\n");
    }
    let run = bench.feed(&["capture", "--json"], &input);
    assert_eq!(run.code, 1, "{}", run.err);
    let answers = run.json_lines();
    let codes: Vec<&str> = answers.iter().filter_map(|a| a["error"]["code"].as_str()).collect();
    assert_eq!(
        codes,
        [
            "not_an_object",
            "not_utf8",
            "missing_field",
            "unknown_field",
            "bad_id",
            "wrong_type",
            "request_too_large",
            "line_too_long",
            "order_key_invalid"
        ]
    );
    let numbers: Vec<u64> = answers.iter().filter_map(|a| a["line"].as_u64()).collect();
    let expected: Vec<u64> = (0..9).flat_map(|n| [3 * n + 1, 3 * n + 2]).collect();
    assert_eq!(numbers, expected);
    assert_eq!(bench.count(), 9);

    let people = bench.feed(&["capture"], b"{\n");
    assert_eq!(people.code, 1);
    assert_eq!(people.err, "error: line 1: the JSON ends too early (not_json)\n");
    assert_eq!(people.out, "captured 0 entries; 1 failed\n");
}

#[test]
fn strict_stops_at_the_first_bad_line_and_answers_those_before() {
    let bench = Bench::new();
    let input = format!("{}\n{}\nnot json\n{}\n", line(1), line(2), line(3));
    let run = bench.feed(&["capture", "--strict", "--json"], input.as_bytes());
    assert_eq!(run.code, 1);
    let answers = run.json_lines();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert_eq!(answers[2]["error"]["code"], "not_an_object");
    assert_eq!(bench.count(), 2);
}

#[test]
fn a_slow_producer_is_answered_line_by_line_and_strict_does_not_wait_for_more() {
    let bench = Bench::new();
    let mut command = bench.command(&["capture", "--json", "--strict"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("piped");
    let mut answers = BufReader::new(child.stdout.take().expect("piped")).lines();
    for n in 1..=3 {
        // The input stays open: an answer comes because the line is durable, not because the input ended.
        writeln!(stdin, "{}", line(n)).expect("written");
        let answer = json(&answers.next().expect("an answer").expect("read"));
        assert_eq!(answer["line"], n);
        assert_eq!(bench.status(&id(n)), "pending");
    }
    writeln!(stdin, "junk").expect("written");
    let answer = json(&answers.next().expect("an answer").expect("read"));
    assert_eq!(answer["error"]["code"], "not_an_object");
    let status = child.wait().expect("it ends although the input is open");
    assert_eq!(status.code(), Some(1));
    drop(stdin);
}

#[test]
fn an_empty_input_is_no_failure() {
    let bench = Bench::new();
    let run = bench.run(&["capture"]);
    assert_eq!((run.code, run.out.as_str()), (0, "captured 0 entries\n"));
}

#[test]
fn a_capture_without_room_says_which_limit_and_what_to_do() {
    let bench = Bench::new();
    std::fs::write(bench.path().join("limits.toml"), "[overflow]\nin_all = 1\n").expect("written");
    let input = format!("{}\n{}\n", line(1), line(2));
    let run = bench.feed(&["--config", "limits.toml", "capture", "--json"], input.as_bytes());
    assert_eq!(run.code, 1, "{run:?}");
    assert_eq!(run.json_lines()[0]["disposition"], "new");
    assert_eq!(run.json_lines()[1]["error"]["code"], "limit_reached_all");
    let one = ["capture", "--domain", "mail", "--failure-type", "TIMEOUT"];
    let run = bench.run(&[&["--config", "limits.toml"], &one[..]].concat());
    assert_eq!(run.code, 5, "{run:?}");
    assert!(run.err.contains("1 of 1 (all) are there (limit_reached_all)"), "{run:?}");
    assert!(run.err.contains("raise the limit"), "{run:?}");
    bench.ok(&["entries", "resolve", &id(1)]);
    let run = bench.run(&[&["--config", "limits.toml"], &one[..]].concat());
    assert_eq!(run.code, 0, "{run:?}");
}
