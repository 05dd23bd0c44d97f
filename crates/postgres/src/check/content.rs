//! Reading everything and comparing it, from one snapshot in short statements.
//!
//! Ids are walked in batches, so that no statement comes near its timeout. The snapshot holds back vacuum as long as it
//! lasts, so this is for quiet hours.

use std::collections::HashMap;

use baldur_core::{BackendError, port::CheckReport};
use sqlx::{PgConnection, Row, types::Uuid};

use super::questions::{
    COUNTED, LABEL_INDEX, LABELS_BATCH, LIVE, QUESTIONS, RECOUNT, UNSEALED_BATCH, UNSEALED_COUNTED,
};
use crate::{
    error::{StepError, sqlstate},
    reader::{Reader, Snapshot},
};

/// How many entries one statement looks at.
const BATCH: i64 = 10_000;

/// Counts by facet key and status; live ones by domain.
#[derive(Default)]
struct Counts {
    cells: HashMap<(i64, String), i64>,
    live: HashMap<String, i64>,
}

impl Counts {
    fn add(&mut self, facet_key: i64, status: String, domain: &str, n: i64) {
        if LIVE.contains(&status.as_str()) {
            *self.live.entry(domain.to_owned()).or_default() += n;
        }
        *self.cells.entry((facet_key, status)).or_default() += n;
    }
}

/// How many keys have another number in one than in the other. Absent is zero.
fn differing<K: std::hash::Hash + Eq>(one: &HashMap<K, i64>, other: &HashMap<K, i64>) -> usize {
    let differs = |(key, n): &(&K, &i64), there: &HashMap<K, i64>| {
        there.get(*key).copied().unwrap_or_default() != **n
    };
    let absent = other.iter().filter(|(key, n)| !one.contains_key(*key) && **n != 0);
    one.iter().filter(|pair| differs(pair, other)).count() + absent.count()
}

pub(super) async fn check(
    reader: &Reader<'_>,
    report: &mut CheckReport,
) -> Result<(), BackendError> {
    let mut snapshot = reader.within("check", reader.begin()).await?;
    let ns = reader.ns();
    let mut wrong = [0_i64; QUESTIONS.len()];
    let mut unread: [Option<String>; QUESTIONS.len()] = [const { None }; QUESTIONS.len()];
    let mut recounted = Counts::default();
    let mut from = Uuid::nil();
    loop {
        let until = reader.within("check", end_of_batch(snapshot.conn(), ns, from)).await?;
        for ((question, wrong), unread) in QUESTIONS.iter().zip(&mut wrong).zip(&mut unread) {
            if unread.is_none() {
                let asked = ask(&mut snapshot, question.sql, ns, from, until);
                match reader.within("check", asked).await? {
                    Ok(n) => *wrong += n,
                    Err(reason) => *unread = Some(reason),
                }
            }
        }
        reader.within("check", recount(snapshot.conn(), ns, from, until, &mut recounted)).await?;
        match until {
            Some(until) => from = until,
            None => break,
        }
    }
    let mut labels_read = true;
    for ((question, wrong), unread) in QUESTIONS.iter().zip(wrong).zip(unread) {
        labels_read &= question.checked != LABEL_INDEX || unread.is_none();
        report.checked.push(question.checked.to_owned());
        if wrong > 0 {
            report.problems.push(format!("{wrong} {}", question.problem));
        }
        if let Some(reason) = unread {
            report.problems.push(format!("{}: some can't be read: {reason}", question.checked));
        }
    }
    check_counters(reader, &mut snapshot, &recounted, report).await?;
    check_unsealed(reader, &mut snapshot, report).await?;
    if labels_read {
        check_labels(reader, &mut snapshot, report).await?;
    }
    reader.within("check", snapshot.end(Ok(()))).await
}

/// The last id of the batch after `from`; `None` when the rest is smaller.
async fn end_of_batch(
    conn: &mut PgConnection,
    ns: i32,
    from: Uuid,
) -> Result<Option<Uuid>, StepError> {
    let end =
        "SELECT id FROM baldur.states WHERE ns = $1 AND id > $2 ORDER BY id OFFSET $3 LIMIT 1";
    Ok(sqlx::query_scalar(end).bind(ns).bind(from).bind(BATCH - 1).fetch_optional(conn).await?)
}

/// The number that a question answers, or why a row can't even be read.
async fn ask(
    snapshot: &mut Snapshot,
    sql: &'static str,
    ns: i32,
    from: Uuid,
    until: Option<Uuid>,
) -> Result<Result<i64, String>, StepError> {
    sqlx::raw_sql("SAVEPOINT question").execute(snapshot.conn()).await?;
    let until = until.unwrap_or(Uuid::max());
    let asked = sqlx::query_scalar(sql).bind(ns).bind(from).bind(until);
    match asked.fetch_one(snapshot.conn()).await {
        Ok(n) => Ok(Ok(n)),
        Err(error) if sqlstate(&error).is_some_and(|state| state.starts_with("22")) => {
            sqlx::raw_sql("ROLLBACK TO question").execute(snapshot.conn()).await?;
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

async fn recount(
    conn: &mut PgConnection,
    ns: i32,
    from: Uuid,
    until: Option<Uuid>,
    counts: &mut Counts,
) -> Result<(), StepError> {
    let until = until.unwrap_or(Uuid::max());
    let rows = sqlx::query(RECOUNT).bind(ns).bind(from).bind(until).fetch_all(conn).await?;
    for row in rows {
        counts.add(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    }
    Ok(())
}

async fn check_counters(
    reader: &Reader<'_>,
    snapshot: &mut Snapshot,
    recounted: &Counts,
    report: &mut CheckReport,
) -> Result<(), BackendError> {
    let ns = reader.ns();
    let counted = reader.within("check", counted(snapshot.conn(), ns)).await?;
    let (cells, live, in_all) = counted;
    for checked in ["counters", "live entries by domain", "number of live entries"] {
        report.checked.push(checked.to_owned());
    }
    let wrong = differing(&cells, &recounted.cells);
    if wrong > 0 {
        report.problems.push(format!("{wrong} counters don't agree with the entries"));
    }
    let wrong = differing(&live, &recounted.live);
    if wrong > 0 {
        report.problems.push(format!(
            "{wrong} counts of live entries don't agree with the entries of their domains"
        ));
    }
    let there: i64 = recounted.live.values().sum();
    if in_all != there {
        report.problems.push(format!(
            "{} live entries are more or fewer than the count of live entries says",
            in_all.abs_diff(there)
        ));
    }
    Ok(())
}

/// Counters with what is not folded yet: by facet key and status, live ones by domain, live ones in all.
type Counted = (HashMap<(i64, String), i64>, HashMap<String, i64>, i64);

async fn counted(conn: &mut PgConnection, ns: i32) -> Result<Counted, StepError> {
    let (mut cells, mut live, mut in_all) = (HashMap::new(), HashMap::new(), 0);
    for row in sqlx::query(COUNTED).bind(ns).fetch_all(conn).await? {
        let n: i64 = row.try_get(3)?;
        match (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?) {
            (Some(facet_key), Some(status), _) => {
                cells.insert((facet_key, status), n);
            }
            (_, _, Some(domain)) => {
                live.insert(domain, n);
            }
            (_, _, None) => in_all = n,
        }
    }
    Ok((cells, live, in_all))
}

/// Unsealed evidence is numbered in a way of its own, so it is walked by that.
async fn check_unsealed(
    reader: &Reader<'_>,
    snapshot: &mut Snapshot,
    report: &mut CheckReport,
) -> Result<(), BackendError> {
    let ns = reader.ns();
    let (mut lost, mut there, mut from) = (0_i64, 0_i64, Some(i64::MIN));
    while let Some(after) = from {
        let batch = async {
            let batch = sqlx::query(UNSEALED_BATCH).bind(ns).bind(after).bind(BATCH);
            let row = batch.fetch_one(snapshot.conn()).await?;
            Ok((row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?, row.try_get(2)?))
        };
        let (missing, n, next) = reader.within("check", batch).await?;
        lost += missing;
        there += n;
        from = next;
    }
    let counted = async {
        Ok(sqlx::query_scalar(UNSEALED_COUNTED).bind(ns).fetch_one(snapshot.conn()).await?)
    };
    let counted: i64 = reader.within("check", counted).await?;
    report.checked.push("unsealed evidence, and its number".to_owned());
    if lost > 0 {
        report.problems.push(format!("{lost} records that wait for the journal don't exist"));
    }
    if counted != there {
        report.problems.push(format!(
            "{} records are more or fewer than the count of unsealed evidence says",
            counted.abs_diff(there)
        ));
    }
    Ok(())
}

/// A position in the index of labels.
type LabelPosition = (String, String, i64, Uuid);

/// The index of labels is walked in its own order, so that rows of no entry are found too.
async fn check_labels(
    reader: &Reader<'_>,
    snapshot: &mut Snapshot,
    report: &mut CheckReport,
) -> Result<(), BackendError> {
    let ns = reader.ns();
    // No name is empty.
    let mut from: Option<LabelPosition> = Some((String::new(), String::new(), 0, Uuid::nil()));
    let mut surplus = 0_i64;
    while let Some((name, value, created_at, id)) = from.take() {
        let batch = async {
            let batch = sqlx::query(LABELS_BATCH).bind(ns).bind(name).bind(value);
            let batch = batch.bind(created_at).bind(id).bind(BATCH);
            let row = batch.fetch_one(snapshot.conn()).await?;
            let last: Option<String> = row.try_get(1)?;
            let last = match last {
                Some(name) => Some((name, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?)),
                None => None,
            };
            Ok((row.try_get::<i64, _>(0)?, last))
        };
        let (surplus_here, last) = reader.within("check", batch).await?;
        surplus += surplus_here;
        from = last;
    }
    report.checked.push("surplus labels".to_owned());
    if surplus > 0 {
        report
            .problems
            .push(format!("{surplus} labels in the index are not those of their entries"));
    }
    Ok(())
}
