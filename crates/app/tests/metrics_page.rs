//! The catalogue of metrics and its page of the book say the same. `BALDUR_BLESS=1` writes the page.

use std::{fmt::Write as _, path::PathBuf};

use baldur_app::metrics::{ALL, Kind};

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/book/src/reference/metrics.md"))
}

const HEAD: &str = "# Metrics

Made from the catalogue in `baldur_app::metrics`; `cargo xtask tidy --bless` writes this page anew.

Baldur counts through the [`metrics`](https://docs.rs/metrics) façade: a host that installs a recorder gets all of it, and one that doesn't pays next to nothing.
`baldur serve` installs one and offers `GET /metrics` as Prometheus text, where each metric is described from the start, also before anything was counted.

Names are `baldur_<area>_<thing>_<unit>`: counters end with `_total`, times are seconds (`_seconds`), sizes are bytes (`_bytes`), gauges of things end with the thing.
Labels take few values: words that the help lists, route templates, and domains and dependencies.
Of domains, and of dependencies that captures name, the first 1000 of a process have values of their own; counters of others are summed up under `(other)`.
Gauges of the store are read when they are asked for: when the store doesn't answer in time they are absent, and `baldur_store_up` is 0.
Those of the spool are read then, too, and are absent in a process without one.

| metric | kind | labels | meaning |
|---|---|---|---|
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for metric in ALL {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {kind} | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.help
        );
    }
    page
}

#[test]
fn the_page_lists_the_catalogue() {
    if std::env::var_os("BALDUR_BLESS").is_some() {
        std::fs::write(path(), page()).expect("written");
    }
    let found = std::fs::read_to_string(path()).unwrap_or_default();
    assert!(found == page(), "run `cargo xtask tidy --bless`");
}

#[test]
fn names_follow_their_rule_and_their_order() {
    assert!(ALL.is_sorted_by(|one, other| one.name < other.name));
    for metric in ALL {
        let parts: Vec<&str> = metric.name.split('_').collect();
        assert!(parts.len() >= 3 && parts[0] == "baldur", "{}", metric.name);
        let is_total = metric.name.ends_with("_total");
        assert_eq!(is_total, metric.kind == Kind::Counter, "{}", metric.name);
        assert!(metric.help.ends_with('.') && !metric.help.contains('|'), "{}", metric.name);
    }
}
