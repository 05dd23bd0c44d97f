//! What a twin does wrong where processes agree on something.

use async_trait::async_trait;
use baldur_core::{
    name::ServiceName,
    policy::Paced,
    port::{
        BreakerStoreError, CircuitBreakerStore, ForcedBreaker, PaceError, PaceStore, SaveBreaker,
        SharedBreaker, TakePermits,
    },
};

use crate::twin::{Fault, Twin};

#[async_trait]
impl CircuitBreakerStore for Twin {
    async fn load(
        &self,
        names: Vec<ServiceName>,
    ) -> Result<Vec<Option<SharedBreaker>>, BreakerStoreError> {
        let mut loaded = self.inner.load(names).await?;
        for breaker in loaded.iter_mut().flatten() {
            self.miscount(breaker);
        }
        Ok(loaded)
    }

    async fn save(&self, save: SaveBreaker) -> Result<SharedBreaker, BreakerStoreError> {
        let mut save = save;
        if self.has(Fault::ForgetsWhenOrdersEnd) {
            save.forced = save.forced.map(|order| ForcedBreaker { lasts: None, ..order });
        }
        let mut saved = self.inner.save(save.clone()).await;
        if self.has(Fault::SavesOverNewerBreakers) {
            while let Err(BreakerStoreError::Conflict { current }) = saved {
                save.expected = current.version;
                saved = self.inner.save(save.clone()).await;
            }
        }
        let mut saved = saved?;
        self.miscount(&mut saved);
        Ok(saved)
    }

    async fn list(
        &self,
        after: Option<ServiceName>,
        limit: usize,
    ) -> Result<Vec<SharedBreaker>, BreakerStoreError> {
        let mut listed = CircuitBreakerStore::list(&self.inner, after.clone(), limit).await?;
        if self.has(Fault::ListsTheLastBreakerAgain)
            && let Some(last) = after
            && !listed.is_empty()
        {
            let again = self.inner.load(vec![last]).await?;
            listed.splice(0..0, again.into_iter().flatten());
            listed.truncate(limit);
        }
        for breaker in &mut listed {
            self.miscount(breaker);
        }
        Ok(listed)
    }
}

impl Twin {
    fn miscount(&self, breaker: &mut SharedBreaker) {
        if self.has(Fault::CountsEverySaveAsATrip) {
            breaker.trips = breaker.version;
        }
    }
}

#[async_trait]
impl PaceStore for Twin {
    async fn take(&self, take: TakePermits) -> Result<Paced, PaceError> {
        let (mut take, asked) = (take.clone(), take.permits);
        if self.has(Fault::PutsAllInOneBucket) {
            take.name = ServiceName::unknown();
        }
        let paced = self.inner.take(take).await?;
        let granted = if self.has(Fault::GrantsWhatIsAskedFor) { asked } else { paced.granted };
        Ok(Paced { granted, ..paced })
    }
}
