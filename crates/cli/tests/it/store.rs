//! `store check`, `export` and `import`.

use crate::{Bench, id, json};

#[test]
fn an_exported_store_is_equal_where_it_is_imported() {
    let (from, to) = (Bench::new(), Bench::new());
    let mut input = String::new();
    for n in 1..=250 {
        let line = format!(
            r#"{{"id":"{}","domain":"payment","failure_type":"T","dedup_key":"d{n}"}}"#,
            id(n)
        );
        input.push_str(&line);
        input.push('\n');
    }
    from.feed(&["capture"], input.as_bytes());
    from.ok(&["entries", "resolve", &id(1), &id(2)]);
    from.ok(&["entries", "reopen", &id(2)]);
    let export = from.run(&["store", "export"]);
    assert_eq!(export.code, 0);
    assert_eq!(export.err, "exported 250 entries\n");

    let run = to.feed(&["store", "import", "--json"], export.out.as_bytes());
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.json_lines().iter().all(|answer| answer["imported"] == "new"));
    assert_eq!(to.ok(&["store", "export"]), export.out);
    assert_eq!(to.ok(&["facets", "--json"]), from.ok(&["facets", "--json"]));

    let again = to.feed(&["store", "import"], export.out.as_bytes());
    assert_eq!(again.out, "imported 0 entries, 250 were there before\n");
    let check = json(&to.ok(&["store", "check", "--deep", "--json"]));
    assert_eq!(check["ok"], true, "{check}");
}

#[test]
fn lines_that_are_no_export_fail_alone() {
    let (from, to) = (Bench::new(), Bench::new());
    from.captured("payment");
    let good = from.ok(&["store", "export"]);
    let other = good.replace("\"namespace\":\"default\"", "\"namespace\":\"other\"");
    let input = format!("junk\n[]\n{{\"entry\":{{}},\"evidence\":[]}}\n{other}{good}");
    let run = to.feed(&["store", "import", "--json"], input.as_bytes());
    assert_eq!(run.code, 1);
    let answers = run.json_lines();
    let codes: Vec<_> = answers.iter().filter_map(|a| a["error"]["code"].as_str()).collect();
    assert_eq!(codes, ["not_an_export", "not_an_export", "not_an_export", "not_importable"]);
    assert_eq!(answers[4]["imported"], "new");
    assert_eq!(to.count(), 1);
}

#[test]
fn namespaces_do_not_see_each_other() {
    let bench = Bench::new();
    bench.captured("payment");
    let other = bench.ok(&["entries", "list", "--json", "--namespace", "other"]);
    assert_eq!(other, "");
}
