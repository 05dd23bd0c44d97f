//! Looking a store over: what can be told at once, and what takes reading everything.

use std::collections::BTreeMap;

use baldur_core::{
    BackendError,
    port::{CheckDepth, CheckReport},
};
use sqlx::{Connection, Row, SqliteConnection};

use crate::{
    error::StepError,
    migrate,
    reader::{Reader, failed},
    writer::WriterSettings,
};

/// `PRAGMA synchronous` of a connection that syncs at each commit.
const FULL: i64 = 2;

/// Checks the store from one snapshot.
pub(crate) async fn check(
    reader: &Reader,
    settings: &WriterSettings,
    depth: CheckDepth,
) -> Result<CheckReport, BackendError> {
    let look = async {
        let mut conn = reader.conn().await?;
        let mut snapshot = conn.begin().await?;
        let mut report = CheckReport::default();
        check_settings(settings, &mut report);
        check_schema(&mut snapshot, &mut report).await?;
        match depth {
            CheckDepth::Quick => {}
            // The questions of a deep check need the whole schema.
            CheckDepth::Deep if !report.problems.is_empty() => {}
            CheckDepth::Deep => check_content(&mut snapshot, reader.ns(), &mut report).await?,
        }
        snapshot.commit().await?;
        Ok(report)
    };
    look.await.map_err(failed("check"))
}

fn check_settings(settings: &WriterSettings, report: &mut CheckReport) {
    let WriterSettings { journal_mode, synchronous } = settings;
    report
        .checked
        .push(format!("settings: journal_mode={journal_mode}, synchronous={synchronous}"));
    if journal_mode != "wal" {
        report.problems.push(format!("the journal mode is `{journal_mode}`, not `wal`"));
    }
    if *synchronous < FULL {
        report
            .problems
            .push(format!("commits are not synced: synchronous is {synchronous}, not {FULL}"));
    }
}

async fn check_schema(
    conn: &mut SqliteConnection,
    report: &mut CheckReport,
) -> Result<(), StepError> {
    report.checked.push(format!("schema version {}, tables and indexes", migrate::NEWEST));
    report.problems.extend(migrate::problems(conn).await?);
    let found = objects(conn).await?;
    // The schema that this program makes, made anew in memory.
    let mut fresh = SqliteConnection::connect("sqlite::memory:").await?;
    migrate::apply_all(&mut fresh).await?;
    let expected = objects(&mut fresh).await?;
    fresh.close().await?;
    for (name, (kind, sql)) in &expected {
        match found.get(name) {
            None => report.problems.push(format!("the {kind} `{name}` is missing")),
            Some((_, actual)) if actual != sql => {
                report.problems.push(format!("the {kind} `{name}` differs from the schema"));
            }
            Some(_) => {}
        }
    }
    // A trigger of somebody else changes what our statements do.
    for (name, (kind, _)) in found.iter().filter(|(name, _)| !expected.contains_key(*name)) {
        report.problems.push(format!("the {kind} `{name}` is not part of the schema"));
    }
    Ok(())
}

/// Name, kind and text of everything in a schema.
type Objects = BTreeMap<String, (String, String)>;

async fn objects(conn: &mut SqliteConnection) -> Result<Objects, sqlx::Error> {
    sqlx::query(
        "SELECT name, type, sql FROM sqlite_schema \
         WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY name",
    )
    .fetch_all(conn)
    .await?
    .iter()
    .map(|row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?))))
    .collect()
}

/// A question that counts what is wrong.
struct Question {
    /// What was looked at.
    checked: &'static str,
    /// What is wrong with each that it counts.
    problem: &'static str,
    /// One row: how many. `?1` is the namespace.
    sql: &'static str,
}

const QUESTIONS: [Question; 15] = [
    Question {
        checked: "payloads",
        problem: "entries have no payload",
        sql: "SELECT count(*) FROM entries e LEFT JOIN payloads p ON p.seq = e.seq \
              WHERE e.ns = ?1 AND p.seq IS NULL",
    },
    Question {
        checked: "evidence",
        problem: "entries miss evidence, or have more than they count",
        sql: "SELECT count(*) FROM entries e LEFT JOIN \
              (SELECT entry, count(*) AS n, max(counter) AS last FROM evidence GROUP BY entry) v \
              ON v.entry = e.seq \
              WHERE e.ns = ?1 AND (v.n IS NULL OR v.n <> e.evidence_count OR v.last <> v.n)",
    },
    Question {
        checked: "unsealed evidence",
        problem: "records that wait for the journal don't exist",
        sql: "SELECT count(*) FROM unsealed u LEFT JOIN evidence v \
              ON v.entry = u.entry AND v.counter = u.counter \
              WHERE u.ns = ?1 AND v.entry IS NULL",
    },
    Question {
        checked: "number of unsealed records",
        problem: "records are more or fewer than the count of unsealed evidence says",
        sql: "SELECT abs((SELECT unsealed FROM namespaces WHERE ns = ?1) \
              - (SELECT count(*) FROM unsealed WHERE ns = ?1))",
    },
    Question {
        checked: "facet keys",
        problem: "entries are counted under another combination than theirs",
        sql: "SELECT count(*) FROM entries e LEFT JOIN facet_keys f ON f.facet_key = e.facet_key \
              WHERE e.ns = ?1 AND (f.ns IS NULL OR f.ns <> e.ns OR (f.domain <> '(other)' AND \
              (f.domain, f.failure_type, f.dependency) <> (e.domain, e.failure_type, e.dependency)))",
    },
    Question {
        checked: "counters",
        problem: "counters don't agree with the entries",
        sql: "SELECT count(*) FROM ( \
              SELECT facet_key, status, sum(n) AS n FROM ( \
                SELECT c.facet_key, c.status, c.n FROM counters c \
                JOIN facet_keys f ON f.facet_key = c.facet_key WHERE f.ns = ?1 \
                UNION ALL \
                SELECT facet_key, status, -1 FROM entries WHERE ns = ?1) \
              GROUP BY facet_key, status HAVING sum(n) <> 0)",
    },
    Question {
        checked: "order heads",
        problem: "entries are wrongly marked, or not marked, as first of their order key",
        sql: "SELECT count(*) FROM entries e WHERE e.ns = ?1 AND e.order_head <> \
              CASE WHEN e.order_key IS NULL THEN 1 ELSE e.seq IS coalesce( \
                (SELECT l.seq FROM entries l INDEXED BY entries_order_replaying \
                 WHERE l.ns = e.ns AND l.order_key = e.order_key AND l.status = 'replaying' \
                 ORDER BY l.created_at, l.id LIMIT 1), \
                (SELECT l.seq FROM entries l INDEXED BY entries_order_live \
                 WHERE l.ns = e.ns AND l.order_key = e.order_key \
                 AND l.status IN ('pending', 'replaying', 'reviewing', 'requires_review') \
                 ORDER BY l.created_at, l.id LIMIT 1)) END",
    },
    Question {
        checked: "label index",
        problem: "labels are missing from their index",
        sql: "SELECT count(*) FROM entries e CROSS JOIN json_each(coalesce(e.labels, '{}')) j \
              WHERE e.ns = ?1 AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.ns = e.ns \
              AND l.name = j.key AND l.value = j.value AND l.created_at = e.created_at \
              AND l.id = e.id AND l.seq = e.seq)",
    },
    Question {
        checked: "surplus labels",
        problem: "labels in the index are not those of their entries",
        sql: "SELECT count(*) FROM labels l LEFT JOIN entries e ON e.seq = l.seq \
              WHERE l.ns = ?1 AND (e.seq IS NULL \
              OR json_extract(e.labels, '$.\"' || l.name || '\"') IS NOT l.value)",
    },
    Question {
        checked: "merged ids",
        problem: "merged captures point to no entry",
        sql: "SELECT count(*) FROM merged_ids m LEFT JOIN entries e ON e.seq = m.seq \
              AND e.ns = m.ns LEFT JOIN gone g ON g.seq = m.seq AND g.ns = m.ns \
              WHERE m.ns = ?1 AND e.seq IS NULL AND g.seq IS NULL",
    },
    Question {
        checked: "number of live entries",
        problem: "live entries are more or fewer than the count of live entries says",
        sql: "SELECT abs((SELECT live FROM namespaces WHERE ns = ?1) \
              - (SELECT count(*) FROM entries WHERE ns = ?1 \
                 AND status IN ('pending', 'replaying', 'reviewing', 'requires_review')))",
    },
    Question {
        checked: "live entries by domain",
        problem: "counts of live entries don't agree with the entries of their domains",
        sql: "SELECT count(*) FROM ( \
              SELECT domain FROM ( \
                SELECT domain, n FROM live_domains WHERE ns = ?1 \
                UNION ALL \
                SELECT domain, -1 FROM entries WHERE ns = ?1 \
                AND status IN ('pending', 'replaying', 'reviewing', 'requires_review')) \
              GROUP BY domain HAVING sum(n) <> 0 OR max(n) <= 0)",
    },
    Question {
        checked: "entries that went",
        problem: "entries are here though they went",
        sql: "SELECT count(*) FROM gone g WHERE g.ns = ?1 AND \
              (EXISTS (SELECT 1 FROM entries e WHERE e.ns = g.ns AND e.id = g.id) \
               OR EXISTS (SELECT 1 FROM entries e WHERE e.seq = g.seq))",
    },
    Question {
        checked: "evidence of entries that went",
        problem: "entries that went miss evidence, or its last record does not say why",
        sql: "SELECT count(*) FROM gone g LEFT JOIN \
              (SELECT entry, count(*) AS n, max(counter) AS last FROM evidence GROUP BY entry) v \
              ON v.entry = g.seq \
              WHERE g.ns = ?1 AND (v.n IS NULL OR v.last <> v.n OR NOT EXISTS \
              (SELECT 1 FROM evidence w WHERE w.entry = g.seq AND w.counter = v.last \
               AND w.body ->> '$.event' = g.cause))",
    },
    Question {
        checked: "owners of evidence",
        problem: "records of evidence belong to no entry",
        // Evidence knows its namespace by its entry only, so this looks at all of them.
        sql: "SELECT count(*) FROM evidence v WHERE ?1 IS NOT NULL \
              AND NOT EXISTS (SELECT 1 FROM entries e WHERE e.seq = v.entry) \
              AND NOT EXISTS (SELECT 1 FROM gone g WHERE g.seq = v.entry)",
    },
];

/// How many problems of the file itself are told one by one.
const MOST_TOLD: usize = 20;

async fn check_content(
    conn: &mut SqliteConnection,
    ns: i64,
    report: &mut CheckReport,
) -> Result<(), StepError> {
    report.checked.push("structure of the file, its indexes and references".to_owned());
    let told: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut *conn).await?;
    let damaged = told.iter().filter(|line| *line != "ok").take(MOST_TOLD);
    report.problems.extend(damaged.map(|line| format!("the file is damaged: {line}")));
    let broken = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *conn).await?.len();
    if broken > 0 {
        report.problems.push(format!("{broken} rows refer to rows that don't exist"));
    }
    for Question { checked, problem, sql } in QUESTIONS {
        report.checked.push(checked.to_owned());
        let wrong: i64 = sqlx::query_scalar(sql).bind(ns).fetch_one(&mut *conn).await?;
        if wrong > 0 {
            report.problems.push(format!("{wrong} {problem}"));
        }
    }
    Ok(())
}
