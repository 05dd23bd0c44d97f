//! How much an outbox holds, and what it does when that is reached.

use std::{mem, time::Duration};

use baldur_core::{
    command::Capture,
    policy::{BackoffPolicy, Jitter},
};

use crate::range::within;

/// What [`Outbox::put`](super::Outbox::put) does when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenOutboxFull {
    /// Have the capture spooled, past the outbox; without a spool, have the store keep it. If others of its order key wait in the outbox, it waits
    /// for room behind them, for at most [`OutboxPolicy::spool_wait`].
    Spool,
    /// Wait for room, and refuse the capture if none comes.
    Wait {
        /// How long.
        timeout: Duration,
    },
    /// Refuse the capture. It may be repeated.
    Reject,
    /// Throw the capture away, and say so. Repeating it is not advised.
    DropNewest,
    /// Throw those away that wait longest, until there is room.
    DropOldest,
}

impl WhenOutboxFull {
    /// The name in settings and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spool => "spool",
            Self::Wait { .. } => "wait",
            Self::Reject => "reject",
            Self::DropNewest => "drop_newest",
            Self::DropOldest => "drop_oldest",
        }
    }
}

/// How an outbox works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutboxPolicy {
    /// How many captures it holds, those under way included: 1 to 1 000 000.
    pub max_entries: usize,
    /// How many bytes they have at most: 64 KiB to 16 GiB.
    pub max_bytes: u64,
    /// What to do when one of both is reached.
    pub when_full: WhenOutboxFull,
    /// How many captures are written at once at most: 1 to 10 000.
    pub batch: usize,
    /// How many bytes are written at once; a single capture may have more.
    pub batch_bytes: u64,
    /// How long a capture waits for others to be written with it, up to 10 s.
    pub linger: Duration,
    /// How long one write may take: 10 ms to 5 min. Then it is repeated.
    pub write_timeout: Duration,
    /// How long a full outbox waits for room for a capture that can't go past it, up to 5 min. See [`WhenOutboxFull::Spool`].
    pub spool_wait: Duration,
    /// How long to wait after writes that failed.
    pub backoff: BackoffPolicy,
    /// When alarms are raised.
    pub alarms: AlarmPolicy,
}

impl Default for OutboxPolicy {
    fn default() -> Self {
        let (base, cap) = (Duration::from_millis(100), Duration::from_secs(5));
        Self {
            max_entries: 10_000,
            max_bytes: 64 << 20,
            when_full: WhenOutboxFull::Spool,
            batch: 256,
            batch_bytes: 8 << 20,
            linger: Duration::from_millis(5),
            write_timeout: Duration::from_secs(10),
            spool_wait: Duration::from_secs(5),
            backoff: BackoffPolicy::new(base, 2.0, cap, Jitter::Equal).unwrap_or_default(),
            alarms: AlarmPolicy::default(),
        }
    }
}

impl OutboxPolicy {
    /// Whether every value lies in its range.
    ///
    /// # Errors
    ///
    /// Names the first value that does not.
    pub fn check(&self) -> Result<(), String> {
        let minutes = Duration::ZERO..=Duration::from_mins(5);
        within("max_entries", self.max_entries, 1..=1_000_000)?;
        within("max_bytes", self.max_bytes, 64 << 10..=16 << 30)?;
        within("batch", self.batch, 1..=10_000)?;
        within("linger", self.linger, Duration::ZERO..=Duration::from_secs(10))?;
        within("write_timeout", self.write_timeout, Duration::from_millis(10)..=*minutes.end())?;
        if let WhenOutboxFull::Wait { timeout } = self.when_full {
            within("wait", timeout, minutes.clone())?;
        }
        within("spool_wait", self.spool_wait, minutes)
    }
}

/// When an outbox raises an alarm. Each is cleared, and can be raised again, at half of its threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AlarmPolicy {
    /// From which share of its entries or bytes on it is too full, 0 to 1.
    pub full: f64,
    /// From which age of the oldest capture on.
    pub old: Duration,
    /// From which share of the captures of one domain on that found no room, within the last minute.
    pub dropping: f64,
    /// How many captures of a domain must have come within the last minute for its share to count.
    pub dropping_from: u64,
}

impl Default for AlarmPolicy {
    fn default() -> Self {
        Self { full: 0.8, old: Duration::from_secs(30), dropping: 0.01, dropping_from: 100 }
    }
}

/// How much memory a capture takes, nearly: its texts and its own size.
pub fn bytes_of(capture: &Capture) -> u64 {
    let op = &capture.op;
    let payloads = [&op.request_data, &op.response_data, &op.snapshot_data, &op.metadata];
    let payloads: usize = payloads.iter().map(|json| json.as_str().len()).sum();
    let texts = op.error_message.len() + op.error_code.len() + op.next_action_hint.len();
    let labels: usize =
        op.labels.iter().map(|(name, value)| name.as_str().len() + value.as_str().len() + 48).sum();
    // Keys and names are short; one allowance serves for all of them.
    let bytes = mem::size_of::<Capture>() + 512 + payloads + texts + labels;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
