//! What processes agree on: the states of breakers, and the pace of replays.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use baldur_core::{
    decide::{BreakerRecord, save_breaker},
    name::ServiceName,
    policy::{PaceLevel, Paced},
    port::{
        BreakerStoreError, CircuitBreakerStore, PaceError, PaceStore, SaveBreaker, SharedBreaker,
        TakePermits, check_breaker_limit,
    },
};

use crate::MemoryStore;

/// Breakers and buckets, by the name of the dependency.
#[derive(Debug, Default)]
pub(crate) struct Agreed {
    breakers: BTreeMap<ServiceName, BreakerRecord>,
    buckets: HashMap<ServiceName, PaceLevel>,
}

#[async_trait]
impl CircuitBreakerStore for MemoryStore {
    async fn load(
        &self,
        names: Vec<ServiceName>,
    ) -> Result<Vec<Option<SharedBreaker>>, BreakerStoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let loaded = self.step("load breakers", |table| {
            let now = self.clock.now();
            let Agreed { breakers, .. } = table.agreed();
            names.iter().map(|name| Some(breakers.get(name)?.seen_at(now))).collect()
        })?;
        Ok(loaded)
    }

    async fn save(&self, save: SaveBreaker) -> Result<SharedBreaker, BreakerStoreError> {
        self.step("save a breaker", |table| {
            let now = self.clock.now();
            let Agreed { breakers, .. } = table.agreed();
            let record = save_breaker(breakers.get(&save.name), &save, now)?;
            let seen = record.seen_at(now);
            breakers.insert(save.name, record);
            Ok(seen)
        })?
    }

    async fn list(
        &self,
        after: Option<ServiceName>,
        limit: usize,
    ) -> Result<Vec<SharedBreaker>, BreakerStoreError> {
        check_breaker_limit(limit)?;
        let listed = self.step("list breakers", |table| {
            let now = self.clock.now();
            let breakers = table.agreed().breakers.values();
            breakers
                .filter(|record| after.as_ref().is_none_or(|after| record.name > *after))
                .take(limit)
                .map(|record| record.seen_at(now))
                .collect()
        })?;
        Ok(listed)
    }
}

#[async_trait]
impl PaceStore for MemoryStore {
    async fn take(&self, take: TakePermits) -> Result<Paced, PaceError> {
        self.step("take permits", |table| {
            let now = self.clock.now();
            let Agreed { buckets, .. } = table.agreed();
            let (level, paced) = take.decide(buckets.get(&take.name).copied(), now)?;
            buckets.insert(take.name, level);
            Ok(paced)
        })?
    }
}
