//! The numbers of combinations of domain, failure type and dependency.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use baldur_core::FailedOp;

/// Domain, failure type, dependency.
pub(crate) type Combination = [String; 3];

/// The combination that an operation counts for.
pub(crate) fn combination(op: &FailedOp) -> Combination {
    [op.domain.as_str(), op.failure_type.as_str(), op.dependency.as_str()].map(str::to_owned)
}

/// Combinations that are committed, and their numbers, which never change.
#[derive(Debug, Default)]
pub(crate) struct FacetCache {
    known: RwLock<HashMap<Combination, i64>>,
}

impl FacetCache {
    /// The number of a combination, if a transaction of this process met it before.
    pub(crate) fn get(&self, combination: &Combination) -> Option<i64> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(combination).copied()
    }

    /// Remembers what a transaction learned, now that it is committed.
    pub(crate) fn learn(&self, learned: HashMap<Combination, i64>) {
        if !learned.is_empty() {
            self.known.write().unwrap_or_else(PoisonError::into_inner).extend(learned);
        }
    }
}
