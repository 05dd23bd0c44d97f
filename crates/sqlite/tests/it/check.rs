//! The check finds what is wrong, and nothing else.

use baldur_core::{
    command::WhenFull,
    port::{CaptureStore, CheckDepth, StoreAdmin},
};

use crate::support::{Lab, problems, run};

async fn lab() -> Lab {
    let lab = Lab::new().await;
    let mut captures = lab.captures.ops(5);
    captures.push(lab.captures.an_op().order_key("k").dedup_key("d").build());
    captures.push(lab.captures.an_op().order_key("k").dedup_key("d").build());
    captures.push(lab.captures.an_op().order_key("k").label("tenant", "acme").build());
    // The second of these makes the first one go.
    captures.extend(
        (0..2).map(|_| {
            lab.captures.an_op().domain("stock").limits(1, 0, WhenFull::DropOldest).build()
        }),
    );
    for answer in lab.store.capture_batch(captures).await {
        answer.expect("a capture");
    }
    assert_eq!(problems(&lab.store).await, Vec::<String>::new());
    lab
}

#[tokio::test]
async fn each_kind_of_damage_is_found() {
    let damages = [
        ("DELETE FROM payloads WHERE seq = 1", "have no payload"),
        ("DELETE FROM evidence WHERE entry = 2", "miss evidence"),
        ("UPDATE entries SET evidence_count = 9 WHERE seq = 1", "miss evidence"),
        ("UPDATE counters SET n = n + 1", "counters don't agree"),
        ("UPDATE entries SET domain = 'other' WHERE seq = 1", "another combination"),
        ("UPDATE entries SET order_head = 0 WHERE order_key = 'k'", "order key"),
        ("DELETE FROM labels", "labels are missing"),
        ("UPDATE labels SET value = 'x'", "not those of their entries"),
        ("UPDATE namespaces SET unsealed = 1", "unsealed evidence says"),
        ("UPDATE unsealed SET counter = 77 WHERE pos = 1", "don't exist"),
        ("UPDATE merged_ids SET seq = 99", "point to no entry"),
        ("UPDATE namespaces SET live = live + 1", "count of live entries says"),
        ("UPDATE live_domains SET n = n - 1", "counts of live entries"),
        ("DELETE FROM live_domains", "counts of live entries"),
        ("INSERT INTO live_domains VALUES (1, 'empty', 0)", "counts of live entries"),
        ("UPDATE gone SET id = (SELECT id FROM entries LIMIT 1)", "are here though they went"),
        ("DELETE FROM evidence WHERE entry IN (SELECT seq FROM gone)", "went miss evidence"),
        ("UPDATE gone SET cause = 'purged'", "does not say why"),
        ("DELETE FROM gone", "belong to no entry"),
        ("DROP INDEX entries_due", "the index `entries_due` is missing"),
        ("CREATE TRIGGER t AFTER INSERT ON entries BEGIN SELECT 1; END", "not part of the schema"),
    ];
    for (damage, told) in damages {
        let lab = lab().await;
        let mut raw = lab.raw().await;
        run(&mut raw, "PRAGMA foreign_keys = OFF").await;
        run(&mut raw, damage).await;
        let problems = problems(&lab.store).await;
        assert!(problems.iter().any(|p| p.contains(told)), "{damage}: {problems:?}");
    }
}

#[tokio::test]
async fn a_quick_check_tells_settings_and_schema() {
    let lab = lab().await;
    let report = lab.store.check(CheckDepth::Quick).await.expect("a check");
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(report.checked.iter().any(|c| c == "settings: journal_mode=wal, synchronous=2"));
    run(&mut lab.raw().await, "DROP INDEX entries_facet").await;
    let report = lab.store.check(CheckDepth::Quick).await.expect("a check");
    assert_eq!(report.problems, ["the index `entries_facet` is missing"]);
}
