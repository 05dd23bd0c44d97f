//! Removing entries that made room: their rows go, their evidence and what is known of them stay.

use baldur_core::{Labels, Timestamp, name::OrderKey, port::Evicted};

use super::session::Session;
use crate::{
    error::StepError,
    sql::{MultiRow, integer, json_integers},
};

/// An entry that goes.
pub(super) struct Gone {
    pub(super) seq: i64,
    pub(super) origin: Origin,
    pub(super) order_key: Option<OrderKey>,
    pub(super) labels: Labels,
    pub(super) evicted: Evicted,
    pub(super) at: Timestamp,
}

/// Where an entry that goes was before.
pub(super) enum Origin {
    /// In the database.
    Stored {
        /// Under which key it is counted.
        facet_key: i64,
    },
    /// New in the same batch.
    New {
        /// Its place among the new ones.
        index: usize,
    },
}

pub(super) static GONE: MultiRow = MultiRow::new(
    "INSERT INTO gone (seq, ns, id, cause, domain, failure_type, dependency, status, created_at, \
     occurrences, gone_at) VALUES ",
    "(?, ?, ?, 'evicted', ?, ?, ?, ?, ?, ?, ?)",
    "",
);

pub(super) static DROP_LABELS: MultiRow = MultiRow::new(
    "DELETE FROM labels WHERE (ns, name, value, created_at, id) IN (VALUES ",
    "(?, ?, ?, ?, ?)",
    ")",
);

pub(crate) const DROP_PAYLOADS: &str =
    "DELETE FROM payloads WHERE seq IN (SELECT value FROM json_each(?1))";

pub(crate) const DROP_ENTRIES: &str =
    "DELETE FROM entries WHERE seq IN (SELECT value FROM json_each(?1))";

/// Removes the entries and remembers them. Counters and order heads are the caller's.
pub(super) async fn write(session: &mut Session, gone: &[Gone]) -> Result<(), StepError> {
    if gone.is_empty() {
        return Ok(());
    }
    let ns = session.ns;
    let conn = session.conn()?;
    let labels: Vec<_> =
        gone.iter().flat_map(|gone| gone.labels.iter().map(move |label| (gone, label))).collect();
    DROP_LABELS
        .run(conn, &labels, |query, (gone, (name, value))| {
            query
                .bind(ns)
                .bind(name.as_str().to_owned())
                .bind(value.as_str().to_owned())
                .bind(gone.evicted.captured_at.as_micros())
                .bind(gone.evicted.id.as_bytes().to_vec())
        })
        .await?;
    // Payloads refer to entries, so they go first.
    for statement in [DROP_PAYLOADS, DROP_ENTRIES] {
        let seqs = json_integers(gone.iter().map(|gone| gone.seq));
        sqlx::query(statement).bind(seqs).execute(&mut *conn).await?;
    }
    GONE.run(conn, gone, |query, gone| {
        let Evicted { id, domain, failure_type, dependency, status, captured_at, occurrences } =
            &gone.evicted;
        query
            .bind(gone.seq)
            .bind(ns)
            .bind(id.as_bytes().to_vec())
            .bind(domain.as_str().to_owned())
            .bind(failure_type.as_str().to_owned())
            .bind(dependency.as_str().to_owned())
            .bind(status.as_str())
            .bind(captured_at.as_micros())
            .bind(integer(*occurrences))
            .bind(gone.at.as_micros())
    })
    .await?;
    Ok(())
}
