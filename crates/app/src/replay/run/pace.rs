//! How fast a run takes entries up: by its own rate, and by the permits of its governor.

use std::{sync::Arc, time::Duration};

use baldur_core::policy::{Paced, Throttled};
use tokio::time::Instant;

use super::{Run, TOLD_WAIT};
use crate::replay::{ReplayEvent, WaitReason};

/// Permits that were not used for so long are given up, so that a pause doesn't end with a burst.
const PERMITS_LAST: Duration = Duration::from_secs(1);

/// No governor is asked again sooner than this, or left alone for longer.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_mins(1));

/// Permits of the governor that are not used yet.
#[derive(Debug)]
pub(super) struct Permits {
    count: u32,
    until: Instant,
}

impl Permits {
    pub(super) fn none(now: Instant) -> Self {
        Self { count: 0, until: now }
    }

    fn left(&self, now: Instant) -> usize {
        if now < self.until { usize::try_from(self.count).unwrap_or(usize::MAX) } else { 0 }
    }
}

impl Run {
    /// How many entries may be claimed now. Asks the governor when its permits are used up.
    pub(super) fn allowed_now(&mut self, wanted: usize, now: Instant) -> usize {
        let count = self.allowed_by_rate(wanted, now);
        let Some(governor) = self.governor.as_ref().filter(|_| count > 0) else { return count };
        let left = self.permits.left(now);
        if left == 0 && now >= self.rate_free_at {
            let most = u32::try_from(count).unwrap_or(u32::MAX);
            self.store.permits(Arc::clone(governor), most);
        }
        left.min(count)
    }

    pub(super) fn permitted(&mut self, paced: Paced) {
        let now = Instant::now();
        let Paced { granted, retry_in } = paced;
        self.permits = Permits { count: granted, until: now + PERMITS_LAST };
        if granted == 0 {
            let delay = retry_in.clamp(ASK_AGAIN.0, ASK_AGAIN.1);
            self.waits_for_rate(delay, now);
        }
    }

    /// Entries were claimed.
    pub(super) fn took(&mut self, count: usize, now: Instant) {
        let Ok(count) = u32::try_from(count) else { return };
        self.permits.count = self.permits.count.saturating_sub(count);
        if let Some(bucket) = &mut self.bucket {
            // The claim asked for no more than fitted, and tokens only grow with time.
            let _ = bucket.take(count, now - self.origin);
        }
    }

    /// How many entries the rate allows now, without taking them: a claim may give fewer.
    fn allowed_by_rate(&mut self, wanted: usize, now: Instant) -> usize {
        let Some(bucket) = &self.bucket else { return wanted };
        if now < self.rate_free_at {
            return 0;
        }
        let at = now - self.origin;
        let fits = |count: &usize| {
            u32::try_from(*count).is_ok_and(|count| bucket.clone().take(count, at).is_ok())
        };
        if let Some(count) = (1..=wanted).rev().find(fits) {
            return count;
        }
        if let Err(Throttled::RetryIn(delay)) = bucket.clone().take(1, at) {
            self.waits_for_rate(delay, now);
        }
        0
    }

    fn waits_for_rate(&mut self, delay: Duration, now: Instant) {
        self.rate_free_at = now + delay;
        if delay >= TOLD_WAIT {
            self.listener.tell(ReplayEvent::Waiting { reason: WaitReason::Rate, delay });
        }
    }
}
