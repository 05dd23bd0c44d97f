//! Keeping failed operations.

use async_trait::async_trait;
use baldur_core::{
    command::Capture,
    port::{CaptureError, CaptureStore, Captured},
};

use crate::store::PostgresStore;

#[async_trait]
impl CaptureStore for PostgresStore {
    async fn capture_batch(&self, captures: Vec<Capture>) -> Vec<Result<Captured, CaptureError>> {
        self.submit(|queues| &queues.capture, captures).await
    }
}
