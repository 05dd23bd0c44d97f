//! How circuit breakers are shared.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::form;

/// How circuit breakers are shared with other processes that use the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BreakersSettings {
    /// Whether they are. Those of a process that doesn't share them know only what it meets itself, and no orders of `baldur
    /// breakers`.
    pub shared: bool,
    /// How often the states of others are asked for, 10 ms to 10 min. What changes here is told at once.
    #[serde(with = "form::duration")]
    pub interval: Duration,
    /// How long the store may take for one answer, 10 ms to 1 min.
    #[serde(with = "form::duration")]
    pub store_timeout: Duration,
}
