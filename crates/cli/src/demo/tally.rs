//! The reckoning: what was promised against what the gateway's ledger says.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::wire::{Accepted, Charge, Ledger};

/// What checkout promised, as the shop heard it.
#[derive(Debug, Default)]
pub(super) struct Promises {
    /// Orders with a 2xx.
    counted: BTreeSet<String>,
    /// Of these, charged at once.
    pub(super) charged: u64,
    /// Of these, captured for later.
    pub(super) captured: u64,
    /// Of the captured, those whose capture was there already.
    pub(super) merged: u64,
    /// Of the captured, those that the store did not take when they were answered.
    pub(super) spooled: u64,
}

impl Promises {
    /// Notes a 2xx. Every order gets one, since answered orders are not sent again.
    pub(super) fn note(&mut self, order: &str, accepted: Accepted) {
        if !self.counted.insert(order.to_owned()) {
            return;
        }
        match accepted {
            Accepted::Charged => self.charged += 1,
            Accepted::Captured { merged, spooled } => {
                self.captured += 1;
                self.merged += u64::from(merged);
                self.spooled += u64::from(spooled);
            }
        }
    }

    /// How many orders count.
    pub(super) fn orders(&self) -> u64 {
        self.counted.len() as u64
    }

    /// Counted orders that the gateway never charged.
    pub(super) fn lost(&self, charges: &[Charge]) -> Vec<String> {
        let paid: BTreeSet<&str> = charges.iter().map(|charge| charge.order.as_str()).collect();
        self.counted.iter().filter(|order| !paid.contains(order.as_str())).cloned().collect()
    }
}

/// Charges beyond the first of each order, whether the order counts or not.
pub(super) fn duplicated(charges: &[Charge]) -> u64 {
    let mut orders: BTreeMap<&str, u64> = BTreeMap::new();
    for charge in charges {
        *orders.entry(charge.order.as_str()).or_default() += 1;
    }
    orders.values().map(|count| count - 1).sum()
}

/// The most calls within any one second, from the `from`-th call on.
pub(super) fn busiest_second(ledger: &Ledger, from: usize) -> u64 {
    let calls = ledger.calls.get(from..).unwrap_or_default();
    let mut start = 0;
    let mut most = 0;
    for (index, at) in calls.iter().enumerate() {
        while calls[start] + 1_000 <= *at {
            start += 1;
        }
        most = most.max(index + 1 - start);
    }
    most as u64
}

/// How the demo ended. The first six keys are a promise to scripts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    pub(super) orders: u64,
    pub(super) captured: u64,
    pub(super) replayed: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) kills: u64,
    pub(super) charged_at_once: u64,
    pub(super) merged: u64,
    pub(super) sent_again: u64,
    pub(super) charged_unanswered: u64,
    pub(super) recognised: u64,
    pub(super) rate_limit: u64,
    pub(super) busiest_second: u64,
    pub(super) spooled: u64,
    pub(super) drained: u64,
    pub(super) milliseconds: u64,
}

impl Summary {
    /// What the demo is there to show, in words where it does not hold.
    pub(super) fn broken_promises(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.lost > 0 {
            broken.push(format!("{} accepted orders were never charged", self.lost));
        }
        if self.duplicated > 0 {
            broken.push(format!("{} charges were made twice", self.duplicated));
        }
        if self.drained < self.spooled {
            let (spooled, drained) = (self.spooled, self.drained);
            broken.push(format!("{spooled} captures were spooled, but {drained} drained"));
        }
        if self.kills != 2 {
            broken.push(format!("checkout was killed {} times instead of twice", self.kills));
        }
        broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(order: &str, key: &str) -> Charge {
        Charge { order: order.to_owned(), key: key.to_owned() }
    }

    #[test]
    fn lost_are_promises_without_a_charge() {
        let mut promises = Promises::default();
        promises.note("a", Accepted::Charged);
        promises.note("b", Accepted::Captured { merged: true, spooled: true });
        promises.note("b", Accepted::Captured { merged: true, spooled: true });
        assert_eq!((promises.orders(), promises.captured), (2, 1));
        assert_eq!((promises.merged, promises.spooled), (1, 1));
        assert_eq!(promises.lost(&[charge("a", "a"), charge("c", "c")]), ["b"]);
        assert!(promises.lost(&[charge("a", "a"), charge("b", "x")]).is_empty());
    }

    #[test]
    fn duplicated_are_charges_beyond_the_first_of_an_order() {
        assert_eq!(duplicated(&[charge("a", "a"), charge("b", "b")]), 0);
        let thrice = [charge("a", "1"), charge("b", "b"), charge("a", "2"), charge("a", "3")];
        assert_eq!(duplicated(&thrice), 2);
    }

    #[test]
    fn the_busiest_second_slides() {
        let calls = vec![0, 1, 2, 900, 1_000, 1_001, 1_002, 1_899, 3_000];
        let ledger = Ledger { charges: Vec::new(), calls };
        assert_eq!(busiest_second(&ledger, 0), 5);
        assert_eq!(busiest_second(&ledger, 7), 1);
        assert_eq!(busiest_second(&ledger, 99), 0);
    }
}
