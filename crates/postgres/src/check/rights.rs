//! Whether the role may do what the store does.

use baldur_core::port::CheckReport;
use sqlx::PgConnection;

use crate::error::StepError;

/// What each table needs.
pub(super) const NEEDED: [(&str, &str); 18] = [
    ("attempts", "SELECT, INSERT, UPDATE, DELETE"),
    ("breakers", "SELECT, INSERT, UPDATE"),
    ("counter_deltas", "SELECT, INSERT, DELETE"),
    ("counters", "SELECT, INSERT, UPDATE, DELETE"),
    ("entries", "SELECT, INSERT, UPDATE, DELETE"),
    ("evidence", "SELECT, INSERT"),
    ("facet_keys", "SELECT, INSERT"),
    ("gone", "SELECT, INSERT"),
    ("intake", "SELECT, INSERT, UPDATE, DELETE"),
    ("labels", "SELECT, INSERT, DELETE"),
    ("live_domains", "SELECT, INSERT, UPDATE, DELETE"),
    ("merged_ids", "SELECT, INSERT"),
    ("migrations", "SELECT"),
    ("namespaces", "SELECT, INSERT, UPDATE"),
    ("paces", "SELECT, INSERT, UPDATE"),
    ("payloads", "SELECT, INSERT, UPDATE, DELETE"),
    ("states", "SELECT, INSERT, UPDATE, DELETE"),
    ("unsealed", "SELECT, INSERT, DELETE"),
];

/// The catalog answers, which everybody may read; tables that are not there have no rights missing.
const MISSING: &str = "SELECT format('the role `%s` lacks %s on table `baldur.%s`', current_user, \
      string_agg(p.word, ', ' ORDER BY p.n), v.name) \
     FROM unnest($1::text[], $2::text[]) WITH ORDINALITY v(name, needed, n) \
     JOIN pg_namespace s ON s.nspname = 'baldur' \
     JOIN pg_class c ON c.relnamespace = s.oid AND c.relname = v.name AND c.relkind IN ('r', 'p') \
     CROSS JOIN LATERAL unnest(string_to_array(v.needed, ', ')) WITH ORDINALITY p(word, n) \
     WHERE NOT has_table_privilege(c.oid, p.word) \
     GROUP BY v.n, v.name ORDER BY v.n";

const USAGE: &str =
    "SELECT has_schema_privilege(oid, 'USAGE') FROM pg_namespace WHERE nspname = 'baldur'";

pub(super) async fn check(
    conn: &mut PgConnection,
    report: &mut CheckReport,
) -> Result<(), StepError> {
    report.checked.push("rights of the role".to_owned());
    match sqlx::query_scalar(USAGE).fetch_optional(&mut *conn).await? {
        Some(true) => {}
        Some(false) => report.problems.push("the role lacks USAGE on schema `baldur`".to_owned()),
        None => report.problems.push("the schema `baldur` is not there".to_owned()),
    }
    let (names, needed): (Vec<&str>, Vec<&str>) = NEEDED.into_iter().unzip();
    let missing: Vec<String> =
        sqlx::query_scalar(MISSING).bind(names).bind(needed).fetch_all(conn).await?;
    report.problems.extend(missing);
    Ok(())
}
