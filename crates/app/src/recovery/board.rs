//! Where every part of recovery notes how it stands.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use baldur_core::{Timestamp, name::ServiceName, port::ReplayOutcome};

use super::{MAX_DEPENDENCIES, Phase, RecoveryStatus, Signal, StopCause};
use crate::metrics::RECOVERY_REPLAYS;

/// The states of all dependencies that are kept in mind. Its lock is never held across an await.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Rows>);

#[derive(Debug, Default)]
struct Rows {
    rows: BTreeMap<ServiceName, Row>,
    touches: u64,
}

#[derive(Debug)]
struct Row {
    status: RecoveryStatus,
    touched: u64,
}

impl Board {
    /// Keeps a dependency in mind. `false` when there is no room: all others are at work.
    pub(super) fn track(&self, dependency: &ServiceName) -> bool {
        let mut rows = self.lock();
        rows.touches += 1;
        let touched = rows.touches;
        if let Some(row) = rows.rows.get_mut(dependency) {
            row.touched = touched;
            return true;
        }
        if rows.rows.len() >= MAX_DEPENDENCIES && !rows.drop_idle() {
            return false;
        }
        let status = RecoveryStatus::new(dependency.clone());
        rows.rows.insert(dependency.clone(), Row { status, touched });
        true
    }

    pub(super) fn knows(&self, dependency: &ServiceName) -> bool {
        self.lock().rows.contains_key(dependency)
    }

    pub(super) fn get(&self, dependency: &ServiceName) -> Option<RecoveryStatus> {
        self.lock().rows.get(dependency).map(|row| row.status.clone())
    }

    pub(super) fn all(&self) -> Vec<RecoveryStatus> {
        self.lock().rows.values().map(|row| row.status.clone()).collect()
    }

    pub(super) fn signalled(&self, dependency: &ServiceName, signal: Signal, at: Timestamp) {
        self.change(dependency, |status| status.last_signal = Some((signal, at)));
    }

    /// A signal begins a sweep, which counts from zero.
    pub(super) fn begins(&self, dependency: &ServiceName) {
        self.change(dependency, |status| {
            status.is_down = false;
            (status.replayed, status.succeeded, status.failed, status.deferred) = (0, 0, 0, 0);
        });
    }

    pub(super) fn phase(&self, dependency: &ServiceName, phase: Phase) {
        self.change(dependency, |status| status.phase = phase);
    }

    pub(super) fn stopped(&self, dependency: &ServiceName, cause: StopCause) {
        self.change(dependency, |status| {
            status.phase = Phase::Stopped(cause);
            status.is_down |= cause.is_down();
        });
    }

    pub(super) fn pending(&self, dependency: &ServiceName, pending: u64) {
        self.change(dependency, |status| status.pending = Some(pending));
    }

    pub(super) fn counted(&self, dependency: &ServiceName, outcome: &ReplayOutcome) {
        let mut word = "";
        self.change(dependency, |status| {
            status.replayed += 1;
            let (counter, name) = match outcome {
                ReplayOutcome::Succeeded { .. } | ReplayOutcome::AlreadyDone { .. } => {
                    (&mut status.succeeded, "succeeded")
                }
                ReplayOutcome::Failed { .. } | ReplayOutcome::Permanent { .. } => {
                    (&mut status.failed, "failed")
                }
                ReplayOutcome::Deferred { .. } => (&mut status.deferred, "deferred"),
            };
            *counter += 1;
            word = name;
        });
        metrics::counter!(
            RECOVERY_REPLAYS.name,
            "dependency" => dependency.to_string(), "outcome" => word
        )
        .increment(1);
    }

    fn change(&self, dependency: &ServiceName, change: impl FnOnce(&mut RecoveryStatus)) {
        if let Some(row) = self.lock().rows.get_mut(dependency) {
            change(&mut row.status);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Rows> {
        // Rows are plain data and whole after each step, so a panic elsewhere doesn't spoil them.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    /// Forgets the dependency that nothing was heard of for longest, among those that nobody works on.
    fn drop_idle(&mut self) -> bool {
        let resting = self
            .rows
            .iter()
            .filter(|(_, row)| matches!(row.status.phase, Phase::Idle | Phase::Stopped(_)));
        let oldest = resting.min_by_key(|(_, row)| row.touched).map(|(name, _)| name.clone());
        oldest.is_some_and(|name| self.rows.remove(&name).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> ServiceName {
        ServiceName::parse(&format!("dependency-{number}")).expect("a name")
    }

    #[test]
    fn the_dependency_idle_for_longest_makes_room_and_busy_ones_stay() {
        let board = Board::default();
        for number in 0..MAX_DEPENDENCIES {
            assert!(board.track(&name(number)));
        }
        board.phase(&name(0), Phase::Sweeping);
        assert!(board.track(&name(1)));
        assert!(board.track(&name(MAX_DEPENDENCIES)));
        assert!(board.knows(&name(0)) && board.knows(&name(1)) && !board.knows(&name(2)));
        assert_eq!(board.all().len(), MAX_DEPENDENCIES);
    }

    #[test]
    fn where_all_are_busy_there_is_no_room() {
        let board = Board::default();
        for number in 0..MAX_DEPENDENCIES {
            board.track(&name(number));
            board.phase(&name(number), Phase::Sweeping);
        }
        assert!(!board.track(&name(MAX_DEPENDENCIES)));
        assert_eq!(board.all().len(), MAX_DEPENDENCIES);
    }
}
