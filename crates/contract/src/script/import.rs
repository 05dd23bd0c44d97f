//! Steps that move entries from one store into another.

use baldur_core::{Status, port::ExportedEntry};

use super::{Moved, id_of};
use crate::{answer, build::parsed, case::Failure, store::StoreUnderTest};

/// What makes an export one that no store may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bent {
    /// Its last record of evidence is missing.
    Gap,
    /// Its evidence is another entry's.
    OthersEvidence,
    /// It is one of another namespace.
    OtherNamespace,
}

/// What the reference exports of these. Slots without an entry have nothing to export.
pub(super) async fn exported(
    reference: &StoreUnderTest,
    moved: &[Moved],
) -> Result<Vec<ExportedEntry>, Failure> {
    let mut exported = Vec::new();
    for Moved { from, to, status, bent } in moved {
        let Some(mut op) = reference.find(id_of(*from)).await? else { continue };
        let mut evidence = reference.trail(op.id).await?;
        op.id = id_of(*to);
        for record in &mut evidence {
            record.entry = op.id;
        }
        if let Some(status) = status {
            op.state.status = *status;
            if *status != Status::Replaying {
                op.state.hold = None;
            }
        }
        match bent {
            Some(Bent::Gap) => drop(evidence.pop()),
            Some(Bent::OthersEvidence) => evidence[0].entry = id_of(u8::MAX),
            Some(Bent::OtherNamespace) => op.namespace = parsed("another"),
            None => {}
        }
        exported.push(ExportedEntry { op, evidence });
    }
    Ok(exported)
}

pub(super) async fn import(
    store: &StoreUnderTest,
    exported: &[ExportedEntry],
) -> Result<Vec<String>, Failure> {
    let answers = store.admin.import_batch(exported.to_vec()).await;
    answers.into_iter().map(answer::imported).collect()
}
