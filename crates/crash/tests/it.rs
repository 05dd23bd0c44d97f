//! The harness as continuous integration runs it: fifty kills lose nothing on each kind of store, and its twins are
//! noticed.

use std::process::Command;

fn kills(arguments: &[&str]) -> (bool, String) {
    harness("kills", arguments)
}

fn harness(command: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_baldur-crash"))
        .args([command, "--json"])
        .args(arguments)
        .output()
        .expect("the harness starts");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(!complained.contains("the harness failed"), "{complained}");
    (output.status.success(), said)
}

fn number(report: &str, field: &str) -> u64 {
    let (_, rest) = report.split_once(&format!("\"{field}\":")).expect("the field");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

fn fifty_kills(store: &str) {
    let (good, report) = kills(&["--kills", "54", "--seed", "7", "--store", store]);
    assert!(good, "{report}");
    // The run must have met what it is for.
    assert!(number(&report, "at_fail_points") >= 10, "{report}");
    for level in ["stored", "spooled", "flushed"] {
        assert!(number(&report, level) > 100, "{report}");
    }
}

#[test]
fn fifty_kills_lose_nothing_that_callers_were_told_of() {
    fifty_kills("sqlite");
}

#[test]
fn fifty_kills_lose_nothing_that_callers_were_told_of_on_postgres() {
    fifty_kills("postgres");
}

fn is_noticed(twin: &str, kills_needed: &str, store: &str) {
    let (good, report) = kills(&["--kills", kills_needed, "--twin", twin, "--store", store]);
    assert!(!good && !report.contains("\"lost\":[]"), "{report}");
}

#[test]
fn a_store_that_acknowledges_before_it_commits_is_noticed() {
    is_noticed("ack-before-commit", "9", "sqlite");
}

#[test]
fn a_store_that_acknowledges_before_it_commits_is_noticed_on_postgres() {
    is_noticed("ack-before-commit", "9", "postgres");
}

#[test]
fn a_spool_that_forgets_what_the_store_does_not_have_is_noticed() {
    is_noticed("remove-before-stored", "18", "sqlite");
}

#[test]
fn a_spool_that_forgets_what_the_store_does_not_have_is_noticed_on_postgres() {
    is_noticed("remove-before-stored", "18", "postgres");
}

#[test]
fn a_store_that_dies_under_load_loses_nothing_and_keeps_the_order_of_keys() {
    let (good, report) = harness("outage", &["--seconds", "3", "--per-second", "200"]);
    assert!(good, "{report}");
    assert!(number(&report, "spooled") > 100, "{report}");
}

fn server_outage(way: &str) {
    let (good, report) =
        harness("outage", &["--seconds", "3", "--per-second", "128", "--way", way]);
    assert!(good, "{report}");
    assert!(number(&report, "handled") >= number(&report, "entries"), "{report}");
    // A server that restarts in order is away too briefly to be sure of it.
    assert!(way == "restarted" || number(&report, "spooled") > 50, "{report}");
}

#[test]
fn a_server_that_stops_under_load_loses_nothing_and_lets_nothing_be_claimed_twice() {
    server_outage("stopped");
}

#[test]
fn a_server_that_is_killed_under_load_loses_nothing_and_lets_nothing_be_claimed_twice() {
    server_outage("killed");
}

#[test]
fn a_server_that_restarts_under_load_loses_nothing_and_lets_nothing_be_claimed_twice() {
    server_outage("restarted");
}

#[test]
fn processes_that_are_killed_share_entries_and_each_is_settled_once() {
    let plan = ["--entries", "2000", "--processes", "3", "--claimers", "4", "--kills", "3"];
    let (good, report) = harness("swarm", &[&plan[..], &["--lease-ms", "1000"]].concat());
    assert!(good, "{report}");
    // The run must have met what it is for.
    assert!(number(&report, "handled") > number(&report, "entries"), "{report}");
    assert!(number(&report, "lapses") > 0, "{report}");
}

#[test]
fn a_full_disk_is_said_so_and_captures_go_on_when_it_has_room() {
    let (good, report) = harness("full-disk", &[]);
    assert!(good, "{report}");
    // Where no file system can be mounted, files that may not grow fail in another way.
    let told = if report.contains("a small file system") { "full" } else { "unavailable" };
    assert!(report.contains(&format!(r#""refusals":["{told}"]"#)), "{report}");
}
