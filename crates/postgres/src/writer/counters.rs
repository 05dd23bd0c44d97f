//! The counters: each transaction adds rows of what changed, so that writers never wait for one another.

use std::collections::HashMap;

use baldur_core::{Status, name::Domain};

/// Where an entry is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The overflow key has entries of many domains, so this does not say which domain.
    pub(super) facet_key: i64,
    pub(super) domain: &'a Domain,
    pub(super) status: Status,
}

/// How counters change.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    changes: HashMap<(i64, Status, Domain), i64>,
}

/// The rows to add, column by column.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) facet_keys: Vec<Option<i64>>,
    pub(super) statuses: Vec<Option<&'static str>>,
    pub(super) domains: Vec<Option<String>>,
    pub(super) numbers: Vec<i64>,
    pub(super) unsealed: Vec<i64>,
}

impl Deltas {
    /// An entry stands here now.
    pub(super) fn enters(&mut self, place: Place<'_>) {
        self.add(place, 1);
    }

    /// An entry stood here.
    pub(super) fn leaves(&mut self, place: Place<'_>) {
        self.add(place, -1);
    }

    fn add(&mut self, Place { facet_key, domain, status }: Place<'_>, delta: i64) {
        *self.changes.entry((facet_key, status, domain.clone())).or_default() += delta;
    }

    /// The rows, the first of which also counts this many rows of `unsealed`.
    pub(super) fn rows(self, unsealed: i64) -> Rows {
        let mut rows = Rows::default();
        for ((facet_key, status, domain), delta) in self.changes {
            if delta != 0 {
                rows.push(Some((facet_key, status, domain)), delta);
            }
        }
        if unsealed != 0 {
            if rows.numbers.is_empty() {
                rows.push(None, 0);
            }
            if let Some(first) = rows.unsealed.first_mut() {
                *first = unsealed;
            }
        }
        rows
    }
}

impl Rows {
    fn push(&mut self, place: Option<(i64, Status, Domain)>, n: i64) {
        let (facet_key, status, domain) = match place {
            Some((facet_key, status, domain)) => (Some(facet_key), Some(status), Some(domain)),
            None => (None, None, None),
        };
        self.facet_keys.push(facet_key);
        self.statuses.push(status.map(Status::as_str));
        self.domains.push(domain.map(|domain| domain.as_str().to_owned()));
        self.numbers.push(n);
        self.unsealed.push(0);
    }
}
