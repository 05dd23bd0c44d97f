//! How replays are paced, bounded and retried.

use std::{num::NonZeroU32, time::Duration};

use baldur_core::policy::{BackoffPolicy, RateError, TokenBucket};

use super::ReplayError;
use crate::range::within;

/// The most handlers that one run may have at work at once.
pub const MAX_CONCURRENCY: usize = 256;

/// The most entries that one claim of a run takes.
pub const MAX_BATCH: usize = 100;

/// The terms on which an engine replays. Checked by [`ReplayEngine::new`](super::ReplayEngine::new).
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayPolicy {
    /// How long a claim lasts without a heartbeat: 1 second to 1 hour. Heartbeats come three times as often. After
    /// a crash, entries wait this long.
    pub lease: Duration,
    /// How long a handler, or its gate, may take for one entry: 1 millisecond to 1 hour. It may exceed the lease.
    pub handler_timeout: Duration,
    /// How many handlers work at once: 1 to [`MAX_CONCURRENCY`].
    pub concurrency: usize,
    /// How many entries are claimed at once, at most: 1 to [`MAX_BATCH`]. Never more than can start at once.
    pub batch: usize,
    /// How long a failed or deferred entry waits before its next automatic claim.
    pub backoff: BackoffPolicy,
    /// The longest wait that a target may ask for, by `Retry-After` or a deferral: up to 30 days.
    pub max_wait: Duration,
    /// How fast entries are taken up; as fast as handlers finish when absent.
    pub rate: Option<RateLimit>,
    /// How long an entry that was asked for by id waits when nobody handles its domain: up to 30 days.
    pub no_handler_delay: Duration,
    /// After how many results of a domain in a row that say its target is down a run leaves the domain alone;
    /// `None` goes on.
    pub stop_after_consecutive_failures: Option<NonZeroU32>,
    /// How long handlers may go on after a run was cancelled: up to 1 hour.
    pub cancel_grace: Duration,
    /// How long one answer of the store may take: 10 milliseconds to 5 minutes.
    pub store_timeout: Duration,
    /// How long a run goes on asking a store that doesn't answer before it gives up: up to 1 hour.
    pub store_patience: Duration,
    /// To how many bytes notes and errors are cut before they are stored: 64 bytes to 64 KiB.
    pub max_note_bytes: usize,
}

impl Default for ReplayPolicy {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            handler_timeout: Duration::from_secs(10),
            concurrency: 8,
            batch: MAX_BATCH,
            backoff: BackoffPolicy::default(),
            max_wait: Duration::from_hours(1),
            rate: None,
            no_handler_delay: Duration::from_mins(5),
            stop_after_consecutive_failures: NonZeroU32::new(16),
            cancel_grace: Duration::from_secs(10),
            store_timeout: Duration::from_secs(10),
            store_patience: Duration::from_secs(30),
            max_note_bytes: 4 * 1024,
        }
    }
}

impl ReplayPolicy {
    /// Whether every value lies in its range.
    ///
    /// # Errors
    ///
    /// Names the first value that does not.
    pub fn check(&self) -> Result<(), ReplayError> {
        self.check_ranges().map_err(ReplayError::Invalid)?;
        self.rate.map_or(Ok(()), |rate| rate.bucket().map(|_| ()))
    }

    fn check_ranges(&self) -> Result<(), String> {
        const MONTH: Duration = Duration::from_hours(30 * 24);
        const HOUR: Duration = Duration::from_hours(1);
        within("lease", self.lease, Duration::from_secs(1)..=HOUR)?;
        within("handler timeout", self.handler_timeout, Duration::from_millis(1)..=HOUR)?;
        within("concurrency", self.concurrency, 1..=MAX_CONCURRENCY)?;
        within("batch", self.batch, 1..=MAX_BATCH)?;
        within("longest wait", self.max_wait, Duration::ZERO..=MONTH)?;
        within("delay without a handler", self.no_handler_delay, Duration::ZERO..=MONTH)?;
        within("grace", self.cancel_grace, Duration::ZERO..=HOUR)?;
        let store_timeout = Duration::from_millis(10)..=Duration::from_mins(5);
        within("store timeout", self.store_timeout, store_timeout)?;
        within("store patience", self.store_patience, Duration::ZERO..=HOUR)?;
        within("size of a note", self.max_note_bytes, 64..=64 * 1024)
    }
}

/// How fast entries are taken up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Entries per second: 0.001 to 1 000 000.
    pub per_second: f64,
    /// How many may be taken up at once after a pause: at least 1.
    pub burst: u32,
    /// Start slower than that, so that a target which has just recovered is not run over.
    pub ramp: Option<Ramp>,
}

/// A slow start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    /// Entries per second at first: 0.001 up to the full rate.
    pub from_per_second: f64,
    /// How long it takes to reach the full rate: above zero, at most a day.
    pub over: Duration,
}

impl RateLimit {
    /// So many per second, in bursts of at most a tenth of a second's worth.
    pub fn per_second(per_second: f64) -> Self {
        // Out of range saturates; the bucket checks the rate itself.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the range before"
        )]
        let burst = (per_second / 10.0).clamp(1.0, 1_000.0) as u32;
        Self { per_second, burst, ramp: None }
    }

    pub(super) fn bucket(self) -> Result<TokenBucket, ReplayError> {
        let invalid = |error: RateError| ReplayError::Invalid(error.to_string());
        let bucket = TokenBucket::new(self.per_second, self.burst).map_err(invalid)?;
        match self.ramp {
            None => Ok(bucket),
            Some(Ramp { from_per_second, over }) => {
                bucket.with_ramp(from_per_second, over).map_err(invalid)
            }
        }
    }
}
