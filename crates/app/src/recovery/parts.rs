//! What all of recovery shares.

use std::sync::{Arc, OnceLock};

use baldur_core::port::{EntryReader, PaceStore};
use tokio::{sync::Semaphore, time::Instant};

use super::{RecoveryPolicy, board::Board};
use crate::{Env, ReplayEngine, env::unit};

/// What all of recovery shares.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) engine: ReplayEngine,
    pub(super) reader: Arc<dyn EntryReader>,
    pub(super) pace: Option<Arc<dyn PaceStore>>,
    pub(super) env: Env,
    pub(super) policy: RecoveryPolicy,
    pub(super) board: Arc<Board>,
    /// Sweeps that may be at work at once.
    pub(super) turns: Semaphore,
    /// Until when everything must have ended, once the process closes.
    pub(super) close_by: Arc<OnceLock<Instant>>,
}

impl Parts {
    /// A random number in `[0, 1)`.
    pub(super) fn unit(&self) -> f64 {
        unit(self.env.ids.entropy())
    }
}
