//! Counters by status × domain × failure type × dependency.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use baldur_core::{
    FacetCell, FacetScope, FailedOp, Status,
    name::{Domain, FailureType, ServiceName},
    query::{FACET_OVERFLOW, MAX_FACET_KEYS},
};

/// A combination of domain, failure type and dependency.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Combination {
    domain: Domain,
    failure_type: FailureType,
    dependency: ServiceName,
}

/// Where an entry is counted; `None` is the overflow bucket.
///
/// An entry keeps its bucket for life: moving it later would make the counters depend on what was read when.
pub(crate) type Bucket = Option<Arc<Combination>>;

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct FacetCounters {
    known: BTreeSet<Arc<Combination>>,
    cells: BTreeMap<(Bucket, Status), u64>,
}

impl FacetCounters {
    /// The bucket of a new entry: its combination while there is room for it, else the overflow bucket.
    pub(crate) fn bucket_for(&mut self, op: &FailedOp) -> Bucket {
        let combination = Combination {
            domain: op.domain.clone(),
            failure_type: op.failure_type.clone(),
            dependency: op.dependency.clone(),
        };
        if let Some(known) = self.known.get(&combination) {
            return Some(Arc::clone(known));
        }
        if self.known.len() >= MAX_FACET_KEYS {
            return None;
        }
        let combination = Arc::new(combination);
        self.known.insert(Arc::clone(&combination));
        Some(combination)
    }

    pub(crate) fn add(&mut self, bucket: &Bucket, status: Status) {
        if let Some(combination) = bucket {
            // Known already, except when the counters are recomputed from entries that know their bucket.
            self.known.insert(Arc::clone(combination));
        }
        *self.cells.entry((bucket.clone(), status)).or_default() += 1;
    }

    pub(crate) fn remove(&mut self, bucket: &Bucket, status: Status) {
        let key = (bucket.clone(), status);
        if let Some(count) = self.cells.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.cells.remove(&key);
            }
        }
    }

    /// The exact number of entries in `scope`, or `None` where the overflow bucket hides it.
    pub(crate) fn count(&self, scope: &FacetScope) -> Option<u64> {
        let FacetScope { statuses, domain, failure_type, dependency } = scope;
        let any_combination = domain.is_none() && failure_type.is_none() && dependency.is_none();
        let meant = |combination: &Combination| {
            domain.as_ref().is_none_or(|domain| *domain == combination.domain)
                && failure_type.as_ref().is_none_or(|kind| *kind == combination.failure_type)
                && dependency.as_ref().is_none_or(|name| *name == combination.dependency)
        };
        let mut total = 0;
        for ((bucket, status), count) in &self.cells {
            if !statuses.is_empty() && !statuses.contains(status) {
                continue;
            }
            match bucket {
                Some(combination) if meant(combination) => total += count,
                Some(_) => {}
                None if any_combination => total += count,
                None => return None,
            }
        }
        Some(total)
    }

    /// Whether these counters, recomputed from the entries that are there, are the same. Combinations stay known when
    /// their last entry is gone.
    pub(crate) fn agrees_with(&self, recomputed: &Self) -> bool {
        self.cells == recomputed.cells && recomputed.known.is_subset(&self.known)
    }

    /// The counters as ports show them.
    pub(crate) fn cells(&self) -> impl Iterator<Item = FacetCell> + '_ {
        self.cells.iter().map(|((bucket, status), count)| {
            let [domain, failure_type, dependency] = match bucket {
                Some(of) => [of.domain.as_str(), of.failure_type.as_str(), of.dependency.as_str()],
                None => [FACET_OVERFLOW; 3],
            };
            FacetCell {
                status: *status,
                domain: domain.to_owned(),
                failure_type: failure_type.to_owned(),
                dependency: dependency.to_owned(),
                count: *count,
            }
        })
    }
}
