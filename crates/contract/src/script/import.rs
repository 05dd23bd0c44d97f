//! Steps that move entries from one store into another.

use baldur_core::{Status, admission::MAX_IMPORTED_NUMBER, port::ExportedEntry};

use super::{Moved, id_of};
use crate::{answer, build::parsed, case::Failure, store::StoreUnderTest};

/// How an export differs from a common one. But for one, no store may take it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bent {
    /// Its last record of evidence is missing.
    Gap,
    /// Its evidence is another entry's.
    OthersEvidence,
    /// It is one of another namespace.
    OtherNamespace,
    /// Its claim token is the largest that may come in: this one is taken.
    LargeToken,
    /// It stands for more captures than any backend can count.
    TooManyOccurrences,
}

impl Bent {
    /// Every way.
    pub(crate) const ALL: [Self; 5] = [
        Self::Gap,
        Self::OthersEvidence,
        Self::OtherNamespace,
        Self::LargeToken,
        Self::TooManyOccurrences,
    ];
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
            Some(Bent::LargeToken) => op.state.claim_token.0 = MAX_IMPORTED_NUMBER,
            Some(Bent::TooManyOccurrences) => op.state.occurrences = u64::MAX,
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
