//! The retry budget: a token bucket that calls fill and retries empty.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{ProtectError, RetryBudgetPolicy};

/// A retry, in the unit of the bucket.
const RETRY: u64 = 1_000_000;

/// How many retries are left, for all who share it. Cheap to clone; clones share.
///
/// A guard has one of its own. Give one to several guards where they call the same dependency.
#[derive(Clone)]
pub struct RetryBudget {
    inner: Arc<Inner>,
}

struct Inner {
    per_call: u64,
    /// In parts of a retry each second.
    per_second: f64,
    most: u64,
    tokens: AtomicU64,
    /// Up to when the flow by time was paid in. Only retries look at it, so the lock is off the way of good calls.
    paid_until: Mutex<Option<Duration>>,
}

impl RetryBudget {
    /// A full budget.
    ///
    /// # Errors
    ///
    /// Names the first value that is out of its range.
    pub fn new(policy: RetryBudgetPolicy) -> Result<Self, ProtectError> {
        policy.check()?;
        Ok(Self::of(policy))
    }

    /// A full budget of a policy that was checked.
    pub(super) fn of(policy: RetryBudgetPolicy) -> Self {
        let RetryBudgetPolicy { ratio, per_second, burst } = policy;
        let most = u64::from(burst) * RETRY;
        let inner = Inner {
            per_call: parts(ratio),
            per_second,
            most,
            tokens: AtomicU64::new(most),
            paid_until: Mutex::new(None),
        };
        Self { inner: Arc::new(inner) }
    }

    /// How many whole retries are left as of the last call and retry.
    pub fn left(&self) -> u32 {
        u32::try_from(self.inner.tokens.load(Ordering::Relaxed) / RETRY).unwrap_or(u32::MAX)
    }

    /// Pays for a call.
    pub(super) fn pay(&self) {
        self.inner.add(self.inner.per_call);
    }

    /// Takes a retry out of it, if there is one.
    pub(super) fn take(&self, now: Duration) -> Option<RetryToken<'_>> {
        let Inner { per_second, tokens, paid_until, .. } = &*self.inner;
        {
            // Plain data, whole after each step, so a panic elsewhere doesn't spoil it.
            let mut paid = paid_until.lock().unwrap_or_else(PoisonError::into_inner);
            let since = now.saturating_sub(paid.unwrap_or(now));
            self.inner.add(parts(per_second * since.as_secs_f64()));
            *paid = Some(paid.unwrap_or(now).max(now));
        }
        let less = |left: u64| left.checked_sub(RETRY);
        tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok()?;
        Some(RetryToken { budget: Some(self) })
    }
}

impl Inner {
    fn add(&self, parts: u64) {
        let most = self.most;
        // A full bucket is not written to: in good times calls of many threads share a line that nobody changes.
        if parts > 0 && self.tokens.load(Ordering::Relaxed) < most {
            let more = |left: u64| Some(left.saturating_add(parts).min(most));
            let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "never negative, and a float above the largest integer becomes that"
)]
fn parts(retries: f64) -> u64 {
    (retries * 1e6).round() as u64
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBudget").field("left", &self.left()).finish_non_exhaustive()
    }
}

/// A retry that was taken. Dropping it before the retry is made puts it back.
pub(super) struct RetryToken<'b> {
    budget: Option<&'b RetryBudget>,
}

impl RetryToken<'_> {
    /// The retry is made.
    pub(super) fn spend(mut self) {
        self.budget = None;
    }
}

impl Drop for RetryToken<'_> {
    fn drop(&mut self) {
        if let Some(budget) = self.budget.take() {
            budget.inner.add(RETRY);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget(ratio: f64, per_second: f64, burst: u32) -> RetryBudget {
        RetryBudget::new(RetryBudgetPolicy { ratio, per_second, burst }).unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn calls_pay_for_retries_and_so_does_time() {
        let budget = budget(0.5, 1.0, 2);
        let takes = |now| budget.take(now).map(RetryToken::spend).is_some();
        assert!(takes(SECOND) && takes(SECOND) && !takes(SECOND));
        budget.pay();
        assert!(!takes(SECOND));
        budget.pay();
        assert!(takes(SECOND) && !takes(SECOND));
        assert!(takes(SECOND * 2) && !takes(SECOND * 2));
        // A clock that goes back gives nothing.
        assert!(!takes(SECOND) && !takes(SECOND * 2));
    }

    #[test]
    fn a_retry_that_is_not_made_is_put_back() {
        let budget = budget(0.0, 0.0, 1);
        drop(budget.take(SECOND).unwrap());
        let token = budget.clone().take(SECOND).map(RetryToken::spend);
        assert!(token.is_some() && budget.take(SECOND).is_none());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let new = |ratio, per_second, burst| {
            RetryBudget::new(RetryBudgetPolicy { ratio, per_second, burst })
        };
        for wrong in [new(-0.1, 1.0, 1), new(f64::NAN, 1.0, 1), new(0.1, -1.0, 1), new(0.1, 1.0, 0)]
        {
            assert!(matches!(wrong, Err(ProtectError::Invalid(_))));
        }
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_sees_more_retries_than_promised(
            (ratio, per_second, burst) in (0.0_f64..2.0, 0.0_f64..50.0, 1_u32..20),
            steps in prop::collection::vec((0_u64..500, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let budget = budget(ratio, per_second, burst);
            let mut now = Duration::ZERO;
            let mut seen: Vec<(Duration, bool)> = Vec::new();
            for (millis, call, spends) in steps {
                now += Duration::from_millis(millis);
                if call {
                    budget.pay();
                    seen.push((now, true));
                } else if let Some(token) = budget.take(now) && spends {
                    token.spend();
                    seen.push((now, false));
                }
            }
            for (first, (from, _)) in seen.iter().enumerate() {
                let (mut calls, mut retries) = (0.0, 0.0);
                for (to, call) in &seen[first..] {
                    if *call { calls += 1.0 } else { retries += 1.0 }
                    let seconds = to.saturating_sub(*from).as_secs_f64();
                    let most = f64::from(burst) + ratio * calls + per_second * seconds;
                    prop_assert!(retries <= most + 1e-3);
                }
            }
        }
    }
}
