//! The check finds what is wrong, and nothing else.

use baldur_core::{
    name::Namespace,
    port::{CheckDepth, CheckReport},
};
use sqlx::PgConnection;

use super::{check, rights::NEEDED, schema};
use crate::{
    PostgresConfig, PostgresStore,
    database::{Database, run, seed},
    migrate,
};

async fn open(database: &Database, namespace: &str) -> PostgresStore {
    let namespace = Namespace::parse(namespace).expect("a namespace");
    let config = PostgresConfig::new(database.url().parse().expect("a URL"), namespace);
    PostgresStore::open(config).await.expect("it opens")
}

async fn check_of(store: &PostgresStore, depth: CheckDepth) -> CheckReport {
    let reader = store.reader("check").await.expect("it is open");
    check(&reader, depth).await.expect("a check")
}

/// A database with the schema.
async fn migrated() -> (Database, PgConnection) {
    let database = Database::fresh().await;
    let mut conn = database.connect().await;
    migrate::migrate(&mut conn).await.expect("it migrates");
    (database, conn)
}

/// What goes wrong with namespace `{ns}`, and what is told.
const DAMAGES: [(&str, &str); 31] = [
    ("DELETE FROM baldur.states WHERE {ns} AND id = {id}", "1 entries have no state"),
    ("DELETE FROM baldur.entries WHERE {ns} AND id = {id}", "1 states belong to no entry"),
    ("DELETE FROM baldur.payloads WHERE {ns} AND id = {id}", "1 entries have no payload"),
    (
        "UPDATE baldur.payloads SET id = gen_random_uuid() WHERE {ns} AND id = {id}",
        "1 payloads belong",
    ),
    (
        "INSERT INTO baldur.attempts SELECT ns, gen_random_uuid(), '[]' FROM baldur.namespaces WHERE {ns}",
        "1 attempts belong to no entry",
    ),
    (
        "INSERT INTO baldur.attempts SELECT ns, id, '[' FROM baldur.states WHERE {ns}",
        "can't be read",
    ),
    ("UPDATE baldur.states SET domain = 'x' WHERE {ns} AND id = {id}", "1 states don't repeat"),
    ("UPDATE baldur.states SET dedup_key = 'x' WHERE {ns} AND id = {id}", "1 states don't repeat"),
    (
        "UPDATE baldur.states SET replayable = false WHERE {ns} AND id = {id}",
        "1 states don't repeat",
    ),
    ("DELETE FROM baldur.evidence WHERE {ns} AND id = {id}", "1 entries miss evidence"),
    (
        "UPDATE baldur.states SET evidence_count = 9 WHERE {ns} AND id = {id}",
        "1 entries miss evidence",
    ),
    ("UPDATE baldur.evidence SET counter = 2 WHERE {ns} AND id = {id}", "1 entries miss evidence"),
    (
        "INSERT INTO baldur.evidence SELECT ns, gen_random_uuid(), 1, '{}' FROM baldur.namespaces WHERE {ns}",
        "1 records of evidence belong to no entry",
    ),
    (
        "UPDATE baldur.entries SET failure_type = 'x' WHERE {ns} AND id = {id}",
        "1 entries are counted under",
    ),
    (
        "UPDATE baldur.states SET order_head = false WHERE {ns} AND order_key IS NOT NULL",
        "order key",
    ),
    (
        "UPDATE baldur.states SET order_head = false WHERE {ns} AND id = {id}",
        "1 entries are wrongly",
    ),
    ("DELETE FROM baldur.labels WHERE {ns} AND id = {id}", "2 labels are missing"),
    (
        "UPDATE baldur.entries SET labels = NULL WHERE {ns} AND id = {id}",
        "2 labels in the index are not",
    ),
    (
        "UPDATE baldur.entries SET labels = '{' WHERE {ns} AND id = {id}",
        "label index: some can't be read",
    ),
    (
        "UPDATE baldur.merged_ids SET entry = gen_random_uuid() WHERE {ns}",
        "1 merged captures point to no entry",
    ),
    ("UPDATE baldur.merged_ids SET id = {id} WHERE {ns}", "1 merged captures point to no entry"),
    ("UPDATE baldur.gone SET id = {id} WHERE {ns}", "1 entries are here though they went"),
    ("UPDATE baldur.gone SET cause = 'purged' WHERE {ns}", "1 entries that went miss evidence"),
    (
        "DELETE FROM baldur.evidence v USING baldur.gone g WHERE g.ns = v.ns AND g.id = v.id AND g.{ns}",
        "1 entries that went miss evidence",
    ),
    (
        "UPDATE baldur.counters SET n = n + 1 WHERE status = 'pending' AND facet_key = \
         (SELECT min(facet_key) FROM baldur.facet_keys WHERE {ns})",
        "counters don't agree",
    ),
    (
        "DELETE FROM baldur.counter_deltas WHERE {ns} AND status = 'resolved'",
        "counters don't agree",
    ),
    ("UPDATE baldur.live_domains SET n = n - 1 WHERE {ns}", "4 counts of live entries"),
    ("UPDATE baldur.namespaces SET live = live + 3 WHERE {ns}", "3 live entries are more or fewer"),
    (
        "UPDATE baldur.namespaces SET unsealed = unsealed - 2 WHERE {ns}",
        "2 records are more or fewer",
    ),
    ("DELETE FROM baldur.unsealed WHERE {ns} AND id = {id}", "1 records are more or fewer"),
    ("UPDATE baldur.unsealed SET counter = 77 WHERE {ns} AND id = {id}", "1 records that wait"),
];

#[tokio::test]
async fn each_kind_of_damage_is_found() {
    let (database, mut conn) = migrated().await;
    seed(&mut conn, "other", 100).await;
    for (n, (damage, told)) in DAMAGES.into_iter().enumerate() {
        let name = format!("lab{n}");
        seed(&mut conn, &name, 240).await;
        let ns = migrate::namespace(&mut conn, &name).await.expect("it is there");
        let id = format!("md5('{ns}.45')::uuid");
        run(&mut conn, &damage.replace("{ns}", &format!("ns = {ns}")).replace("{id}", &id)).await;
        let store = open(&database, &name).await;
        let problems = check_of(&store, CheckDepth::Deep).await.problems;
        assert!(problems.iter().any(|problem| problem.contains(told)), "{damage}: {problems:?}");
        store.close().await;
    }
    // Nothing of that is the matter of another namespace.
    let store = open(&database, "other").await;
    let report = check_of(&store, CheckDepth::Deep).await;
    assert_eq!(report.problems, Vec::<String>::new());
    assert!(report.checked.len() > 20, "{:?}", report.checked);
    store.close().await;
    database.remove().await;
}

/// What goes wrong with the schema, the role or the server, and what a quick check tells.
const OUTSIDE: [(&str, &str); 13] = [
    ("DROP INDEX baldur.states_due", "the index `states_due` is missing"),
    ("DROP TABLE baldur.attempts", "the table `attempts` is missing"),
    (
        "ALTER TABLE baldur.paces ALTER tokens TYPE real",
        "the table `paces` differs from the schema",
    ),
    ("CREATE INDEX mine ON baldur.states (hold_expires_at)", "the index `mine` is not part of"),
    (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         CREATE TRIGGER mine BEFORE INSERT ON baldur.states FOR EACH ROW EXECUTE FUNCTION f()",
        "the trigger `mine` is not part of the schema",
    ),
    (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'baldur.states_facet'::regclass",
        "the index `states_facet` is not valid: rebuild it with REINDEX INDEX CONCURRENTLY",
    ),
    ("UPDATE baldur.migrations SET digest = 'x'", "is not the one of this program"),
    ("INSERT INTO baldur.migrations VALUES (3, 'later', 'x')", "schema version 3, this program"),
    (
        "INSERT INTO baldur.intake (ns, id, at, form, body, refused) \
         SELECT ns, gen_random_uuid(), 0, 'described', '{}', 'why' FROM baldur.namespaces",
        "1 operations of the intake can't become entries",
    ),
    ("DELETE FROM baldur.namespaces WHERE name = 'lab'", "the namespace is not there any more"),
    ("UPDATE baldur.namespaces SET folded_xid = '9000000000000'", "has not come to"),
    (
        "INSERT INTO baldur.counter_deltas SELECT ns, '3', NULL, NULL, NULL, 0, 0 FROM baldur.namespaces; \
         UPDATE baldur.namespaces SET folded_xid = '4'",
        "changes of counters are not counted",
    ),
    (
        "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', \
         current_database()); END$$",
        "`default_transaction_read_only` is on",
    ),
];

#[tokio::test]
async fn a_quick_check_tells_schema_and_settings() {
    for (damage, told) in OUTSIDE {
        let (database, mut conn) = migrated().await;
        let store = open(&database, "lab").await;
        let report = check_of(&store, CheckDepth::Quick).await;
        assert_eq!(report.problems, Vec::<String>::new());
        run(&mut conn, damage).await;
        // Settings of the database are those of new connections.
        run(
            &mut conn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        .await;
        let report = check_of(&store, CheckDepth::Quick).await;
        assert!(report.problems.iter().any(|p| p.contains(told)), "{damage}: {report:?}");
        store.close().await;
        database.remove().await;
    }
}

#[tokio::test]
async fn each_right_that_is_missing_is_named() {
    let (database, mut conn) = migrated().await;
    let role = format!("{}_role", database.name);
    run(
        &mut conn,
        &format!("CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA baldur TO {role}"),
    )
    .await;
    for (table, needed) in NEEDED {
        run(&mut conn, &format!("GRANT {needed} ON baldur.{table} TO {role}")).await;
    }
    let config = |namespace| {
        let mut config = PostgresConfig::new(
            database.url_as(&role, "p").parse().expect("a URL"),
            Namespace::parse(namespace).expect("a namespace"),
        );
        config.migrate = false;
        config
    };
    let store = PostgresStore::open(config("lab")).await.expect("these rights are enough");
    let report = check_of(&store, CheckDepth::Deep).await;
    assert_eq!(report.problems, Vec::<String>::new());
    run(&mut conn, &format!("REVOKE DELETE, UPDATE ON baldur.states FROM {role}")).await;
    run(&mut conn, &format!("REVOKE INSERT ON baldur.evidence FROM {role}")).await;
    let report = check_of(&store, CheckDepth::Quick).await;
    let told = [
        format!("the role `{role}` lacks INSERT on table `baldur.evidence`"),
        format!("the role `{role}` lacks UPDATE, DELETE on table `baldur.states`"),
    ];
    assert_eq!(report.problems, told);
    run(&mut conn, &format!("REVOKE USAGE ON SCHEMA baldur FROM {role}")).await;
    let report = check_of(&store, CheckDepth::Quick).await;
    assert_eq!(report.problems[0], "the role lacks USAGE on schema `baldur`");
    store.close().await;
    run(&mut conn, &format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    database.remove().await;
}

#[tokio::test]
async fn the_expected_schema_is_that_of_a_new_database() {
    let (database, mut conn) = migrated().await;
    let text = schema::text(&mut conn).await;
    if std::env::var_os("BALDUR_BLESS").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations/schema.txt");
        std::fs::write(file, &text).expect("it can be written");
    }
    assert_eq!(
        text,
        include_str!("../../migrations/schema.txt"),
        "run again with BALDUR_BLESS=1 and look at the change"
    );
    database.remove().await;
}
