//! Settings as the services want them.

use std::{num::NonZeroU32, time::Duration};

use baldur_app::{
    capture::{CaptureMode, CapturePolicy, DedupPolicy, OverflowPolicy},
    drain::DrainPolicy,
    outbox::{OutboxPolicy, WhenOutboxFull},
    replay::{Ramp, RateLimit, ReplayPolicy},
    spooling::SpoolingPolicy,
};
use baldur_core::policy::{
    BackoffPolicy, Jitter,
    redact::{CardDetection, RedactionRules},
};

use crate::settings::{
    BackoffSettings, CaptureSettings, CardSettings, JitterSettings, ModeSettings, OutboxSettings,
    RedactionSettings, ReplaySettings, SettingsError, SpoolSettings, WhenOutboxFullSettings,
};

pub(crate) fn unusable(key: &str, problem: &dyn ToString) -> SettingsError {
    SettingsError::Unusable { key: key.to_owned(), problem: problem.to_string() }
}

impl Default for CaptureSettings {
    fn default() -> Self {
        let CapturePolicy {
            max_request_bytes,
            max_input_bytes,
            max_field_bytes,
            max_error_bytes,
            max_retries,
            expires_in,
            redaction: _,
            overflow: _,
            dedup: _,
        } = CapturePolicy::default();
        Self {
            mode: ModeSettings::Sync,
            store_timeout: SpoolingPolicy::default().store_timeout,
            max_request_bytes,
            max_input_bytes,
            max_field_bytes,
            max_error_bytes,
            max_retries,
            expires_in,
        }
    }
}

impl Default for OutboxSettings {
    fn default() -> Self {
        let OutboxPolicy { max_entries, max_bytes, batch, linger, spool_wait, .. } =
            OutboxPolicy::default();
        let when_full = WhenOutboxFullSettings::Spool;
        Self { max_entries, max_bytes, when_full, wait: spool_wait, batch, linger }
    }
}

impl OutboxSettings {
    pub(crate) fn policy(&self) -> Result<OutboxPolicy, SettingsError> {
        let when_full = match self.when_full {
            WhenOutboxFullSettings::Spool => WhenOutboxFull::Spool,
            WhenOutboxFullSettings::Wait => WhenOutboxFull::Wait { timeout: self.wait },
            WhenOutboxFullSettings::Reject => WhenOutboxFull::Reject,
            WhenOutboxFullSettings::DropNewest => WhenOutboxFull::DropNewest,
            WhenOutboxFullSettings::DropOldest => WhenOutboxFull::DropOldest,
        };
        let policy = OutboxPolicy {
            max_entries: self.max_entries,
            max_bytes: self.max_bytes,
            when_full,
            batch: self.batch,
            linger: self.linger,
            ..OutboxPolicy::default()
        };
        policy.check().map_err(|problem| unusable("outbox", &problem))?;
        Ok(policy)
    }
}

impl From<ModeSettings> for CaptureMode {
    fn from(mode: ModeSettings) -> Self {
        match mode {
            ModeSettings::Sync => Self::Sync,
            ModeSettings::Async => Self::Async,
            ModeSettings::Durable => Self::Durable,
        }
    }
}

impl CaptureSettings {
    pub(crate) fn spooling(&self) -> Result<SpoolingPolicy, SettingsError> {
        let range = Duration::from_millis(10)..=Duration::from_mins(5);
        if !range.contains(&self.store_timeout) {
            return Err(unusable("capture.store_timeout", &"must be 10 ms to 5 min"));
        }
        Ok(SpoolingPolicy { store_timeout: self.store_timeout, ..SpoolingPolicy::default() })
    }

    pub(crate) fn policy(
        &self,
        redaction: RedactionRules,
        overflow: OverflowPolicy,
        dedup: DedupPolicy,
    ) -> Result<CapturePolicy, SettingsError> {
        let Self {
            mode: _,
            store_timeout: _,
            max_request_bytes,
            max_input_bytes,
            max_field_bytes,
            max_error_bytes,
            max_retries,
            expires_in,
        } = *self;
        let policy = CapturePolicy {
            max_request_bytes,
            max_input_bytes,
            max_field_bytes,
            max_error_bytes,
            max_retries,
            expires_in,
            redaction,
            overflow,
            dedup,
        };
        match policy.validate() {
            Ok(()) => Ok(policy),
            Err(error) => Err(unusable(&format!("capture.{}", error.field()), &error)),
        }
    }
}

impl SpoolSettings {
    pub(crate) fn draining(&self) -> Result<DrainPolicy, SettingsError> {
        let Self { park_attempts, park_after, .. } = *self;
        if park_attempts == 1 || park_attempts > 10_000 {
            return Err(unusable("spool.park_attempts", &"must be 2 to 10000, or 0 for never"));
        }
        if !(Duration::from_secs(1)..=Duration::from_hours(7 * 24)).contains(&park_after) {
            return Err(unusable("spool.park_after", &"must be 1 s to 7 days"));
        }
        Ok(DrainPolicy { park_attempts, park_after, ..DrainPolicy::default() })
    }
}

#[cfg(feature = "spool")]
impl SpoolSettings {
    /// The spool that these settings ask for, if they do.
    ///
    /// # Errors
    ///
    /// When the directory is no absolute path. The ranges are checked when the spool is opened.
    pub fn config(&self) -> Result<Option<baldur_spool::SpoolConfig>, SettingsError> {
        let Self { dir, max_bytes, segment_bytes, max_refused_bytes, .. } = self;
        let Some(dir) = dir.as_ref().filter(|dir| !dir.as_os_str().is_empty()) else {
            return Ok(None);
        };
        if !dir.is_absolute() {
            return Err(unusable("spool.dir", &"must be an absolute path"));
        }
        let mut config = baldur_spool::SpoolConfig::new(dir);
        config.max_bytes = *max_bytes;
        config.segment_bytes = *segment_bytes;
        config.max_refused_bytes = *max_refused_bytes;
        config.max_record_bytes = config.max_record_bytes.min(*max_bytes);
        Ok(Some(config))
    }
}

impl Default for RedactionSettings {
    fn default() -> Self {
        Self {
            extra_keys: Vec::new(),
            cards: CardSettings::KnownIssuers,
            max_depth: RedactionRules::DEFAULT_MAX_DEPTH,
        }
    }
}

impl RedactionSettings {
    pub(crate) fn rules(&self) -> Result<RedactionRules, SettingsError> {
        let Self { extra_keys, cards, max_depth } = self;
        let cards = match cards {
            CardSettings::Off => CardDetection::Off,
            CardSettings::KnownIssuers => CardDetection::KnownIssuers,
            CardSettings::AnyLuhn => CardDetection::AnyLuhn,
        };
        let deepest = RedactionRules::DEFAULT_MAX_DEPTH;
        if !(1..=deepest).contains(max_depth) {
            return Err(unusable("redaction.max_depth", &format!("must be 1 to {deepest}")));
        }
        RedactionRules::default()
            .with_cards(cards, cards)
            .with_limits(*max_depth, RedactionRules::DEFAULT_MAX_BYTES)
            .with_keys(extra_keys.iter().map(String::as_str))
            .map_err(|error| unusable("redaction.extra_keys", &error))
    }
}

impl Default for ReplaySettings {
    fn default() -> Self {
        let ReplayPolicy {
            lease,
            handler_timeout,
            concurrency,
            batch,
            backoff: _,
            max_wait,
            rate: _,
            no_handler_delay,
            stop_after_consecutive_failures,
            cancel_grace,
            store_timeout,
            store_patience,
            max_note_bytes,
        } = ReplayPolicy::default();
        Self {
            lease,
            handler_timeout,
            concurrency,
            batch,
            max_wait,
            rate: None,
            ramp_from: None,
            ramp_over: std::time::Duration::from_secs(30),
            no_handler_delay,
            stop_after_consecutive_failures: stop_after_consecutive_failures.map_or(0, u32::from),
            cancel_grace,
            store_timeout,
            store_patience,
            max_note_bytes,
            backoff: BackoffSettings::default(),
        }
    }
}

impl ReplaySettings {
    pub(crate) fn policy(&self) -> Result<ReplayPolicy, SettingsError> {
        let policy = ReplayPolicy {
            lease: self.lease,
            handler_timeout: self.handler_timeout,
            concurrency: self.concurrency,
            batch: self.batch,
            backoff: self.backoff.policy()?,
            max_wait: self.max_wait,
            rate: self.rate()?,
            no_handler_delay: self.no_handler_delay,
            stop_after_consecutive_failures: NonZeroU32::new(self.stop_after_consecutive_failures),
            cancel_grace: self.cancel_grace,
            store_timeout: self.store_timeout,
            store_patience: self.store_patience,
            max_note_bytes: self.max_note_bytes,
        };
        policy.check().map_err(|error| unusable("replay", &error))?;
        Ok(policy)
    }

    fn rate(&self) -> Result<Option<RateLimit>, SettingsError> {
        let Some(per_second) = self.rate else {
            return match self.ramp_from {
                Some(_) => Err(unusable("replay.ramp_from", &"it needs `replay.rate`")),
                None => Ok(None),
            };
        };
        let ramp =
            self.ramp_from.map(|from_per_second| Ramp { from_per_second, over: self.ramp_over });
        Ok(Some(RateLimit { ramp, ..RateLimit::per_second(per_second) }))
    }
}

impl BackoffSettings {
    fn policy(&self) -> Result<BackoffPolicy, SettingsError> {
        let Self { base, factor, cap, floor, jitter } = self;
        let jitter = match jitter {
            JitterSettings::None => Jitter::None,
            JitterSettings::Full => Jitter::Full,
            JitterSettings::Equal => Jitter::Equal,
        };
        BackoffPolicy::new(*base, *factor, *cap, jitter)
            .and_then(|policy| policy.with_floor(*floor))
            .map_err(|error| unusable("replay.backoff", &error))
    }
}
