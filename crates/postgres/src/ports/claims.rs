//! Claims, settles and acts.

use async_trait::async_trait;
use baldur_core::{
    OpState,
    command::{Act, ClaimBatch, Extend, Lapse, Settle},
    port::{ClaimBatchOutcome, ClaimError, ClaimStore, Lapsed, Settled},
};

use super::only;
use crate::{
    store::PostgresStore,
    writer::{Claiming, Lapsing, Work},
};

#[async_trait]
impl ClaimStore for PostgresStore {
    async fn claim_batch(&self, claim: ClaimBatch) -> Result<ClaimBatchOutcome, ClaimError> {
        claim.check().map_err(ClaimError::Invalid)?;
        only(Claiming::OPERATION, self.write::<Claiming>(vec![claim]).await)
    }

    async fn extend(&self, extend: Extend) -> Vec<Result<(), ClaimError>> {
        let Extend { claims, lease } = extend;
        let items = claims.into_iter().map(|claim| (claim, lease)).collect();
        self.submit(|queues| &queues.extend, items).await
    }

    async fn settle_batch(&self, settles: Vec<Settle>) -> Vec<Result<Settled, ClaimError>> {
        self.submit(|queues| &queues.settle, settles).await
    }

    async fn lapse(&self, lapse: Lapse) -> Result<Lapsed, ClaimError> {
        only(Lapsing::OPERATION, self.write::<Lapsing>(vec![lapse]).await)
    }

    async fn apply(&self, acts: Vec<Act>) -> Vec<Result<OpState, ClaimError>> {
        self.submit(|queues| &queues.act, acts).await
    }
}
