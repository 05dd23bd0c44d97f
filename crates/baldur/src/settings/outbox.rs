//! Settings of async capture.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::form;

/// For what captures wait that name no mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModeSettings {
    /// For the store; for the spool when the store doesn't answer.
    #[default]
    Sync,
    /// For nothing: they are queued in memory.
    Async,
    /// For the spool; for the store when there is no spool or it fails.
    Durable,
}

/// What a full outbox does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenOutboxFullSettings {
    /// Has captures spooled, past the outbox; without a spool it has the store keep them.
    #[default]
    Spool,
    /// Waits for room, for at most `wait`.
    Wait,
    /// Refuses captures.
    Reject,
    /// Throws the new ones away.
    DropNewest,
    /// Throws those away that wait longest.
    DropOldest,
}

/// How much async captures may wait in memory, and how they are written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct OutboxSettings {
    /// How many captures wait at most, 1 to 1 000 000.
    pub max_entries: usize,
    /// How many bytes they have at most, 64 KiB to 16 GiB.
    pub max_bytes: u64,
    /// What to do when one of both is reached.
    pub when_full: WhenOutboxFullSettings,
    /// With `when_full = "wait"`: how long, up to 5 min.
    #[serde(with = "form::duration")]
    pub wait: Duration,
    /// How many captures are written at once at most, 1 to 10 000.
    pub batch: usize,
    /// How long a capture waits for others to be written with it, up to 10 s.
    #[serde(with = "form::duration")]
    pub linger: Duration,
}
