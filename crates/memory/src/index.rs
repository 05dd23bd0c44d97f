//! Indexes over the entries: what makes claims, lists and sweeps cost the same at any size.

use std::collections::{BTreeMap, BTreeSet};

use baldur_core::{
    EntryId, FailedOp, Status, Timestamp,
    name::{DedupKey, Domain, OrderKey, ServiceName},
    port::LiveCounts,
};

/// Where an entry stands in lists and within its order key: (captured at, id).
pub(crate) type Position = (Timestamp, EntryId);

/// Where a claimable entry stands in the queue of its domain: longest due first, ties by position.
pub(crate) type DueAt = (Timestamp, Position);

/// A queue of claimable entries: of a domain, or of a domain and a dependency.
type QueueName = (Domain, Option<ServiceName>);

/// The live entries of one order key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    live: BTreeSet<Position>,
    replaying: BTreeSet<Position>,
}

impl Line {
    /// The entry that the one at `position` waits for.
    pub(crate) fn blocker_of(&self, position: Position) -> Option<EntryId> {
        // A replay that runs blocks even what is older: it may have arrived late, and replays are serial.
        let first = self.replaying.first().or_else(|| self.live.first());
        first.filter(|first| **first != position).map(|(_, id)| *id)
    }

    /// The oldest live entry.
    pub(crate) fn head(&self) -> Option<EntryId> {
        self.live.first().map(|(_, id)| *id)
    }
}

/// All indexes but the facet counters. Which entries are claimable depends on other entries of their line, so
/// the table says when an entry enters or leaves a queue; all else follows from the entry alone.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexes {
    positions: BTreeSet<Position>,
    lines: BTreeMap<OrderKey, Line>,
    live_by_dedup: BTreeMap<DedupKey, BTreeSet<Position>>,
    leases: BTreeSet<(Timestamp, Position)>,
    queues: BTreeMap<QueueName, BTreeSet<DueAt>>,
    /// How many live entries each domain has; domains without any are absent.
    live_in: BTreeMap<Domain, u64>,
    live_in_all: u64,
    /// Live entries that nobody works on, of each domain and, under no name, of all.
    evictable: BTreeMap<Option<Domain>, BTreeSet<Position>>,
}

impl Indexes {
    pub(crate) fn insert(&mut self, op: &FailedOp) {
        let position = op.position();
        self.positions.insert(position);
        if let Some(hold) = &op.state.hold {
            self.leases.insert((hold.expires_at, position));
        }
        if !op.state.status.is_live() {
            return;
        }
        *self.live_in.entry(op.domain.clone()).or_default() += 1;
        self.live_in_all += 1;
        if !op.state.status.is_protected() {
            for scope in [Some(op.domain.clone()), None] {
                self.evictable.entry(scope).or_default().insert(position);
            }
        }
        if let Some(key) = &op.dedup_key {
            self.live_by_dedup.entry(key.clone()).or_default().insert(position);
        }
        if let Some(key) = &op.order_key {
            let line = self.lines.entry(key.clone()).or_default();
            line.live.insert(position);
            if op.state.status == Status::Replaying {
                line.replaying.insert(position);
            }
        }
    }

    /// Takes out what [`Self::insert`] put in, so `op` must be as it was then.
    pub(crate) fn remove(&mut self, op: &FailedOp) {
        let position = op.position();
        self.positions.remove(&position);
        if let Some(hold) = &op.state.hold {
            self.leases.remove(&(hold.expires_at, position));
        }
        if op.state.status.is_live() {
            self.uncount(op);
        }
        if let Some(key) = &op.dedup_key
            && let Some(live) = self.live_by_dedup.get_mut(key)
        {
            live.remove(&position);
            if live.is_empty() {
                self.live_by_dedup.remove(key);
            }
        }
        if let Some(key) = &op.order_key
            && let Some(line) = self.lines.get_mut(key)
        {
            line.live.remove(&position);
            line.replaying.remove(&position);
            if line.live.is_empty() {
                self.lines.remove(key);
            }
        }
    }

    fn uncount(&mut self, op: &FailedOp) {
        if let Some(live) = self.live_in.get_mut(&op.domain) {
            *live -= 1;
            if *live == 0 {
                self.live_in.remove(&op.domain);
            }
        }
        self.live_in_all -= 1;
        for scope in [Some(op.domain.clone()), None] {
            if let Some(evictable) = self.evictable.get_mut(&scope) {
                evictable.remove(&op.position());
                if evictable.is_empty() {
                    self.evictable.remove(&scope);
                }
            }
        }
    }

    /// How many live entries there are, in a domain and in all.
    pub(crate) fn live(&self, domain: &Domain) -> LiveCounts {
        let in_domain = self.live_in.get(domain).copied().unwrap_or_default();
        LiveCounts { in_domain, in_all: self.live_in_all }
    }

    /// The oldest live entry that nobody works on, of a domain or of all.
    pub(crate) fn oldest_evictable(&self, domain: Option<&Domain>) -> Option<EntryId> {
        self.evictable.get(&domain.cloned())?.first().map(|(_, id)| *id)
    }

    pub(crate) fn enqueue(&mut self, op: &FailedOp, at: DueAt) {
        for queue in queues_of(op) {
            self.queues.entry(queue).or_default().insert(at);
        }
    }

    pub(crate) fn dequeue(&mut self, op: &FailedOp, at: DueAt) {
        for name in queues_of(op) {
            if let Some(queue) = self.queues.get_mut(&name) {
                queue.remove(&at);
                if queue.is_empty() {
                    self.queues.remove(&name);
                }
            }
        }
    }

    /// The claimable entry of these domains that has been due longest.
    pub(crate) fn longest_due(
        &self,
        domains: &BTreeSet<&Domain>,
        dependency: Option<&ServiceName>,
        now: Timestamp,
    ) -> Option<EntryId> {
        domains
            .iter()
            .filter_map(|domain| self.queues.get(&((*domain).clone(), dependency.cloned())))
            .filter_map(BTreeSet::first)
            .min()
            .filter(|(due, _)| *due <= now)
            .map(|(_, (_, id))| *id)
    }

    /// The claim that ran out first, if one ran out.
    pub(crate) fn first_run_out(&self, now: Timestamp) -> Option<EntryId> {
        let first = self.leases.first().filter(|(expires_at, _)| *expires_at <= now);
        first.map(|(_, (_, id))| *id)
    }

    pub(crate) fn positions(&self) -> &BTreeSet<Position> {
        &self.positions
    }

    pub(crate) fn line(&self, key: &OrderKey) -> Option<&Line> {
        self.lines.get(key)
    }

    /// The oldest live entry with this dedup key.
    pub(crate) fn live_with(&self, key: &DedupKey) -> Option<EntryId> {
        self.live_by_dedup.get(key)?.first().map(|(_, id)| *id)
    }
}

fn queues_of(op: &FailedOp) -> [QueueName; 2] {
    [(op.domain.clone(), None), (op.domain.clone(), Some(op.dependency.clone()))]
}
