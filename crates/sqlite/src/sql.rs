//! SQL for many rows at a time, put together from constant pieces.
//!
//! Each statement costs a trip to the thread that owns the connection, which is more than SQLite needs for a small
//! row. So rows go in chunks of fixed sizes, whose statements stay prepared.

use std::sync::{Arc, OnceLock};

use sqlx::{AssertSqlSafe, Sqlite, SqliteConnection, query::Query, sqlite::SqliteArguments};

/// A statement with its values.
pub(crate) type SqliteQuery = Query<'static, Sqlite, SqliteArguments>;

/// The chunk sizes. Any number of rows is a sum of few of them.
const SIZES: [usize; 4] = [64, 16, 4, 1];

/// A statement over a list of rows: `head row, row, … tail`.
#[derive(Debug)]
pub(crate) struct MultiRow {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
    texts: [OnceLock<Arc<str>>; SIZES.len()],
}

impl MultiRow {
    /// A statement from its constant pieces.
    pub(crate) const fn new(head: &'static str, row: &'static str, tail: &'static str) -> Self {
        Self { head, row, tail, texts: [const { OnceLock::new() }; SIZES.len()] }
    }

    /// Its text for `SIZES[size]` rows.
    pub(crate) fn text(&self, size: usize) -> Arc<str> {
        let text = self.texts[size].get_or_init(|| {
            let rows = vec![self.row; SIZES[size]].join(", ");
            Arc::from(format!("{}{rows}{}", self.head, self.tail))
        });
        Arc::clone(text)
    }

    /// Runs the statement over all items; `bind` adds the values of one.
    pub(crate) async fn run<T: Sync>(
        &self,
        conn: &mut SqliteConnection,
        items: &[T],
        bind: impl Fn(SqliteQuery, &T) -> SqliteQuery + Send + Sync,
    ) -> Result<(), sqlx::Error> {
        let mut rest = items;
        for (size, rows) in SIZES.into_iter().enumerate() {
            while rest.len() >= rows {
                let (chunk, after) = rest.split_at(rows);
                // Safe: only constant pieces of this crate, joined by commas.
                let query = sqlx::query(AssertSqlSafe(self.text(size)));
                chunk.iter().fold(query, &bind).execute(&mut *conn).await?;
                rest = after;
            }
        }
        Ok(())
    }
}

/// A JSON list of integers, for `json_each`.
pub(crate) fn json_integers(values: impl IntoIterator<Item = i64>) -> String {
    let mut list = String::from("[");
    for value in values {
        if list.len() > 1 {
            list.push(',');
        }
        list.push_str(&value.to_string());
    }
    list.push(']');
    list
}

/// A JSON list of ids in hexadecimal digits, for `unhex(value)`.
pub(crate) fn json_ids(ids: impl IntoIterator<Item = baldur_core::EntryId>) -> String {
    let mut list = String::from("[");
    for id in ids {
        if list.len() > 1 {
            list.push(',');
        }
        list.push('"');
        list.extend(id.as_bytes().iter().flat_map(|byte| {
            [byte >> 4, byte & 0x0f]
                .map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0'))
        }));
        list.push('"');
    }
    list.push(']');
    list
}

/// A number for SQLite, which has 64 bits with a sign. Larger ones stop at the end.
pub(crate) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A limit for SQLite.
pub(crate) fn limit(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
