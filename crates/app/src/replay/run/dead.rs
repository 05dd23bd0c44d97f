//! Claims of workers that died: ended before anything is claimed, so that a run finds their entries again.

use std::time::Duration;

use baldur_core::command::{Lapse, MAX_CLAIM};
use tokio::time::timeout;

use crate::{Who, replay::engine::Parts};

impl Parts {
    /// Ends the claims that ran out, step by step. Their entries are due at once: they waited for a whole lease.
    ///
    /// Trouble of the store is left to the claim that follows, which meets it too, repeats, and reports it.
    pub(in crate::replay) async fn end_dead_claims(&self) {
        loop {
            let lapse = Lapse {
                limit: MAX_CLAIM,
                retry_in: Duration::ZERO,
                evidence: self.env.evidence(&Who::system()),
            };
            let answer = timeout(self.policy.store_timeout, self.claims.lapse(lapse));
            let Ok(Ok(step)) = answer.await else {
                tracing::warn!("replay.lapse_failed");
                return;
            };
            if !step.lapsed.is_empty() {
                tracing::warn!(entries = step.lapsed.len(), "replay.claims_lapsed");
            }
            if !step.more || step.lapsed.is_empty() {
                return;
            }
        }
    }
}
