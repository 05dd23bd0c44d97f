//! The pace of one dependency's sweep: shared through the store, or a cautious one of its own when the store is away.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use baldur_core::{
    Clock, Timestamp,
    name::ServiceName,
    policy::{PaceLevel, PaceTerms, Paced, pace},
    port::{PaceStore, TakePermits},
};
use tokio::time::{Instant, timeout};

use crate::metrics::RECOVERY_PACE_FALLBACKS;

/// Without the store a process keeps this part of the pace for itself, since others may do the same.
const CAUTIOUS: f64 = 1.0 / 8.0;

/// How long the store is left alone after it failed.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// The slowest pace that there is.
const SLOWEST: f64 = 0.001;

/// Hands out the permits of one dependency.
#[derive(Debug)]
pub(super) struct SharedPace {
    pub(super) name: ServiceName,
    pub(super) store: Option<Arc<dyn PaceStore>>,
    pub(super) terms: PaceTerms,
    pub(super) timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) local: Mutex<Local>,
}

/// What a process keeps for itself.
#[derive(Debug, Default)]
pub(super) struct Local {
    level: Option<PaceLevel>,
    store_again_at: Option<Instant>,
}

impl SharedPace {
    /// Up to `most` permits at `factor` times the pace.
    pub(super) async fn take(&self, most: u32, factor: f64) -> Paced {
        let Some(store) = &self.store else { return self.take_locally(most, factor) };
        if self.is_left_alone() {
            return self.take_locally(most, factor * CAUTIOUS);
        }
        let terms = slowed(&self.terms, factor);
        let permits = most.clamp(1, 1_000);
        let take = TakePermits { name: self.name.clone(), permits, terms };
        match timeout(self.timeout, store.take(take)).await {
            Ok(Ok(paced)) => paced,
            Ok(Err(error)) => self.without_store(&error.to_string(), most, factor),
            Err(_) => self.without_store("no answer in time", most, factor),
        }
    }

    fn is_left_alone(&self) -> bool {
        let local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        local.store_again_at.is_some_and(|at| Instant::now() < at)
    }

    fn without_store(&self, why: &str, most: u32, factor: f64) -> Paced {
        tracing::warn!(dependency = %self.name, error = why, "recovery.pace_not_shared");
        metrics::counter!(RECOVERY_PACE_FALLBACKS.name, "dependency" => self.name.to_string())
            .increment(1);
        {
            let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
            local.store_again_at = Some(Instant::now() + LEFT_ALONE);
        }
        self.take_locally(most, factor * CAUTIOUS)
    }

    fn take_locally(&self, most: u32, factor: f64) -> Paced {
        let terms = slowed(&self.terms, factor);
        // Monotonic time: a step of the wall clock must not refill the bucket.
        let now = Timestamp::UNIX_EPOCH.saturating_add(self.clock.mono());
        let mut local = self.local.lock().unwrap_or_else(PoisonError::into_inner);
        match pace(local.level, &terms, most, now) {
            Ok((level, paced)) => {
                local.level = Some(level);
                paced
            }
            // The policy was checked, and slower than checked is in range as well.
            Err(_) => Paced { granted: 0, retry_in: LEFT_ALONE },
        }
    }
}

fn slowed(terms: &PaceTerms, factor: f64) -> PaceTerms {
    let per_second = (terms.per_second * factor).max(SLOWEST);
    let ramp = terms.ramp.map(|(from, over)| (from.min(per_second), over));
    PaceTerms { per_second, burst: terms.burst, ramp }
}
