//! Which entries a run still has to claim.

use std::collections::{BTreeSet, HashSet, VecDeque};

use baldur_core::{
    EntryId,
    command::ClaimSelect,
    name::{Domain, ServiceName},
    port::{ClaimBatchOutcome, ClaimError},
};

use super::engine::Parts;

/// What is left to claim.
#[derive(Debug)]
pub(super) enum Selection {
    /// Whatever is due.
    Due {
        domains: BTreeSet<Domain>,
        dependency: Option<ServiceName>,
        /// The last claim gave nothing, and nothing ended since that could have freed more.
        exhausted: bool,
    },
    /// These entries.
    Ids {
        queue: VecDeque<EntryId>,
        /// Entries behind another one of the run with the same order key.
        blocked: Vec<EntryId>,
    },
}

impl Selection {
    pub(super) fn due(
        domains: impl IntoIterator<Item = Domain>,
        dependency: Option<ServiceName>,
    ) -> Self {
        Self::Due { domains: domains.into_iter().collect(), dependency, exhausted: false }
    }

    pub(super) fn ids(ids: Vec<EntryId>) -> Self {
        let mut seen = HashSet::with_capacity(ids.len());
        let queue = ids.into_iter().filter(|id| seen.insert(*id)).collect();
        Self::Ids { queue, blocked: Vec::new() }
    }

    /// About how many entries it has, as far as the store says.
    pub(super) async fn total(&self, parts: &Parts) -> Option<u64> {
        match self {
            Self::Due { domains, dependency, .. } => {
                parts.total(domains.iter().cloned(), dependency.as_ref()).await
            }
            Self::Ids { queue, .. } => Some(queue.len() as u64),
        }
    }

    /// Whether nothing is left to claim, unless something that is in flight frees more.
    pub(super) fn is_exhausted(&self) -> bool {
        match self {
            Self::Due { domains, exhausted, .. } => *exhausted || domains.is_empty(),
            Self::Ids { queue, .. } => queue.is_empty(),
        }
    }

    /// What to claim next, at most `limit` entries. Ids leave the selection until it is told the answer.
    pub(super) fn next(&mut self, limit: usize) -> Option<ClaimSelect> {
        if self.is_exhausted() || limit == 0 {
            return None;
        }
        Some(match self {
            Self::Due { domains, dependency, .. } => ClaimSelect::Due {
                domains: domains.iter().cloned().collect(),
                dependency: dependency.clone(),
                limit,
            },
            Self::Ids { queue, .. } => {
                ClaimSelect::Ids(queue.drain(..limit.min(queue.len())).collect())
            }
        })
    }

    /// Takes the answer of a claim, and returns the ids that are refused for good.
    ///
    /// Who waits for another entry of the same run is asked for again when that one ended.
    pub(super) fn answered(
        &mut self,
        outcome: &ClaimBatchOutcome,
        in_flight: impl Fn(EntryId) -> bool,
    ) -> Vec<(EntryId, ClaimError)> {
        let mut refused = Vec::new();
        match self {
            Self::Due { exhausted, .. } => *exhausted = outcome.claimed.is_empty(),
            Self::Ids { queue, blocked } => {
                for (id, error) in &outcome.refused {
                    let granted = |by| outcome.claimed.iter().any(|claim| claim.op.id == by);
                    let waits = matches!(error, ClaimError::Blocked { by, .. }
                        if in_flight(*by) || granted(*by) || queue.contains(by));
                    if waits {
                        blocked.push(*id);
                    } else {
                        refused.push((*id, error.clone()));
                    }
                }
            }
        }
        refused
    }

    /// Takes back a claim that the store did not answer.
    pub(super) fn unanswered(&mut self, select: ClaimSelect) {
        if let (Self::Ids { queue, .. }, ClaimSelect::Ids(ids)) = (self, select) {
            ids.into_iter().rev().for_each(|id| queue.push_front(id));
        }
    }

    /// Something ended: what it held up may be claimable now.
    pub(super) fn something_ended(&mut self) {
        match self {
            Self::Due { exhausted, .. } => *exhausted = false,
            Self::Ids { queue, blocked } => queue.extend(blocked.drain(..)),
        }
    }

    /// Whether entries wait for others of the run.
    pub(super) fn has_blocked(&self) -> bool {
        match self {
            Self::Due { .. } => false,
            Self::Ids { blocked, .. } => !blocked.is_empty(),
        }
    }

    /// Leaves the entries of a domain alone. `false` when that can't be told of the entries that are left.
    pub(super) fn leave(&mut self, domain: &Domain) -> bool {
        match self {
            Self::Due { domains, .. } => {
                domains.remove(domain);
                true
            }
            Self::Ids { .. } => false,
        }
    }
}
