//! Whether the tables and indexes are those that the migrations made.

use std::collections::BTreeMap;

use baldur_core::port::CheckReport;
use sqlx::{PgConnection, Row};

use crate::error::StepError;

/// Tables with their columns, and indexes with theirs, as [`OBJECTS`] tells them of a new database.
const EXPECTED: &str = include_str!("../../migrations/schema.txt");

/// Everything in the schema, in words that are the same for every version of the server. Nobody else's triggers and
/// indexes belong here: they change what our statements do, and what they cost.
pub(super) const OBJECTS: &str = "SELECT 'table' AS kind, c.relname::text AS name, true AS valid, \
      (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod), \
       CASE WHEN a.attnotnull THEN 'NOT NULL' END, CASE WHEN a.attidentity <> '' THEN 'IDENTITY' END), \
       ', ' ORDER BY a.attname) FROM pg_attribute a \
       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS text \
     FROM pg_class c WHERE c.relnamespace = to_regnamespace('baldur') AND c.relkind IN ('r', 'p') \
     UNION ALL SELECT 'index', c.relname::text, i.indisvalid AND i.indisready, \
      concat_ws(' ', CASE WHEN i.indisunique THEN 'UNIQUE' END, t.relname || ':', \
       (SELECT string_agg(pg_get_indexdef(c.oid, n, true), ', ' ORDER BY n) \
        FROM generate_series(1, i.indnkeyatts) n), CASE WHEN i.indpred IS NOT NULL THEN 'PARTIAL' END) \
     FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid \
     WHERE t.relnamespace = to_regnamespace('baldur') \
     UNION ALL SELECT 'trigger', g.tgname::text, true, t.relname::text \
     FROM pg_trigger g JOIN pg_class t ON t.oid = g.tgrelid \
     WHERE t.relnamespace = to_regnamespace('baldur') AND NOT g.tgisinternal \
     ORDER BY 1, 2";

/// Name to kind and text, and whether it can be used.
type Objects = BTreeMap<(String, String), (String, bool)>;

async fn objects(conn: &mut PgConnection) -> Result<Objects, StepError> {
    let rows = sqlx::query(OBJECTS).fetch_all(conn).await?;
    let object = |row: &sqlx::postgres::PgRow| {
        Ok(((row.try_get(0)?, row.try_get(1)?), (row.try_get(3)?, row.try_get(2)?)))
    };
    rows.iter().map(object).collect()
}

/// What is expected, in the form of the file: `kind name = text`.
fn expected() -> BTreeMap<(&'static str, &'static str), &'static str> {
    let line = |line: &'static str| {
        let (object, text) = line.split_once(" = ")?;
        Some((object.split_once(' ')?, text))
    };
    EXPECTED.lines().filter_map(line).collect()
}

pub(super) async fn check(
    conn: &mut PgConnection,
    report: &mut CheckReport,
) -> Result<(), StepError> {
    let (found, expected) = (objects(conn).await?, expected());
    for ((kind, name), text) in &expected {
        match found.get(&((*kind).to_owned(), (*name).to_owned())) {
            None => report.problems.push(format!("the {kind} `{name}` is missing")),
            Some((actual, _)) if actual != text => {
                report.problems.push(format!("the {kind} `{name}` differs from the schema"));
            }
            Some((_, false)) => report.problems.push(format!(
                "the {kind} `{name}` is not valid: rebuild it with REINDEX INDEX CONCURRENTLY"
            )),
            Some((_, true)) => {}
        }
    }
    for (kind, name) in found.keys() {
        if !expected.contains_key(&(kind.as_str(), name.as_str())) {
            report.problems.push(format!("the {kind} `{name}` is not part of the schema"));
        }
    }
    Ok(())
}

/// The file for these objects.
#[cfg(test)]
pub(super) async fn text(conn: &mut PgConnection) -> String {
    let found = objects(conn).await.expect("the catalog can be read");
    let line = |((kind, name), (text, _)): (&(String, String), &(String, bool))| {
        format!("{kind} {name} = {text}\n")
    };
    found.iter().map(line).collect()
}
