//! Looking after a store.

use async_trait::async_trait;
use baldur_core::port::{AdminError, CheckDepth, CheckReport, ExportedEntry, Imported, StoreAdmin};

use crate::{check, store::PostgresStore};

#[async_trait]
impl StoreAdmin for PostgresStore {
    async fn check(&self, depth: CheckDepth) -> Result<CheckReport, AdminError> {
        Ok(check::check(&self.reader("check").await?, depth).await?)
    }

    async fn import_batch(&self, entries: Vec<ExportedEntry>) -> Vec<Result<Imported, AdminError>> {
        self.submit(|queues| &queues.import, entries).await
    }
}
