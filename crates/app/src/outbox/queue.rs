//! What waits in an outbox, and what is under way.

use std::collections::{HashMap, VecDeque};

use baldur_core::{EntryId, command::Capture, name::OrderKey};
use tokio::time::Instant;

use super::policy::{OutboxPolicy, bytes_of};

/// A capture in the outbox.
#[derive(Debug)]
pub(super) struct Item {
    /// Grows with each capture.
    pub(super) number: u64,
    pub(super) capture: Capture,
    pub(super) bytes: u64,
    pub(super) since: Instant,
    /// It was written, and whether that took effect is not known.
    pub(super) uncertain: bool,
    /// The same, without the last write.
    uncertain_before: bool,
}

/// Entries in the order in which they came. Those under way come before those that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Item>,
    under_way: VecDeque<Item>,
    bytes: u64,
    keys: HashMap<OrderKey, usize>,
    next: u64,
    /// What has a lower number doesn't wait for others.
    hurry: u64,
    /// Nothing is taken any more.
    pub(super) closed: bool,
    /// Everything was taken out; who comes late with answers is not heard.
    sealed: bool,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.under_way.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Since when the oldest capture is here.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.under_way.front().or_else(|| self.waiting.front()).map(|item| item.since)
    }

    pub(super) fn has_room(&self, bytes: u64, policy: &OutboxPolicy) -> bool {
        self.len() < policy.max_entries && self.bytes.saturating_add(bytes) <= policy.max_bytes
    }

    /// Whether there would be room if all that wait were gone.
    pub(super) fn could_have_room(&self, bytes: u64, policy: &OutboxPolicy) -> bool {
        let under_way: u64 = self.under_way.iter().map(|item| item.bytes).sum();
        self.under_way.len() < policy.max_entries
            && under_way.saturating_add(bytes) <= policy.max_bytes
    }

    /// Whether others with the key of this capture are here.
    pub(super) fn holds_key_of(&self, capture: &Capture) -> bool {
        capture.op.order_key.as_ref().is_some_and(|key| self.keys.contains_key(key))
    }

    pub(super) fn push(&mut self, capture: Capture) {
        let bytes = bytes_of(&capture);
        self.bytes += bytes;
        if let Some(key) = &capture.op.order_key {
            *self.keys.entry(key.clone()).or_default() += 1;
        }
        let since = Instant::now();
        self.waiting.push_back(Item {
            number: self.next,
            capture,
            bytes,
            since,
            uncertain: false,
            uncertain_before: false,
        });
        self.next += 1;
    }

    /// Takes the one out that waits longest. What is under way can't be taken back.
    pub(super) fn drop_oldest(&mut self) -> Option<Item> {
        let item = self.waiting.pop_front()?;
        self.gone(&item);
        Some(item)
    }

    /// Everything that is here now doesn't wait for others. Returns the number that the next capture gets.
    pub(super) fn hurry(&mut self) -> u64 {
        self.hurry = self.next;
        self.next
    }

    /// Whether everything with a number below this is settled.
    pub(super) fn settled_below(&self, number: u64) -> bool {
        let lowest = self.under_way.iter().map(|item| item.number).min();
        let lowest = lowest.or_else(|| self.waiting.front().map(|item| item.number));
        lowest.is_none_or(|lowest| lowest >= number)
    }

    /// When the captures that wait are to be written: `None` when there are none, a time that passed when at once.
    pub(super) fn due(&self, policy: &OutboxPolicy) -> Option<Instant> {
        let first = self.waiting.front()?;
        let at_once =
            self.closed || first.number < self.hurry || self.waiting.len() >= policy.batch;
        Some(if at_once { first.since } else { first.since + policy.linger })
    }

    /// Puts the next captures under way, and says how many. Nothing else may be.
    pub(super) fn begin(&mut self, policy: &OutboxPolicy) -> usize {
        let mut bytes = 0_u64;
        while self.under_way.len() < policy.batch
            && let Some(item) = self.waiting.pop_front()
        {
            bytes = bytes.saturating_add(item.bytes);
            if bytes > policy.batch_bytes && !self.under_way.is_empty() {
                self.waiting.push_front(item);
                break;
            }
            self.under_way.push_back(item);
        }
        self.under_way.len()
    }

    /// What is to be written. It may have taken effect from now on, whatever happens to the writer.
    pub(super) fn writing(&mut self) -> Vec<(u64, Capture)> {
        for item in &mut self.under_way {
            item.uncertain_before = std::mem::replace(&mut item.uncertain, true);
        }
        self.under_way.iter().map(|item| (item.number, item.capture.clone())).collect()
    }

    /// The id of a capture that is under way.
    pub(super) fn id(&self, number: u64) -> Option<EntryId> {
        self.under_way.iter().find(|item| item.number == number).map(|item| item.capture.op.id)
    }

    /// The last write of this capture certainly had no effect.
    pub(super) fn not_applied(&mut self, number: u64) {
        if let Some(item) = self.under_way.iter_mut().find(|item| item.number == number) {
            item.uncertain = item.uncertain_before;
        }
    }

    /// Takes a settled capture out.
    pub(super) fn settle(&mut self, number: u64) -> Option<Item> {
        let position = self.under_way.iter().position(|item| item.number == number)?;
        let item = self.under_way.remove(position)?;
        self.gone(&item);
        Some(item)
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// Takes everything out for good: what was under way, and what waited.
    pub(super) fn seal(&mut self) -> (VecDeque<Item>, VecDeque<Item>) {
        (self.closed, self.sealed) = (true, true);
        self.bytes = 0;
        self.keys.clear();
        (std::mem::take(&mut self.under_way), std::mem::take(&mut self.waiting))
    }

    fn gone(&mut self, item: &Item) {
        self.bytes -= item.bytes;
        let Some(key) = &item.capture.op.order_key else { return };
        if let Some(count) = self.keys.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.keys.remove(key);
            }
        }
    }
}
