//! Governs the replays of one sweep.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use baldur_core::{name::ServiceName, policy::Paced, port::ReplayOutcome};
use tokio::time::Instant;

use super::{board::Board, shared_pace::SharedPace, success::SuccessWatch};
use crate::replay::{Governor, says_down};

/// Paces a sweep, watches how it goes, and counts.
#[derive(Debug)]
pub(super) struct SweepGovernor {
    pub(super) dependency: ServiceName,
    pub(super) pace: SharedPace,
    pub(super) watch: Mutex<SuccessWatch>,
    pub(super) board: Arc<Board>,
    /// Until when everything must have ended, once the process closes.
    pub(super) close_by: Arc<OnceLock<Instant>>,
}

impl SweepGovernor {
    /// Whether there were results, and all of them failures.
    pub(super) fn only_failures(&self) -> bool {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).only_failures()
    }
}

#[async_trait]
impl Governor for SweepGovernor {
    async fn permits(&self, most: u32) -> Paced {
        let factor = self.watch.lock().unwrap_or_else(PoisonError::into_inner).factor();
        self.pace.take(most, factor).await
    }

    fn heard(&self, outcome: &ReplayOutcome) -> bool {
        self.board.counted(&self.dependency, outcome);
        let success = !says_down(outcome);
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).heard(success)
    }

    fn grace(&self, usual: Duration) -> Duration {
        let Some(close_by) = self.close_by.get() else { return usual };
        // A part of the time is left for telling the store how handlers ended.
        usual.min(close_by.saturating_duration_since(Instant::now()).mul_f64(0.75))
    }
}
