//! Finds what waits for a dependency, oldest first.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use baldur_core::{
    Cursor, EntryId, EntrySummary, Filter, ListOrder, ListQuery, PageSize, Status, Timestamp,
    name::{Domain, ServiceName},
    port::ReadError,
};

use super::{SWEEP_CHUNK, parts::Parts};

/// By how much the clocks of processes that capture may be ahead of this one's.
const AHEAD: Duration = Duration::from_secs(1);

/// A walk over the entries that wait for one dependency and were there when it began. Each comes up once at most.
#[derive(Debug)]
pub(super) struct Walk {
    parts: Arc<Parts>,
    filter: Filter,
    domains: BTreeSet<Domain>,
    after: Option<Cursor>,
    ended: bool,
    /// Waits longer than this were asked for by somebody.
    longest_own_wait: Duration,
}

/// Entries as the walk found them.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) ids: Vec<EntryId>,
    /// When the last of them changed, by the store's clock. Who changes one after it was found changes it later.
    pub(super) seen_at: Option<Timestamp>,
}

impl Walk {
    pub(super) fn new(
        parts: Arc<Parts>,
        dependency: &ServiceName,
        domains: BTreeSet<Domain>,
    ) -> Self {
        let began = parts.env.clock.now();
        let filter = Filter {
            statuses: vec![Status::Pending],
            // One domain is asked for; more are chosen from what the walk finds, which keeps the order of capture.
            domain: domains.iter().next().filter(|_| domains.len() == 1).cloned(),
            dependency: Some(dependency.clone()),
            // What is captured from now on waits for its own time, or else a sweep might never end.
            created_until: Some(began.saturating_add(AHEAD)),
            ..Filter::default()
        };
        let longest_own_wait = parts.engine.policy().backoff.cap();
        Self { parts, filter, domains, after: None, ended: false, longest_own_wait }
    }

    /// The next entries, [`SWEEP_CHUNK`] at most; none when the walk is over.
    pub(super) async fn next(&mut self) -> Result<Found, ReadError> {
        while !self.ended {
            let query = ListQuery {
                filter: self.filter.clone(),
                order: ListOrder::OldestFirst,
                limit: PageSize::new(SWEEP_CHUNK).unwrap_or_default(),
                after: self.after,
            };
            let page = self.parts.read(self.parts.reader.list(query)).await?;
            self.ended = page.next.is_none();
            self.after = page.next;
            let now = self.parts.env.clock.now();
            let taken = page.items.iter().filter(|item| self.takes(item, now));
            let mut found = Found::default();
            for item in taken {
                found.ids.push(item.id);
                found.seen_at = found.seen_at.max(Some(item.updated_at));
            }
            if !found.ids.is_empty() {
                return Ok(found);
            }
        }
        Ok(Found::default())
    }

    fn takes(&self, item: &EntrySummary, now: Timestamp) -> bool {
        if item.not_replayable.is_some() || !self.domains.contains(&item.domain) {
            return false;
        }
        let wait = item.next_attempt_at.since(now);
        let rested = now.since(item.updated_at) >= self.parts.policy.rest;
        wait.is_zero() || (rested && wait <= self.longest_own_wait)
    }
}
