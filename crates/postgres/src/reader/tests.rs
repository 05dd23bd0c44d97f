//! The plans of lists and counts, on tables with entries, whatever the statistics say.

use std::time::Duration;

use baldur_core::{
    Cursor, EntryId, FacetScope, Filter, ListOrder, Status, Timestamp,
    name::{
        DedupKey, Domain, FailureType, IdempotencyKey, LabelName, LabelValue, Namespace, OrderKey,
        ServiceName, ShortText,
    },
};
use baldur_services::{PgBouncer, PgBouncerOptions, PostgresOptions, PostgresServer};
use secrecy::ExposeSecret;
use serde_json::Value;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor, PgConnection, Row, postgres::PgConnectOptions,
};

use super::{
    FIND, INDEXES, begin,
    entries::ask,
    evidence,
    facets::ranges_sql,
    plan::{Arg, Path, SqlText, path_of},
    position::{Lower, Stretch},
};
use crate::{
    PostgresConfig,
    database::{Database, run, seed},
    error::sqlstate,
    migrate,
};

/// Rows of a page, and one more.
const LIMIT: i64 = 51;

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros).expect("in range")
}

fn short(text: &str) -> ShortText {
    ShortText::parse(text).expect("a short text")
}

/// A filter for each path, each with entries in the namespaces that [`seed`] makes.
fn filters() -> Vec<(Path, Filter)> {
    let label = |name, value| {
        let name = LabelName::parse(name).expect("a label name");
        (name, LabelValue::parse(value).expect("a label value"))
    };
    let tenant = || label("tenant", "tenant-0");
    let any = Filter::default;
    let service = |name: &str| Some(ServiceName::parse(name).expect("a service name"));
    let domain = || Some(Domain::parse("domain_1").expect("a domain"));
    let kind = || Some(FailureType::parse("TYPE_1").expect("a failure type"));
    let key = Some(IdempotencyKey::parse("key-77").expect("a key"));
    let live = || Status::LIVE.to_vec();
    vec![
        (Path::IdempotencyKey, Filter { idempotency_key: key, ..any() }),
        (Path::DedupKey, Filter { dedup_key: DedupKey::parse("dedup-7").ok(), ..any() }),
        (Path::OrderKey, Filter { order_key: OrderKey::parse("order-10").ok(), ..any() }),
        (
            Path::EntityId,
            Filter {
                entity_id: Some(short("thing-1")),
                entity_type: Some(short("kind-1")),
                ..any()
            },
        ),
        (Path::UserId, Filter { user_id: Some(short("user-1")), statuses: live(), ..any() }),
        (Path::Label, Filter { labels: vec![tenant()], ..any() }),
        (
            Path::Label,
            Filter { labels: vec![tenant(), label("shard", "1")], statuses: live(), ..any() },
        ),
        (Path::Fingerprint, Filter { fingerprint: Some(short("v1:1")), ..any() }),
        (Path::EntityType, Filter { entity_type: Some(short("kind-1")), ..any() }),
        (
            Path::OriginService,
            Filter {
                origin_service: service("origin-1"),
                dependency: service("service-1"),
                ..any()
            },
        ),
        (Path::FacetRanges, Filter { domain: domain(), failure_type: kind(), ..any() }),
        (Path::FacetRanges, Filter { dependency: service("service-1"), ..any() }),
        (Path::FacetRanges, Filter { domain: domain(), statuses: live(), ..any() }),
        (Path::Status, Filter { statuses: vec![Status::Resolved], ..any() }),
        (Path::Statuses, Filter { statuses: live(), ..any() }),
        (Path::Position, any()),
        (Path::Position, Filter { created_from: Some(at(1_000_500_000)), ..any() }),
    ]
}

fn stretches() -> [Option<Stretch>; 3] {
    let position = |row: i64| (at(1_000_000_000 + row * 1_000), EntryId::from_bytes([1; 16]));
    [
        None,
        Some(Stretch { lower: Some(Lower::From(position(200))), upper: Some(position(4_000)) }),
        Some(Stretch { lower: Some(Lower::After(position(2_000))), upper: None }),
    ]
}

/// How the values of a statement look as text.
fn literal(arg: &Arg) -> String {
    let list = |items: Vec<String>| format!("'{{{}}}'", items.join(","));
    match arg {
        Arg::Small(value) => value.to_string(),
        Arg::Integer(value) => value.to_string(),
        Arg::Text(value) => format!("'{value}'"),
        Arg::Uuid(value) => format!("'{value}'"),
        Arg::Integers(values) => list(values.iter().map(ToString::to_string).collect()),
        Arg::Words(values) => list(values.iter().map(ToString::to_string).collect()),
    }
}

/// What a statement did when it ran.
struct Ran {
    plan: Value,
}

impl Ran {
    /// Runs a prepared statement with the settings of a read.
    async fn of(conn: &mut PgConnection, sql: &SqlText, mode: &str) -> Self {
        let args: Vec<String> = sql.args().iter().map(literal).collect();
        Self::of_text(conn, sql.text(), &args.join(", "), mode).await
    }

    async fn of_text(conn: &mut PgConnection, sql: &str, args: &str, mode: &str) -> Self {
        let text = format!(
            "BEGIN READ ONLY; {INDEXES} SET LOCAL plan_cache_mode = {mode}; PREPARE q AS {sql}; \
             EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE q({args})"
        );
        let row = conn.fetch_one(sqlx::raw_sql(AssertSqlSafe(text.clone()))).await;
        let row = row.unwrap_or_else(|error| panic!("{text}: {error}"));
        let json: String = row.try_get_unchecked(0).expect("a plan");
        run(conn, "ROLLBACK; DEALLOCATE q").await;
        let plan: Value = serde_json::from_str(&json).expect("a plan");
        Self { plan: plan[0]["Plan"].clone() }
    }

    /// Pages that it looked at, with those of the indexes.
    fn pages(&self) -> u64 {
        let read = |name| self.plan[name].as_u64().expect("a number");
        read("Shared Hit Blocks") + read("Shared Read Blocks")
    }

    /// The nodes whose cost would grow with what is not asked for.
    fn offences(&self, sorts: bool) -> Vec<String> {
        let (mut found, mut nodes) = (Vec::new(), vec![&self.plan]);
        while let Some(node) = nodes.pop() {
            let kind = node["Node Type"].as_str().expect("a kind");
            let bad = match kind {
                "Seq Scan" | "Bitmap Heap Scan" | "Hash Join" | "Merge Join" => true,
                "Sort" | "Incremental Sort" => !sorts,
                _ => false,
            };
            if bad {
                found.push(format!("{kind} {}", node["Relation Name"]));
            }
            nodes.extend(node["Plans"].as_array().into_iter().flatten());
        }
        found
    }
}

/// A database with a namespace that the statistics know, and a larger one that they don't.
async fn populated(analyzed: bool) -> (Database, PgConnection, [i32; 2]) {
    let database = Database::fresh().await;
    let mut conn = database.connect().await;
    migrate::migrate(&mut conn).await.expect("it migrates");
    for table in ["entries", "states", "labels", "evidence", "unsealed", "counter_deltas"] {
        run(&mut conn, &format!("ALTER TABLE baldur.{table} SET (autovacuum_enabled = off)")).await;
    }
    for name in ["a", "b", "known"] {
        seed(&mut conn, name, 4_000).await;
    }
    if analyzed {
        run(&mut conn, "ANALYZE").await;
    }
    seed(&mut conn, "unknown", 20_000).await;
    let mut found = [0; 2];
    for (ns, name) in found.iter_mut().zip(["known", "unknown"]) {
        *ns = migrate::namespace(&mut conn, name).await.expect("it is there");
    }
    (database, conn, found)
}

/// The plans that a prepared statement gets: for its values, and after a few runs for any.
const MODES: [&str; 2] = ["force_custom_plan", "force_generic_plan"];

/// Whether the planner knows the tables, not at all or all but one namespace.
async fn each_list_goes_by_an_index(analyzed: bool) {
    let (database, conn, namespaces) = populated(analyzed).await;
    each_list_of(conn, namespaces).await;
    database.remove().await;
}

async fn each_list_of(mut conn: PgConnection, namespaces: [i32; 2]) {
    for (path, filter) in filters() {
        assert_eq!(path_of(&filter), path);
        let merged = matches!(path, Path::FacetRanges | Path::Statuses);
        for (ns, stretch) in namespaces.into_iter().flat_map(|ns| stretches().map(|s| (ns, s))) {
            let stretch = stretch.unwrap_or_else(|| Stretch::of(&filter, None));
            let ask = ask(&mut conn, ns, &filter, stretch).await.expect("it can be asked");
            let mut ask = ask.expect("there are entries");
            for (mode, inexact) in [(MODES[0], false), (MODES[1], merged)] {
                ask.inexact = inexact;
                let page = |order| (ask.page(order, LIMIT), format!("{order:?}"), merged, 6_000);
                let asked = [
                    page(ListOrder::NewestFirst),
                    page(ListOrder::OldestFirst),
                    (ask.count(LIMIT), "count".to_owned(), false, 3_000),
                ];
                for (sql, name, sorts, most) in asked {
                    let ran = Ran::of(&mut conn, &sql, mode).await;
                    let (offences, pages) = (ran.offences(sorts), ran.pages());
                    let told =
                        format!("{path:?} {name} {mode} of {ns}: {pages} pages, {offences:?}");
                    let most = if sorts { most } else { most / 2 };
                    assert!(offences.is_empty() && pages <= most, "{told}\n{:#}", ran.plan);
                }
            }
        }
    }
}

/// Vacuum makes scans of an index alone possible, which look cheap beside the right index while a table is small.
#[tokio::test]
async fn each_list_goes_by_an_index_after_vacuum() {
    let database = Database::fresh().await;
    let mut conn = database.connect().await;
    migrate::migrate(&mut conn).await.expect("it migrates");
    seed(&mut conn, "only", 8_000).await;
    run(&mut conn, "VACUUM ANALYZE").await;
    let ns = migrate::namespace(&mut conn, "only").await.expect("it is there");
    each_list_of(conn, [ns, ns]).await;
    database.remove().await;
}

#[tokio::test]
async fn each_list_goes_by_an_index_where_the_namespace_is_not_in_the_statistics() {
    each_list_goes_by_an_index(true).await;
}

#[tokio::test]
async fn each_list_goes_by_an_index_without_statistics() {
    each_list_goes_by_an_index(false).await;
}

/// Limits and settings hold behind a pooler, and stay in the transaction.
#[tokio::test]
async fn what_a_read_sets_stays_in_it_behind_a_pooler() {
    let server = tokio::task::spawn_blocking(|| PostgresServer::start(PostgresOptions::default()));
    let server = server.await.expect("no panic").expect("it starts");
    let options = PgBouncerOptions { pool_size: 1, ..PgBouncerOptions::default() };
    let pooler = PgBouncer::start(&server, options).expect("it starts");
    let url: PgConnectOptions = pooler.url().expose_secret().parse().expect("a URL");
    let url = url.extra_float_digits(None);
    // One server connection is behind both.
    let (mut one, mut two) =
        (url.connect().await.expect("it connects"), url.connect().await.expect("it connects"));
    let shown = "SELECT concat_ws(' ', current_setting('statement_timeout'), \
         current_setting('transaction_read_only'), current_setting('enable_seqscan'))";
    let text = async |conn: &mut PgConnection| -> String {
        let row = conn.fetch_one(sqlx::raw_sql(shown)).await.expect("settings");
        row.try_get_unchecked(0).expect("a text")
    };
    let mut config = PostgresConfig::new(
        pooler.url().expose_secret().parse().expect("a URL"),
        Namespace::default_namespace(),
    );
    config.statement_timeout = Duration::from_millis(120);
    let before = text(&mut two).await;
    one.execute(sqlx::raw_sql(begin(&config, INDEXES))).await.expect("it begins");
    assert_eq!(text(&mut one).await, "120ms on off");
    let direct: PgConnectOptions = server.url().expose_secret().parse().expect("a URL");
    let mut holder = direct.connect().await.expect("it connects");
    run(&mut holder, "SELECT pg_advisory_lock(7)").await;
    let wait = sqlx::raw_sql("SELECT pg_advisory_xact_lock(7)");
    let late = one.execute(wait).await.expect_err("it is stopped");
    assert_eq!(sqlstate(&late).as_deref(), Some("57014"), "{late}");
    one.execute(sqlx::raw_sql("ROLLBACK")).await.expect("it ends");
    assert_eq!(text(&mut two).await, before);
}

#[tokio::test]
async fn every_constant_statement_goes_by_an_index() {
    let (database, mut conn, namespaces) = populated(true).await;
    // Deltas that are folded leave dead rows, which nobody should walk over.
    run(
        &mut conn,
        "DELETE FROM baldur.counter_deltas; UPDATE baldur.namespaces SET folded_xid = '9000'",
    )
    .await;
    for ns in namespaces {
        let id = format!("md5('{ns}.1234')::uuid");
        let any = ranges_sql(ns, &FacetScope::default());
        let asked = [
            (FIND, format!("{ns}, ARRAY[{id}, {id}]"), 40),
            (evidence::TRAIL, format!("{ns}, {id}, 0, 51"), 8),
            (evidence::UNSEALED, format!("{ns}, 51"), 400),
            (evidence::BACKLOG, format!("{ns}"), 20),
            (any.text(), format!("{ns}, {ns}"), 1_000),
        ];
        for (sql, args, most) in asked {
            for mode in MODES {
                let ran = Ran::of_text(&mut conn, sql, &args, mode).await;
                let (offences, pages) = (ran.offences(false), ran.pages());
                let told = format!("{sql} {mode} of {ns}: {pages} pages, {offences:?}");
                assert!(offences.is_empty() && pages <= most, "{told}\n{:#}", ran.plan);
            }
        }
    }
    database.remove().await;
}

#[tokio::test]
async fn a_plan_without_an_index_is_noticed() {
    let (database, mut conn, [_, ns]) = populated(true).await;
    for (bad, sorts) in [
        ("SELECT id FROM baldur.entries WHERE error_code = $1 LIMIT 51", true),
        ("SELECT id FROM baldur.states WHERE updated_at >= $1 ORDER BY updated_at LIMIT 51", false),
    ] {
        let ran = Ran::of_text(&mut conn, bad, "'0'", MODES[0]).await;
        assert!(!ran.offences(sorts).is_empty(), "{:#}", ran.plan);
    }
    let bad = "SELECT id FROM baldur.entries WHERE ns = $1 AND error_code = 'x'";
    let ran = Ran::of_text(&mut conn, bad, &ns.to_string(), MODES[0]).await;
    assert!(ran.pages() > 6_000, "{:#}", ran.plan);
    database.remove().await;
}

#[test]
fn a_cursor_narrows_the_range_of_time() {
    let filter =
        Filter { created_from: Some(at(10)), created_until: Some(at(20)), ..Filter::default() };
    let cursor = |order, micros| {
        let position = (at(micros), EntryId::from_bytes([9; 16]));
        (Cursor::at(order, position), position)
    };
    let (inside, position) = cursor(ListOrder::OldestFirst, 15);
    assert_eq!(Stretch::of(&filter, Some(inside)).lower, Some(Lower::After(position)));
    let (before, _) = cursor(ListOrder::OldestFirst, 5);
    let from = Stretch::of(&filter, None).lower;
    assert_eq!(Stretch::of(&filter, Some(before)).lower, from);
    let (inside, position) = cursor(ListOrder::NewestFirst, 15);
    assert_eq!(Stretch::of(&filter, Some(inside)).upper, Some(position));
    let (beyond, _) = cursor(ListOrder::NewestFirst, 25);
    assert_eq!(Stretch::of(&filter, Some(beyond)).upper, Stretch::of(&filter, None).upper);
}
