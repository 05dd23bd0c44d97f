//! Checking the store, and taking entries over from others.

use async_trait::async_trait;
use baldur_core::port::{AdminError, CheckDepth, CheckReport, ExportedEntry, Imported, StoreAdmin};

use crate::{MemoryStore, table::Table};

#[async_trait]
impl StoreAdmin for MemoryStore {
    async fn check(&self, depth: CheckDepth) -> Result<CheckReport, AdminError> {
        let report = self.step("check", |table| match depth {
            CheckDepth::Quick => {
                CheckReport { checked: vec!["the table is there".to_owned()], problems: Vec::new() }
            }
            CheckDepth::Deep => {
                let entries = table.rows().count();
                CheckReport {
                    checked: vec![format!("indexes, counters and evidence of {entries} entries")],
                    problems: table.problems(),
                }
            }
        })?;
        Ok(report)
    }

    async fn import_batch(&self, entries: Vec<ExportedEntry>) -> Vec<Result<Imported, AdminError>> {
        let asked = entries.len();
        if asked == 0 {
            return Vec::new();
        }
        let answers = self.step("import", |table| {
            entries
                .into_iter()
                .map(|entry| {
                    entry.check(&self.namespace).map_err(AdminError::Invalid)?;
                    Ok(import(table, entry))
                })
                .collect()
        });
        answers.unwrap_or_else(|error| vec![Err(error.into()); asked])
    }
}

fn import(table: &mut Table, entry: ExportedEntry) -> Imported {
    let ExportedEntry { op, evidence } = entry;
    let known = table.row(op.id).is_some() || table.merged(op.id).is_some();
    if known || table.is_gone(op.id) {
        return Imported::Present;
    }
    table.insert(op, evidence);
    Imported::New
}
