//! The harness as continuous integration runs it: fifty kills lose nothing, and its twins are noticed.

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

#[test]
fn fifty_kills_lose_nothing_that_callers_were_told_of() {
    let (good, report) = kills(&["--kills", "54", "--seed", "7"]);
    assert!(good, "{report}");
    // The run must have met what it is for.
    assert!(number(&report, "at_fail_points") >= 10, "{report}");
    for level in ["stored", "spooled", "flushed"] {
        assert!(number(&report, level) > 100, "{report}");
    }
}

#[test]
fn a_store_that_acknowledges_before_it_commits_is_noticed() {
    let (good, report) = kills(&["--kills", "9", "--twin", "ack-before-commit"]);
    assert!(!good && !report.contains("\"lost\":[]"), "{report}");
}

#[test]
fn a_spool_that_forgets_what_the_store_does_not_have_is_noticed() {
    let (good, report) = kills(&["--kills", "18", "--twin", "remove-before-stored"]);
    assert!(!good && !report.contains("\"lost\":[]"), "{report}");
}

#[test]
fn a_store_that_dies_under_load_loses_nothing_and_keeps_the_order_of_keys() {
    let (good, report) = harness("outage", &["--seconds", "3", "--per-second", "200"]);
    assert!(good, "{report}");
    assert!(number(&report, "spooled") > 100, "{report}");
}

#[test]
fn a_full_disk_is_said_so_and_captures_go_on_when_it_has_room() {
    let (good, report) = harness("full-disk", &[]);
    assert!(good, "{report}");
    // Where no file system can be mounted, files that may not grow fail in another way.
    let told = if report.contains("a small file system") { "full" } else { "unavailable" };
    assert!(report.contains(&format!(r#""refusals":["{told}"]"#)), "{report}");
}
