//! The harness as continuous integration runs it: fifty kills lose nothing, and its twins are noticed.

use std::process::Command;

fn kills(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_baldur-crash"))
        .args(["kills", "--json"])
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
