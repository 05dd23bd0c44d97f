//! The states of circuit breakers.

use async_trait::async_trait;
use baldur_core::{
    name::ServiceName,
    port::{
        BreakerStoreError, CircuitBreakerStore, SaveBreaker, SharedBreaker, check_breaker_limit,
    },
};

use super::only;
use crate::{
    store::PostgresStore,
    writer::{Saving, Work},
};

#[async_trait]
impl CircuitBreakerStore for PostgresStore {
    async fn load(
        &self,
        names: Vec<ServiceName>,
    ) -> Result<Vec<Option<SharedBreaker>>, BreakerStoreError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.reader("load breakers").await?.breakers(names).await?)
    }

    async fn save(&self, save: SaveBreaker) -> Result<SharedBreaker, BreakerStoreError> {
        only(Saving::OPERATION, self.write::<Saving>(vec![save]).await)
    }

    async fn list(
        &self,
        after: Option<ServiceName>,
        limit: usize,
    ) -> Result<Vec<SharedBreaker>, BreakerStoreError> {
        check_breaker_limit(limit)?;
        Ok(self.reader("list breakers").await?.breakers_after(after, limit).await?)
    }
}
