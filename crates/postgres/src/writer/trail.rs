//! The evidence of a batch, and what it adds to the counters.

use baldur_core::{EvidenceRecord, wire};
use sqlx::{PgConnection, types::Uuid};

use super::counters;
use crate::{
    error::StepError,
    sql::{integer, limit, uuids},
};

pub(super) type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Evidence, its places in line for the journal, and the counters: the end of a statement that began with `WITH`.
/// Whatever changes a counter leaves evidence, so they come together.
macro_rules! evidence {
    (
        $ids:literal, $counters:literal, $bodies:literal, $times:literal, $facet_keys:literal,
        $statuses:literal, $domains:literal, $numbers:literal, $unsealed:literal
    ) => {
        concat!(
            "v AS (INSERT INTO baldur.evidence (ns, id, counter, body) SELECT $1, * FROM unnest(",
            $ids,
            "::uuid[], ",
            $counters,
            "::bigint[], ",
            $bodies,
            "::text[])), \
             u AS (INSERT INTO baldur.unsealed (ns, id, counter, at) SELECT $1, * FROM unnest(",
            $ids,
            "::uuid[], ",
            $counters,
            "::bigint[], ",
            $times,
            "::bigint[])) \
             INSERT INTO baldur.counter_deltas (ns, facet_key, status, domain, n, unsealed) \
             SELECT $1, * FROM unnest(",
            $facet_keys,
            "::bigint[], ",
            $statuses,
            "::text[], ",
            $domains,
            "::text[], ",
            $numbers,
            "::bigint[], ",
            $unsealed,
            "::bigint[])"
        )
    };
}
pub(super) use evidence;

/// For batches without new entries; those with some bring it along.
pub(crate) const EVIDENCE: &str =
    concat!("WITH ", evidence!("$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10"));

/// The values, column by column.
pub(super) struct EvidenceRows {
    ids: Vec<Uuid>,
    counters: Vec<i64>,
    bodies: Vec<String>,
    times: Vec<i64>,
    deltas: counters::Rows,
}

impl EvidenceRows {
    pub(super) fn of(evidence: &[EvidenceRecord], deltas: counters::Deltas) -> Self {
        Self {
            ids: uuids(evidence.iter().map(|record| record.entry)),
            counters: evidence.iter().map(|record| integer(record.counter)).collect(),
            bodies: evidence.iter().map(wire::encode_evidence).collect(),
            times: evidence.iter().map(|record| record.evidence.at.as_micros()).collect(),
            deltas: deltas.rows(limit(evidence.len())),
        }
    }

    /// How many deltas there are.
    pub(super) fn deltas(&self) -> usize {
        self.deltas.numbers.len()
    }

    /// The parameters of [`evidence`], in its order.
    pub(super) fn bind<'q>(&'q self, query: Query<'q>) -> Query<'q> {
        query
            .bind(&self.ids[..])
            .bind(&self.counters[..])
            .bind(&self.bodies[..])
            .bind(&self.times[..])
            .bind(&self.deltas.facet_keys[..])
            .bind(&self.deltas.statuses[..])
            .bind(&self.deltas.domains[..])
            .bind(&self.deltas.numbers[..])
            .bind(&self.deltas.unsealed[..])
    }

    /// Writes them, if there are any.
    pub(super) async fn write(&self, conn: &mut PgConnection, ns: i32) -> Result<(), StepError> {
        if !self.ids.is_empty() {
            self.bind(sqlx::query(EVIDENCE).bind(ns)).execute(conn).await?;
        }
        Ok(())
    }
}
