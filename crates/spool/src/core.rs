//! What writer and keeper share.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use baldur_core::{Clock, name::OrderKey};

use crate::{config::SpoolConfig, disk::Disk, layout::lane_name, state::State};

/// What writer and keeper share: the disk, the settings, and what is known of the lanes.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) root: PathBuf,
    pub(crate) config: SpoolConfig,
    pub(crate) clock: Arc<dyn Clock>,
    /// Names this handle among all that ever used the directory.
    pub(crate) instance: String,
    state: Mutex<State>,
}

impl Core {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        root: PathBuf,
        config: SpoolConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let state = Mutex::new(State::default());
        let instance = new_name(&*clock);
        Self { disk, root, config, clock, instance, state }
    }

    /// What is known of the lanes. Hold it for moments, never while the disk works.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name for a lane that nobody else has.
    pub(crate) fn lane_name(&self) -> String {
        new_name(&*self.clock)
    }

    /// Records are about to be written: their keys are held from here on.
    pub(crate) fn expect<'a>(&self, keys: impl ExactSizeIterator<Item = Option<&'a OrderKey>>) {
        let mut state = self.state();
        state.pending += keys.len() as u64;
        keys.for_each(|key| state.own.hold(key));
    }

    /// Records that were expected will not come.
    pub(crate) fn drop_expected<'a>(
        &self,
        keys: impl ExactSizeIterator<Item = Option<&'a OrderKey>>,
    ) {
        let mut state = self.state();
        let count = keys.len() as u64;
        keys.for_each(|key| state.own.release(key));
        state.settled(count);
    }
}

fn new_name(clock: &dyn Clock) -> String {
    let mut entropy = [0; 8];
    if getrandom::fill(&mut entropy).is_err() {
        // Without randomness, time and process id keep lanes apart; a name that is taken is tried again.
        let nanos = clock.mono().as_nanos().to_le_bytes();
        entropy.copy_from_slice(&nanos[..8]);
    }
    lane_name(clock.now().as_unix_millis(), std::process::id(), entropy)
}
