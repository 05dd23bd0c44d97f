//! What happens to how many orders, decided beforehand by the number of orders and the seed.

use super::wire::Order;

/// The fewest orders with which every part of the story has something to happen to.
pub(super) const MIN_ORDERS: u32 = 20;
/// The most orders: the backlog then still drains in half a minute.
pub(super) const MAX_ORDERS: u32 = 50_000;

/// The orders of each part of the story.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// While the gateway is up.
    pub(super) healthy: Vec<Order>,
    /// While it refuses connections.
    pub(super) refused: Vec<Order>,
    /// While it answers 503, and checkout is killed.
    pub(super) unavailable: Vec<Order>,
    /// While it charges without answering.
    pub(super) slow: Vec<Order>,
    /// When it is back.
    pub(super) recovered: Vec<Order>,
}

impl Plan {
    /// The same number and seed make the same plan.
    pub(super) fn new(orders: u32, seed: u64) -> Self {
        let mut random = SplitMix(seed);
        let mut all = (1..=orders).map(|number| Order {
            order: format!("order-{number:05}"),
            amount_cents: 500 + random.next() % 20_000,
        });
        let mut take = |count: u32| all.by_ref().take(count as usize).collect::<Vec<_>>();
        let share = |percent: u32| (orders * percent / 100).max(1);
        let healthy = take(share(35));
        let refused = take(share(15));
        let unavailable = take(share(30));
        let slow = take(share(10));
        let recovered = take(orders);
        Self { healthy, refused, unavailable, slow, recovered }
    }

    /// How many orders there are.
    pub(super) fn orders(&self) -> u64 {
        let Self { healthy, refused, unavailable, slow, recovered } = self;
        let parts = [healthy, refused, unavailable, slow, recovered];
        parts.into_iter().map(|part| part.len() as u64).sum()
    }

    /// Takes out the orders of the outage that come before the store goes out as well.
    pub(super) fn before_the_store_goes(&mut self) -> Vec<Order> {
        let rest = self.unavailable.split_off(self.unavailable.len() / 3);
        std::mem::replace(&mut self.unavailable, rest)
    }

    /// When checkout is killed in the outage, whose orders must not have been taken out yet.
    pub(super) fn kill(&self) -> Kill {
        let orders = self.unavailable.len() as u64;
        Kill { hold_capture: (orders / 3).max(1), after_answers: (orders / 2).max(1) }
    }

    /// Which replay is held after its charge. Early: the orders of the slow gateway are in any backlog, even that
    /// of a checkout that lost the others.
    pub(super) fn hold_replay(&self) -> u64 {
        (self.slow.len() as u64 / 2).max(1)
    }

    /// How fast the backlog is replayed: done in about four seconds, but never a stampede.
    pub(super) fn replay_per_second(&self) -> u32 {
        let backlog = self.refused.len() + self.unavailable.len() + self.slow.len();
        u32::try_from(backlog / 4).unwrap_or(u32::MAX).clamp(20, 1_000)
    }
}

/// When checkout is killed while it captures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    /// Which capture is the first that the fail point holds; the next one is held too.
    pub(super) hold_capture: u64,
    /// After how many answers.
    pub(super) after_answers: u64,
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_order_has_one_part_and_every_part_has_orders() {
        for orders in [MIN_ORDERS, 21, 60, 200, 999, MAX_ORDERS] {
            let mut plan = Plan::new(orders, 42);
            let parts =
                [&plan.healthy, &plan.refused, &plan.unavailable, &plan.slow, &plan.recovered];
            assert!(parts.iter().all(|part| !part.is_empty()), "{orders}");
            let keys: BTreeSet<_> = parts.into_iter().flatten().map(|order| &order.order).collect();
            assert_eq!((keys.len() as u64, plan.orders()), (u64::from(orders), u64::from(orders)));
            let kill_fits = |plan: &Plan| {
                // Two are held, so the rest must be enough to get there.
                let Kill { hold_capture, after_answers } = plan.kill();
                assert!(after_answers + 2 <= plan.unavailable.len() as u64, "{orders}");
                assert!(hold_capture <= after_answers, "{orders}");
            };
            kill_fits(&plan);
            assert!(!plan.before_the_store_goes().is_empty(), "{orders}");
            kill_fits(&plan);
        }
    }

    #[test]
    fn the_seed_decides_the_amounts() {
        assert_eq!(Plan::new(50, 1), Plan::new(50, 1));
        assert_ne!(Plan::new(50, 1), Plan::new(50, 2));
    }
}
