//! The demo, as people run it: the real binary, processes, HTTP, an SQLite file, and SIGKILL.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// Few enough to be quick, many enough that every part of the story has several.
const ORDERS: u64 = 60;

fn demo(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_baldur"))
        .arg("demo")
        .args(arguments)
        .env("BALDUR__REPLAY__LEASE", "a setting of the surroundings that the demo must not take")
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

fn sixty(more: &[&str]) -> Output {
    demo(&[&["--orders", "60", "--seed", "7", "--output", "json"], more].concat())
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The last line of standard output.
fn summary(output: &Output) -> Value {
    let stdout = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    let last = stdout.lines().last().unwrap_or_else(|| panic!("a result: {}", stderr(output)));
    serde_json::from_str(last).expect("JSON")
}

fn number(summary: &Value, key: &str) -> u64 {
    summary[key].as_u64().unwrap_or_else(|| panic!("no {key} in {summary}"))
}

#[test]
fn nothing_is_lost_and_nothing_is_charged_twice_although_checkout_is_killed_twice() {
    let output = sixty(&[]);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = summary(&output);
    for (key, expected) in [("orders", ORDERS), ("lost", 0), ("duplicated", 0), ("kills", 2)] {
        assert_eq!(number(&summary, key), expected, "{key}: {summary}");
    }
    let captured = number(&summary, "captured");
    assert_eq!(number(&summary, "replayed"), captured, "{summary}");
    assert_eq!(number(&summary, "charged_at_once") + captured, ORDERS, "{summary}");
    // Each danger did occur: a capture that nobody was told of, and charges without an answer.
    assert!(number(&summary, "merged") >= 1, "{summary}");
    assert!(number(&summary, "charged_unanswered") >= 1, "{summary}");
    assert!(number(&summary, "recognised") >= 1, "{summary}");
    // The store was there all the time.
    assert_eq!((number(&summary, "spooled"), number(&summary, "drained")), (0, 0), "{summary}");
}

#[test]
fn nothing_is_lost_although_the_store_goes_out_and_checkout_is_killed_meanwhile() {
    let output = sixty(&["--outage", "store"]);
    let story = stderr(&output);
    assert!(output.status.success(), "{story}");
    let summary = summary(&output);
    for (key, expected) in [("orders", ORDERS), ("lost", 0), ("duplicated", 0), ("kills", 2)] {
        assert_eq!(number(&summary, key), expected, "{key}: {summary}");
    }
    let captured = number(&summary, "captured");
    assert_eq!(number(&summary, "replayed"), captured, "{summary}");
    // What was promised from the spool came out of it, and so did the capture that was held after its sync.
    let (spooled, drained) = (number(&summary, "spooled"), number(&summary, "drained"));
    assert!(0 < spooled && spooled < drained, "{summary}");
    // Checkout was killed while records waited in its spool, and took them over.
    assert!(story.contains("! the store takes no writes"), "{story}");
    assert!(story.contains("✓ the spool of the killed taken over"), "{story}");
}

#[test]
fn the_demo_takes_no_store_away_but_its_own() {
    let output = demo(&["--outage", "store", "--store", "sqlite:///somewhere/baldur.db"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("without --store"), "says what to do: {}", stderr(&output));
}

#[test]
fn the_promised_keys_come_first_and_the_story_stays_off_standard_output() {
    let output = demo(&["--orders", "20", "--json"]);
    let stdout = String::from_utf8(output.stdout.clone()).expect("UTF-8");
    assert!(
        stdout.starts_with(r#"{"orders":20,"captured":"#) && stdout.lines().count() == 1,
        "{stdout}"
    );
    let keys = [r#""replayed":"#, r#","lost":0,"duplicated":0,"kills":2"#];
    assert!(keys.iter().all(|key| stdout.contains(key)), "{stdout}");
    let story = stderr(&output);
    assert!(story.contains("✓ gateway refuses connections"), "{story}");
    assert!(!story.contains('\x1b'), "no colour and no bars where nobody looks: {story}");
}

/// The result of a checkout that makes this mistake, which must be found out in these words.
fn found_out(mistake: &str, words: &str, more: &[&str]) -> Value {
    let output = sixty(&[&["--broken", mistake], more].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains(words), "{}", stderr(&output));
    summary(&output)
}

#[test]
fn a_new_key_for_each_replay_is_found_out() {
    let summary = found_out("new-key-per-replay", "charges were made twice", &[]);
    assert!(number(&summary, "duplicated") > 0, "{summary}");
    assert_eq!(number(&summary, "lost"), 0, "{summary}");
}

#[test]
fn an_acknowledgement_before_the_commit_is_found_out() {
    let summary = found_out("ack-before-commit", "were never charged", &[]);
    assert!(number(&summary, "lost") > 0, "{summary}");
    assert_eq!(number(&summary, "duplicated"), 0, "{summary}");
}

#[test]
fn an_acknowledgement_of_what_was_not_spooled_is_found_out() {
    let outage = ["--outage", "store"];
    let summary = found_out("forget-when-out", "were never charged", &outage);
    assert!(number(&summary, "lost") > 0, "{summary}");
    assert_eq!(number(&summary, "duplicated"), 0, "{summary}");
    assert!(number(&summary, "drained") < number(&summary, "spooled"), "{summary}");
}

#[test]
fn a_store_of_ones_own_can_be_used_again_and_keeps_the_entries() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("demo.db");
    let url = format!("sqlite://{}", store.display());
    for _ in 0..2 {
        let output = demo(&["--orders", "20", "--json", "--store", &url]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(number(&summary(&output), "lost"), 0);
    }
    assert!(Path::new(&store).exists());
}

#[cfg(feature = "postgres")]
#[test]
fn nothing_is_lost_nor_charged_twice_on_postgres() {
    let url = baldur_services::postgres_url().unwrap_or_else(|missing| panic!("{missing}"));
    let url = secrecy::ExposeSecret::expose_secret(&url);
    let output = sixty(&["--store", url]);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = summary(&output);
    for (key, expected) in [("orders", ORDERS), ("lost", 0), ("duplicated", 0), ("kills", 2)] {
        assert_eq!(number(&summary, key), expected, "{key}: {summary}");
    }
    assert_eq!(number(&summary, "replayed"), number(&summary, "captured"), "{summary}");
    assert!(number(&summary, "merged") >= 1, "{summary}");
    assert!(!stderr(&output).contains(url), "{}", stderr(&output));
    // The server is everybody's.
    let refused = demo(&["--outage", "store", "--store", url]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("without --store"), "{}", stderr(&refused));
}

#[test]
fn a_store_that_does_not_outlive_a_process_is_refused() {
    let output = demo(&["--store", "memory:"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    assert!(stderr(&output).contains("sqlite:///"), "says what to do: {}", stderr(&output));
}

#[test]
fn a_service_that_does_not_start_is_explained_in_its_own_words() {
    let output = demo(&["--store", "nosuch://user:hunter2@host/demo"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let words = stderr(&output);
    assert!(words.contains("the checkout process ended unexpectedly"), "{words}");
    assert!(words.contains("checkout: error: ") && words.contains("`nosuch`"), "{words}");
    assert!(!words.contains("hunter2"), "{words}");
}

#[cfg(target_os = "linux")]
mod processes {
    //! What is left when the demo itself is stopped.

    use std::{
        collections::BTreeSet,
        fs,
        io::{BufRead as _, BufReader},
        process::Child,
        sync::mpsc,
        time::Duration,
    };

    use super::*;

    /// The demo's processes that are alive, by the name of the store that only they know.
    fn alive(pids: &BTreeSet<u32>) -> Vec<u32> {
        let is_alive = |pid: &&u32| {
            fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| !stat.contains(") Z ") && stat.contains("(baldur)"))
        };
        pids.iter().filter(is_alive).copied().collect()
    }

    /// What the demo says of its services.
    const SERVICES: &str = "gateway is pid";

    /// Starts a demo and returns it with the processes that it names in the line with these words.
    fn begun(outage: &str, words: &str) -> (Child, BTreeSet<u32>) {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_baldur"))
            .args(["demo", "--orders", "60", "--outage", outage])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stderr = BufReader::new(demo.stderr.take().expect("piped"));
        let mut lines = stderr.lines();
        let pids: BTreeSet<u32> = lines
            .by_ref()
            .map_while(Result::ok)
            .find(|line| line.contains(words))
            .expect("the processes start")
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|word| word.parse().ok())
            .collect();
        // Read on, so that the demo never waits for its reader.
        std::thread::spawn(move || lines.count());
        (demo, pids)
    }

    /// Waits until none of the processes is left; panics after 20 seconds.
    fn gone(pids: &BTreeSet<u32>) {
        let (done, is_done) = mpsc::channel();
        let seen = pids.clone();
        std::thread::spawn(move || {
            while !alive(&seen).is_empty() {
                std::thread::yield_now();
            }
            let _ = done.send(());
        });
        let gone = is_done.recv_timeout(Duration::from_secs(20));
        assert!(gone.is_ok(), "left behind: {:?}", alive(pids));
    }

    fn signal(demo: &Child, name: &str) {
        let kill = Command::new("kill").args([name, &demo.id().to_string()]).status();
        assert!(kill.expect("kill runs").success());
    }

    #[test]
    fn ctrl_c_stops_all_processes() {
        let (mut demo, pids) = begun("gateway", SERVICES);
        assert_eq!((pids.len(), alive(&pids).len()), (2, 2));
        signal(&demo, "-INT");
        assert_eq!(demo.wait().expect("ends").code(), Some(130));
        assert!(alive(&pids).is_empty(), "left behind: {:?}", alive(&pids));
    }

    #[test]
    fn services_end_when_the_demo_is_killed() {
        let (mut demo, pids) = begun("gateway", SERVICES);
        signal(&demo, "-KILL");
        demo.wait().expect("ends");
        gone(&pids);
    }

    #[test]
    fn the_outage_ends_with_the_demo() {
        for (name, code) in [("-INT", Some(130)), ("-KILL", None)] {
            let (mut demo, pids) = begun("store", "holds its write lock");
            assert_eq!((pids.len(), alive(&pids).len()), (1, 1));
            signal(&demo, name);
            assert_eq!(demo.wait().expect("ends").code(), code);
            gone(&pids);
        }
    }
}
