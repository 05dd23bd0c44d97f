//! Starts and ends sweeps: one task, which owns what it decides by.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use baldur_core::name::ServiceName;
use tokio::{
    sync::{Notify, mpsc},
    task::{Id, JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{Phase, Signal, StopCause, WaitCause, parts::Parts, signal::Command, sweep::Sweep};
use crate::metrics::RECOVERY_SIGNALS;

/// The conductor of all sweeps of a process.
pub(super) struct Conductor {
    parts: Arc<Parts>,
    commands: mpsc::Receiver<Command>,
    closing: CancellationToken,
    sweeps: JoinSet<Option<StopCause>>,
    names: HashMap<Id, ServiceName>,
    running: BTreeMap<ServiceName, Running>,
    /// How often in a row the sweep of a dependency stopped because the dependency failed.
    stops: BTreeMap<ServiceName, u32>,
}

/// A sweep under way.
struct Running {
    cancel: CancellationToken,
    nudge: Arc<Notify>,
    /// The dependency came back while its last sweep was still ending.
    again: Option<Signal>,
}

impl Conductor {
    pub(super) fn new(
        parts: Arc<Parts>,
        commands: mpsc::Receiver<Command>,
        closing: CancellationToken,
    ) -> Self {
        Self {
            parts,
            commands,
            closing,
            sweeps: JoinSet::new(),
            names: HashMap::new(),
            running: BTreeMap::new(),
            stops: BTreeMap::new(),
        }
    }

    /// Conducts until the process closes and every sweep has ended.
    pub(super) async fn run(&mut self) {
        loop {
            let closing = self.closing.is_cancelled();
            if closing && self.sweeps.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = self.closing.cancelled(), if !closing => self.close(),
                Some(joined) = self.sweeps.join_next_with_id() => self.ended(joined),
                Some(command) = self.commands.recv(), if !closing => self.obey(command),
                else => return,
            }
        }
    }

    fn close(&mut self) {
        for running in self.running.values() {
            running.cancel.cancel();
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Back(dependency, signal) => self.back(dependency, signal),
            Command::Down(dependency) => self.down(&dependency),
        }
    }

    fn back(&mut self, dependency: ServiceName, signal: Signal) {
        if !self.parts.allows(&dependency).is_armed() {
            return ignored(&dependency, signal, "disarmed");
        }
        if !self.parts.board.track(&dependency) {
            return ignored(&dependency, signal, "no_room");
        }
        self.parts.board.signalled(&dependency, signal, self.parts.env.clock.now());
        let Some(running) = self.running.get_mut(&dependency) else {
            return self.start(dependency, signal);
        };
        if running.cancel.is_cancelled() {
            running.again = Some(signal);
            return;
        }
        let waits_for = match self.parts.board.get(&dependency).map(|status| status.phase) {
            Some(Phase::Waiting { reason, .. }) => Some(reason),
            Some(Phase::Idle | Phase::Sweeping | Phase::Stopped(_)) | None => None,
        };
        let cuts_short = match waits_for {
            Some(WaitCause::Leftovers) => true,
            // A person doesn't wait until a dependency was spared.
            Some(WaitCause::Start) => signal == Signal::Manual,
            Some(WaitCause::Store) | None => false,
        };
        if cuts_short {
            heard(&dependency, signal, "taken");
            running.nudge.notify_one();
        } else {
            ignored(&dependency, signal, "under_way");
        }
    }

    fn down(&mut self, dependency: &ServiceName) {
        if let Some(running) = self.running.get_mut(dependency) {
            running.again = None;
            running.cancel.cancel();
        } else if self.parts.board.track(dependency) {
            self.parts.board.stopped(dependency, StopCause::WentDown);
        }
    }

    fn start(&mut self, dependency: ServiceName, signal: Signal) {
        heard(&dependency, signal, "taken");
        self.parts.board.begins(&dependency);
        let cancel = CancellationToken::new();
        let nudge = Arc::new(Notify::new());
        let sweep = Sweep {
            parts: Arc::clone(&self.parts),
            dependency: dependency.clone(),
            start_in: self.start_in(&dependency, signal),
            cancel: cancel.clone(),
            nudge: Arc::clone(&nudge),
        };
        let until = self.parts.env.clock.now().saturating_add(sweep.start_in);
        self.parts.board.phase(&dependency, Phase::Waiting { reason: WaitCause::Start, until });
        let task = self.sweeps.spawn(sweep.go());
        self.names.insert(task.id(), dependency.clone());
        self.running.insert(dependency, Running { cancel, nudge, again: None });
    }

    /// Spread over the jitter, and later when the dependency failed during its last sweeps. A person doesn't wait.
    fn start_in(&self, dependency: &ServiceName, signal: Signal) -> Duration {
        if signal == Signal::Manual {
            return Duration::ZERO;
        }
        let policy = &self.parts.policy;
        let jitter = policy.jitter.mul_f64(self.parts.unit());
        let stops = self.stops.get(dependency).copied().unwrap_or(0);
        let spared = stops
            .checked_sub(1)
            .map_or(Duration::ZERO, |earlier| policy.again.delay(earlier, self.parts.unit()));
        jitter + spared
    }

    fn ended(&mut self, joined: Result<(Id, Option<StopCause>), JoinError>) {
        let (id, cause) = match joined {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(error = %error, "recovery.sweep_broke");
                (error.id(), Some(StopCause::Broken))
            }
        };
        let Some(dependency) = self.names.remove(&id) else { return };
        let again = self.running.remove(&dependency).and_then(|running| running.again);
        match cause {
            None => {
                self.stops.remove(&dependency);
                self.parts.board.phase(&dependency, Phase::Idle);
            }
            Some(cause) => {
                self.parts.board.stopped(&dependency, cause);
                if cause.is_down() {
                    let stops = self.stops.entry(dependency.clone()).or_default();
                    *stops = stops.saturating_add(1);
                }
            }
        }
        // No more is remembered here than on the board, which is bounded.
        self.stops.retain(|name, _| self.parts.board.knows(name));
        if let Some(signal) = again.filter(|_| !self.closing.is_cancelled()) {
            self.start(dependency, signal);
        }
    }
}

fn heard(dependency: &ServiceName, signal: Signal, answer: &'static str) {
    metrics::counter!(
        RECOVERY_SIGNALS.name,
        "dependency" => dependency.to_string(), "signal" => signal.as_str(), "answer" => answer
    )
    .increment(1);
}

/// Notes that a signal changes nothing.
pub(super) fn ignored(dependency: &ServiceName, signal: Signal, reason: &'static str) {
    tracing::debug!(
        dependency = %dependency,
        signal = signal.as_str(),
        reason,
        "recovery.signal_ignored"
    );
    heard(dependency, signal, reason);
}
