//! Evidence.

use baldur_core::{BackendError, EntryId, EvidenceRecord, port::EvidenceBacklog, wire};
use sqlx::sqlite::SqliteRow;

use super::{Reader, failed};
use crate::{
    columns::Columns,
    error::StepError,
    sql::{integer, limit},
};

pub(crate) const TRAIL: &str = "SELECT v.entry, v.body \
     FROM evidence v WHERE v.entry = coalesce( \
      (SELECT e.seq FROM entries e INDEXED BY entries_id WHERE e.ns = ?1 AND e.id = ?2), \
      (SELECT g.seq FROM gone g INDEXED BY gone_id WHERE g.ns = ?1 AND g.id = ?2)) \
     AND v.counter > ?3 ORDER BY v.counter LIMIT ?4";

pub(crate) const UNSEALED: &str = "SELECT u.entry, v.body \
     FROM unsealed u CROSS JOIN evidence v ON v.entry = u.entry AND v.counter = u.counter \
     WHERE u.ns = ?1 ORDER BY u.pos LIMIT ?2";

pub(crate) const BACKLOG: &str = "SELECT n.ns, n.unsealed, \
     (SELECT min(u.at) FROM unsealed u INDEXED BY unsealed_at WHERE u.ns = n.ns) \
     FROM namespaces n WHERE n.ns = ?1";

fn record(row: &SqliteRow) -> Result<EvidenceRecord, StepError> {
    let mut columns = Columns::of(row, "evidence");
    let _entry: i64 = columns.get()?;
    columns.parsed("body", wire::decode_evidence)
}

impl Reader {
    pub(crate) async fn trail(
        &self,
        entry: EntryId,
        after: u64,
        most: usize,
    ) -> Result<Vec<EvidenceRecord>, BackendError> {
        let read = async {
            let rows = sqlx::query(TRAIL)
                .bind(self.ns)
                .bind(entry.as_bytes().to_vec())
                .bind(integer(after))
                .bind(limit(most))
                .fetch_all(&mut *self.conn().await?)
                .await?;
            rows.iter().map(record).collect::<Result<Vec<_>, _>>()
        };
        read.await.map_err(failed("read the evidence"))
    }

    pub(crate) async fn unsealed(&self, most: usize) -> Result<Vec<EvidenceRecord>, BackendError> {
        let read = async {
            let rows = sqlx::query(UNSEALED)
                .bind(self.ns)
                .bind(limit(most))
                .fetch_all(&mut *self.conn().await?)
                .await?;
            rows.iter().map(record).collect::<Result<Vec<_>, _>>()
        };
        read.await.map_err(failed("read the unsealed evidence"))
    }

    pub(crate) async fn backlog(&self) -> Result<EvidenceBacklog, BackendError> {
        let read = async {
            let row =
                sqlx::query(BACKLOG).bind(self.ns).fetch_one(&mut *self.conn().await?).await?;
            let mut columns = Columns::of(&row, "namespaces");
            let _ns: i64 = columns.get()?;
            let unsealed = columns.unsigned("unsealed")?;
            Ok(EvidenceBacklog { unsealed, oldest: columns.time_opt("at")? })
        };
        read.await.map_err(failed("read the evidence backlog"))
    }
}
