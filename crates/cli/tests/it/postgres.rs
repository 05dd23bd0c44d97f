//! The commands on a PostgreSQL store: the same answers as on a file.

use std::sync::atomic::{AtomicU32, Ordering};

use baldur::{
    Clock as _, SystemClock,
    postgres::sqlx::{self, AssertSqlSafe, Connection as _, PgConnection},
};
use baldur_services::postgres_url;
use secrecy::ExposeSecret as _;
use tokio::runtime::Runtime;

use crate::{Bench, id, json, replay::Target};

/// The server that the environment names.
pub(crate) fn server() -> String {
    let url = postgres_url().unwrap_or_else(|missing| panic!("{missing}"));
    url.expose_secret().to_owned()
}

/// Runs SQL as the owner of everything.
pub(crate) fn sql(url: &str, text: &str) {
    let run = async {
        let mut conn = PgConnection::connect(url).await.expect("the server is up");
        sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut conn).await.expect("done");
        conn.close().await.expect("it closes");
    };
    Runtime::new().expect("a runtime").block_on(run);
}

/// A name that nobody else has.
pub(crate) fn name(start: &str, between: char) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (at, n) = (SystemClock.now().as_micros(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("{start}{between}{at}{between}{}{between}{n}", std::process::id())
}

impl Bench {
    /// A namespace of its own on the server that tests share.
    fn postgres() -> Self {
        Self::at(&server(), &name("cli", '-'))
    }
}

fn ndjson(count: u64) -> String {
    let line = |n: u64| {
        let id = id(n);
        format!(
            r#"{{"id":"{id}","domain":"payment","failure_type":"T","dependency":"gateway","dedup_key":"d{n}","labels":{{"n":"{n}"}},"request_data":{{"n":{n}}}}}"#
        ) + "\n"
    };
    (1..=count).map(line).collect()
}

#[test]
fn entries_are_captured_listed_shown_decided_and_counted() {
    let bench = Bench::postgres();
    let one = bench.captured("mail");
    let told = bench.ok(&["capture", "--domain", "mail", "--failure-type", "T"]);
    assert!(told.contains("stored (postgres synchronous_commit="), "{told}");
    let run = bench.feed(&["capture", "--json"], ndjson(1_200).as_bytes());
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.json_lines().iter().all(|answer| answer["disposition"] == "new"));
    let again = bench.feed(&["capture"], ndjson(1_200).as_bytes());
    assert_eq!(again.out, "captured 0 entries, 1 200 were there before\n");
    assert_eq!(bench.count(), 1_202);

    let found = bench.ok(&["entries", "list", "--label", "n=7", "--json"]);
    assert_eq!(json(&found)["id"], id(7));
    let shown = json(&bench.ok(&["entries", "show", &one, "--json"]));
    assert_eq!(shown["entry"]["request_data"]["n"], 1);
    assert_eq!(shown["evidence"][0]["actor"], "ann");
    bench.ok(&["entries", "resolve", &id(1), &id(2)]);
    bench.ok(&["entries", "reject", &id(3)]);
    bench.ok(&["entries", "reopen", &id(2)]);
    assert_eq!(bench.run(&["entries", "resolve", &id(9_999)]).code, 3);
    assert_eq!(bench.run(&["entries", "resolve", &id(1)]).code, 4);
    let facets = json(&bench.ok(&["facets", "--json"]));
    assert_eq!(facets["by_status"]["pending"], 1_200);
    assert_eq!(facets["by_status"]["resolved"], 1);
    assert_eq!(facets["by_domain"]["mail"], 2);
    let table = bench.ok(&["entries", "list", "--limit", "3"]);
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(bench.ok(&["recovery", "status"]).contains("gateway"));
}

#[test]
fn what_is_due_is_replayed_once() {
    let bench = Bench::postgres();
    bench.feed(&["capture"], ndjson(20).as_bytes());
    let target = Target::answering(200);
    let args = ["replay", "--domain", "payment", "--handler-url", &target.url, "--json"];
    let fast = ["--rate", "1000", "--ramp", "10ms"];
    let run = bench.run(&[&args[..], &fast].concat());
    assert_eq!(run.code, 0, "{run:?}");
    let summary = run.json_lines().pop().expect("a summary")["summary"].take();
    assert_eq!(
        (summary["claimed"].as_u64(), summary["stop"].as_str()),
        (Some(20), Some("drained"))
    );
    let mut keys = target.keys();
    keys.dedup();
    assert_eq!(keys.len(), 20);
    let idle = bench.run(&args[..5]);
    assert_eq!((idle.code, idle.out.as_str()), (0, "nothing was due\n"));
    assert_eq!(bench.status(&id(1)), "resolved");
}

#[test]
fn a_store_moves_between_sqlite_and_postgres_both_ways() {
    let postgres = Bench::postgres();
    let (from, back) = (Bench::of(&postgres.namespace), Bench::of(&postgres.namespace));
    from.feed(&["capture"], ndjson(250).as_bytes());
    from.ok(&["entries", "resolve", &id(1), &id(2)]);
    from.ok(&["entries", "reopen", &id(2)]);
    let export = from.ok(&["store", "export"]);
    for to in [&postgres, &back] {
        let run = to.feed(&["store", "import", "--json"], export.as_bytes());
        assert_eq!(run.code, 0, "{}", run.err);
        assert!(run.json_lines().iter().all(|answer| answer["imported"] == "new"));
        // The next one gets what this one writes.
        assert_eq!(to.ok(&["store", "export"]), export);
        assert_eq!(to.ok(&["facets", "--json"]), from.ok(&["facets", "--json"]));
    }
    let again = postgres.feed(&["store", "import"], export.as_bytes());
    assert_eq!(again.out, "imported 0 entries, 250 were there before\n");
    for depth in [&["store", "check", "--json"][..], &["store", "check", "--deep", "--json"]] {
        let check = json(&postgres.ok(depth));
        assert_eq!(check["ok"], true, "{check}");
        let told = check["checked"].to_string();
        assert!(told.contains("intake: 0 operations wait"), "{told}");
    }
    let people = postgres.ok(&["store", "check", "--deep"]);
    assert!(people.contains("rights of the role"), "{people}");
}

#[test]
fn orders_for_breakers_are_given_and_lifted() {
    let bench = Bench::postgres();
    let opened = bench.ok(&["breakers", "open", "gateway", "--for", "10m", "--json"]);
    assert_eq!(json(opened.trim())["state"], "open");
    let listed = json(bench.ok(&["breakers", "list", "--json"]).trim());
    assert_eq!((&listed["name"], &listed["state"]), (&"gateway".into(), &"open".into()));
    let auto = bench.ok(&["breakers", "auto", "gateway", "--json"]);
    assert_eq!(json(auto.trim())["state"], "closed");
}

#[test]
fn what_the_intake_put_aside_fails_the_check_and_says_so() {
    let bench = Bench::postgres();
    bench.ok(&["facets"]);
    let call = format!(
        r#"SELECT baldur.capture('{{"domain":"a","failure_type":"b"}}', '{0}');
           UPDATE baldur.intake SET refused = 'there is no field `x`'
           WHERE ns = (SELECT ns FROM baldur.namespaces WHERE name = '{0}')"#,
        bench.namespace
    );
    sql(&bench.url, &call);
    let check = bench.run(&["store", "check"]);
    assert_eq!(check.code, 1, "{check:?}");
    let told = format!("{}{}", check.out, check.err);
    assert!(told.contains("1 operations of the intake can't become entries"), "{told}");
}
