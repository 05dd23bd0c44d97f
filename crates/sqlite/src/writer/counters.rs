//! The counters by facet key and status, changed in the transaction that changes the entries.

use std::collections::HashMap;

use baldur_core::Status;
use sqlx::SqliteConnection;

use crate::{error::StepError, sql::MultiRow};

/// How the counters change, added up over a batch.
#[derive(Debug, Default)]
pub(super) struct Deltas(HashMap<(i64, Status), i64>);

pub(super) static ADD: MultiRow = MultiRow::new(
    "INSERT INTO counters (facet_key, status, n) VALUES ",
    "(?, ?, ?)",
    " ON CONFLICT (facet_key, status) DO UPDATE SET n = n + excluded.n",
);

pub(super) static SUBTRACT: MultiRow = MultiRow::new(
    "WITH v(facet_key, status, n) AS (VALUES ",
    "(?, ?, ?)",
    ") UPDATE counters SET n = counters.n - v.n FROM v \
     WHERE counters.facet_key = v.facet_key AND counters.status = v.status",
);

impl Deltas {
    /// An entry with this status is there now.
    pub(super) fn enters(&mut self, facet_key: i64, status: Status) {
        *self.0.entry((facet_key, status)).or_default() += 1;
    }

    /// An entry has left this status.
    pub(super) fn leaves(&mut self, facet_key: i64, status: Status) {
        *self.0.entry((facet_key, status)).or_default() -= 1;
    }

    pub(super) async fn write(self, conn: &mut SqliteConnection) -> Result<(), StepError> {
        let (mut more, mut less) = (Vec::new(), Vec::new());
        for ((facet_key, status), delta) in self.0 {
            match delta {
                1.. => more.push((facet_key, status, delta)),
                0 => {}
                ..0 => less.push((facet_key, status, -delta)),
            }
        }
        // An inserted row is checked before it turns into an update, so a negative one can't be inserted.
        for (statement, changes) in [(&ADD, more), (&SUBTRACT, less)] {
            statement
                .run(&mut *conn, &changes, |query, (facet_key, status, n)| {
                    query.bind(*facet_key).bind(status.as_str()).bind(*n)
                })
                .await?;
        }
        Ok(())
    }
}
