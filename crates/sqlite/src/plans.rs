//! Query plans: every statement goes by an index, at any number of entries.

use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};

use crate::{
    migrate,
    reader::{breakers, evidence, facets, find_sql},
    writer::plans as writer,
};

/// An empty database with the whole schema.
pub(crate) async fn fresh() -> SqliteConnection {
    let mut conn = SqliteConnection::connect("sqlite::memory:").await.expect("memory opens");
    migrate::apply_all(&mut conn).await.expect("the schema is sound");
    conn
}

/// The steps of a plan.
pub(crate) async fn plan_of(conn: &mut SqliteConnection, sql: &str) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")))
        .fetch_all(conn)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    rows.iter().map(|row| row.try_get("detail").expect("a step")).collect()
}

/// The steps that would cost more with more entries.
///
/// Walking over a list that the caller gave, or over what a part of the statement found by an index, is no offence; sorting is one, except where a merge sorts what each of its
/// bounded stretches gave.
pub(crate) fn offences(plan: &[String], sorts: bool) -> Vec<String> {
    let given = |step: &str| {
        ["VIRTUAL TABLE", "CONSTANT ROW", "VALUES CLAUSE"].iter().any(|list| step.contains(list))
            // What a limited subquery or the rows to write gave.
            || step.starts_with("SCAN (subquery") || step == "SCAN v"
    };
    plan.iter()
        .filter(|step| {
            (step.starts_with("SCAN") && !given(step))
                || (step.contains("TEMP B-TREE") && !sorts)
                || step.contains("AUTOMATIC")
        })
        .cloned()
        .collect()
}

#[tokio::test]
async fn every_constant_statement_goes_by_an_index() {
    let mut conn = fresh().await;
    let reads = [
        find_sql(),
        evidence::TRAIL,
        evidence::UNSEALED,
        evidence::BACKLOG,
        facets::CELLS,
        breakers::LOAD,
        breakers::LIST,
    ];
    for sql in reads.into_iter().chain(writer::constants()) {
        let plan = plan_of(&mut conn, sql).await;
        let offences = offences(&plan, false);
        assert!(offences.is_empty(), "{sql}\n{offences:?}\n{plan:#?}");
    }
}

#[tokio::test]
async fn every_statement_over_many_rows_goes_by_an_index() {
    let mut conn = fresh().await;
    for statement in writer::multi_rows() {
        for size in 0..4 {
            let sql = statement.text(size);
            let plan = plan_of(&mut conn, &sql).await;
            let offences = offences(&plan, false);
            assert!(offences.is_empty(), "{statement:?}\n{offences:?}");
        }
    }
}

#[tokio::test]
async fn a_plan_without_an_index_is_noticed() {
    let mut conn = fresh().await;
    for bad in [
        "SELECT seq FROM entries WHERE error_code = 'x'",
        "SELECT seq FROM entries WHERE ns = 1 ORDER BY updated_at",
    ] {
        let plan = plan_of(&mut conn, bad).await;
        assert!(!offences(&plan, false).is_empty(), "{bad}: {plan:?}");
    }
}
