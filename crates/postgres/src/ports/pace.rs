//! The pace that processes share.

use async_trait::async_trait;
use baldur_core::{
    policy::Paced,
    port::{PaceError, PaceStore, TakePermits},
};

use super::only;
use crate::{
    store::PostgresStore,
    writer::{Taking, Work},
};

#[async_trait]
impl PaceStore for PostgresStore {
    async fn take(&self, take: TakePermits) -> Result<Paced, PaceError> {
        only(Taking::OPERATION, self.write::<Taking>(vec![take]).await)
    }
}
