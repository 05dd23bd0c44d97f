//! Evidence.

use baldur_core::{BackendError, EntryId, EvidenceRecord, port::EvidenceBacklog, wire};
use sqlx::postgres::PgRow;

use super::Reader;
use crate::{
    columns::Columns,
    error::StepError,
    sql::{integer, limit, uuid},
};

pub(crate) const TRAIL: &str = "SELECT v.id, v.body FROM baldur.evidence v \
     WHERE v.ns = $1 AND v.id = $2 AND v.counter > $3 ORDER BY v.counter LIMIT $4";

pub(crate) const UNSEALED: &str = "SELECT u.id, v.body \
     FROM baldur.unsealed u CROSS JOIN LATERAL (SELECT x.body FROM baldur.evidence x \
      WHERE x.ns = u.ns AND x.id = u.id AND x.counter = u.counter OFFSET 0) v \
     WHERE u.ns = $1 ORDER BY u.pos LIMIT $2";

/// The counter, what transactions added that is not folded yet, and the oldest.
pub(crate) const BACKLOG: &str = "SELECT n.unsealed + (SELECT coalesce(sum(d.unsealed), 0)::bigint \
      FROM baldur.counter_deltas d WHERE d.ns = n.ns AND d.xid >= n.folded_xid), \
     (SELECT u.at FROM baldur.unsealed u WHERE u.ns = n.ns ORDER BY u.at LIMIT 1) \
     FROM baldur.namespaces n WHERE n.ns = $1";

fn record(row: &PgRow) -> Result<EvidenceRecord, StepError> {
    let mut columns = Columns::of(row, "evidence");
    columns.id()?;
    columns.parsed("body", wire::decode_evidence)
}

impl Reader<'_> {
    pub(crate) async fn trail(
        &self,
        entry: EntryId,
        after: u64,
        most: usize,
    ) -> Result<Vec<EvidenceRecord>, BackendError> {
        self.within("read the evidence", async {
            let mut snapshot = self.begin().await?;
            let read = sqlx::query(TRAIL)
                .bind(self.ns())
                .bind(uuid(entry))
                .bind(integer(after))
                .bind(limit(most));
            let rows = read.fetch_all(snapshot.conn()).await.map_err(StepError::Sql);
            snapshot.end(rows).await?.iter().map(record).collect()
        })
        .await
    }

    pub(crate) async fn unsealed(&self, most: usize) -> Result<Vec<EvidenceRecord>, BackendError> {
        self.within("read the unsealed evidence", async {
            let mut snapshot = self.begin().await?;
            let read = sqlx::query(UNSEALED).bind(self.ns()).bind(limit(most));
            let rows = read.fetch_all(snapshot.conn()).await.map_err(StepError::Sql);
            snapshot.end(rows).await?.iter().map(record).collect()
        })
        .await
    }

    pub(crate) async fn backlog(&self) -> Result<EvidenceBacklog, BackendError> {
        self.within("read the evidence backlog", async {
            let mut snapshot = self.begin().await?;
            let read = sqlx::query(BACKLOG).bind(self.ns());
            let row = read.fetch_one(snapshot.conn()).await.map_err(StepError::Sql);
            let row = snapshot.end(row).await?;
            let mut columns = Columns::of(&row, "namespaces");
            let unsealed = columns.unsigned("unsealed")?;
            Ok(EvidenceBacklog { unsealed, oldest: columns.time_opt("at")? })
        })
        .await
    }
}
