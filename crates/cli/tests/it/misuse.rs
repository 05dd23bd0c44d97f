//! Mistakes: each has a clear answer and a documented code, and changes nothing.

use std::process::Stdio;

use crate::{Bench, finish, id};

#[test]
fn mistakes_on_the_command_line_are_refused_before_a_store_is_made() {
    let bench = Bench::new();
    for (args, words) in [
        (&["entries", "show", "17"][..], "not an entry id"),
        (&["entries", "list", "--status", "open"], "requires_review"),
        (&["entries", "list", "--after", "abc"], "not a cursor"),
        (&["entries", "list", "--limit", "-1"], "unexpected argument"),
        (&["entries", "list", "--domain", "A B"], "segments of a-z"),
        (&["entries", "list", "--entity", "order"], "`:`"),
        (&["entries", "lst"], "list"),
        (&["capture", "--failure-type", "T"], "--domain"),
        (
            &["capture", "--domain", "a", "--failure-type", "b", "--request-data", "@none.json"],
            "none.json",
        ),
        (&["capture", "--domain", "a", "--failure-type", "b", "--expires-in", "5"], "unit"),
        (&["breakers", "open"], "NAME"),
        (&["breakers", "open", "gateway", "--for", "10"], "unit"),
        (&["breakers", "close", "gateway", "--for", "0s"], "a year at most"),
        (&["breakers", "auto", "gateway", "--for", "1m"], "unexpected argument"),
        (&["replay"], "--domain"),
        (&["replay", "--domain", "a", "--rate", "0"], "above 0"),
        (&["replay", "--domain", "a", "--limit", "0"], "1.."),
        (&["entries", "list", "--namespace", "A"], "--namespace"),
        (&["entries", "list", "--actor", " "], "--actor"),
        (&["entries", "list", "--store", "pg://user:secret@h/d"], "`pg` is not a kind of store"),
        (&["entries", "list", "--store", "sqlite://secret.db"], "three slashes"),
        (&["entries", "list", "--config", "none.toml"], "none.toml"),
        (&["completions", "tcl"], "bash"),
    ] {
        let run = bench.run(args);
        assert_eq!(run.code, 2, "{args:?}: {run:?}");
        assert!(run.err.contains(words), "{args:?}: {}", run.err);
        assert!(!run.err.contains("secret"), "{}", run.err);
        assert_eq!(run.out, "", "{args:?}");
    }
    assert!(!bench.path().join("baldur.db").exists());
}

#[test]
fn limits_of_a_list_are_said() {
    let bench = Bench::new();
    for (limit, code) in [("0", 2), ("1001", 2), ("1000", 0)] {
        assert_eq!(bench.run(&["entries", "list", "--limit", limit]).code, code, "{limit}");
    }
    let run = bench.run(&["entries", "list", "--since", "yesterday"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("RFC 3339"), "{}", run.err);
}

#[test]
fn what_capture_refuses_is_not_kept() {
    let bench = Bench::new();
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    std::fs::write(bench.path().join("large.json"), large).expect("written");
    for (option, value, words) in [
        ("--request-data", "{", "not valid JSON"),
        ("--request-data", "@large.json", "at most 1048576"),
        ("--max-retries", "0", "1 to 1000"),
        ("--label", "A=1", "label name"),
    ] {
        let run = bench.run(&["capture", "--domain", "a", "--failure-type", "b", option, value]);
        assert_eq!(run.code, 2, "{run:?}");
        assert!(run.err.contains(words), "{}", run.err);
    }
    assert_eq!(bench.count(), 0);
}

#[test]
fn unknown_settings_are_named_with_the_nearest() {
    let bench = Bench::new();
    let mut command = bench.command(&["facets"]);
    command.env("BALDUR__STORE__URI", "memory:");
    let run = finish(command, b"");
    assert_eq!(run.code, 2);
    assert!(
        run.err.contains("BALDUR__STORE__URI") && run.err.contains("`store.url`"),
        "{}",
        run.err
    );

    std::fs::write(bench.path().join("b.toml"), "[replay]\n\nlaese = '5s'\n").expect("written");
    let run = bench.run(&["facets", "--config", "b.toml"]);
    assert_eq!(run.code, 2);
    assert!(run.err.contains("b.toml:3") && run.err.contains("`replay.lease`"), "{}", run.err);
}

#[cfg(unix)]
#[test]
fn a_variable_of_ours_that_is_no_unicode_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;
    let bench = Bench::new();
    let mut command = bench.command(&["facets"]);
    command.env("BALDUR__NAMESPACE", std::ffi::OsStr::from_bytes(b"\xff"));
    let run = finish(command, b"");
    assert_eq!(run.code, 2);
    assert!(run.err.contains("BALDUR__NAMESPACE is no valid Unicode"), "{}", run.err);
}

#[test]
fn a_store_that_is_none_is_unavailable() {
    let bench = Bench::new();
    std::fs::write(bench.path().join("baldur.db"), "this is no database, but a text")
        .expect("written");
    for args in [&["facets"][..], &["entries", "show", &id(1)], &["store", "check"]] {
        let run = bench.run(args);
        assert_eq!(run.code, 5, "{args:?}: {run:?}");
        assert!(run.err.starts_with("error: "), "{}", run.err);
    }
    let run = bench.feed(&["capture"], br#"{"domain":"a","failure_type":"b"}"#);
    assert_eq!(run.code, 5, "{run:?}");
}

#[test]
fn without_a_store_the_platforms_data_directory_is_used() {
    let bench = Bench::new();
    let mut command = bench.command(&["capture", "--domain", "a", "--failure-type", "b"]);
    command.env_remove("BALDUR__STORE__URL").env("XDG_DATA_HOME", bench.path().join("data"));
    assert_eq!(finish(command, b"").code, 0);
    #[cfg(target_os = "linux")]
    assert!(bench.path().join("data/baldur/baldur.db").is_file());
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    let bench = Bench::new();
    bench.captured("payment");
    let mut command = bench.command(&["entries", "list", "--json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn settings_are_shown_without_secrets() {
    let bench = Bench::new();
    let toml =
        "[handlers.payment]\nurl = 'http://h/secret'\nheaders = { authorization = 'secret' }\n";
    std::fs::write(bench.path().join("b.toml"), toml).expect("written");
    for format in ["table", "json"] {
        let shown = bench.ok(&["config", "--config", "b.toml", "--output", format]);
        assert!(shown.contains("authorization") && !shown.contains("secret"), "{shown}");
    }
}

#[test]
fn completions_know_the_commands() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = bench.ok(&["completions", shell]);
        assert!(script.contains("facets") && script.contains("handler-url"), "{shell}");
    }
}
