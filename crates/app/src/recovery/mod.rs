//! Automatic recovery: when a dependency is back, what waits for it is replayed.
//!
//! ```text
//! breaker closes ┐                                        ┌ failing, down → stopped, until the next signal
//! probe succeeds ┼→ wait (jitter, spared) → sweep ────────┤
//! a person says  ┘        ↑                               └ drained → leftovers, when due ─┐
//!                         └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! - A sweep touches the entries of its dependency only, of domains with a handler, and none that waits for a person.
//!   Each is claimed by the [`ReplayEngine`], with all its rules: claims, order keys, budgets, gates.
//! - It walks over what was there when it began, oldest first, in chunks of [`SWEEP_CHUNK`], and takes each entry up once
//!   at most. Waits are cut short, since they were made for a dependency that was down: those of entries that changed
//!   less than [`RecoveryPolicy::rest`] ago are not, and neither are waits longer than the back-off's cap, which
//!   somebody asked for.
//! - Its pace is shared by all processes through the [`PaceStore`], with a ramp. Without that store a process goes on at
//!   an eighth of the pace, by itself.
//! - Failures halve the pace; too many of them stop the sweep. When a dependency fails for good, no more than
//!   `min_sample + concurrency - 1` further handlers are started, and none once it is heard that its breaker opened.
//! - What a drained sweep left is looked at again when it is due, at growing intervals, until nothing waits.

mod arming;
mod board;
mod conductor;
mod following;
mod governor;
mod parts;
mod policy;
mod probing;
mod shared_pace;
mod signal;
mod status;
mod success;
mod sweep;
mod walk;

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use baldur_core::{
    name::{Domain, ServiceName},
    port::{EntryReader, PaceStore, Probe, ReadError},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
    time::Instant,
};

pub use self::{
    arming::{Arming, DependencyArming, DomainArming, Missing},
    policy::{
        DependencyPolicy, MAX_DEPENDENCIES, MAX_SWEEPS, ProbePolicy, RecoveryPolicy, SWEEP_CHUNK,
    },
    signal::Signal,
    status::{Phase, RecoveryStatus, StopCause, WaitCause},
};
use self::{
    board::Board,
    conductor::{Conductor, ignored},
    following::Following,
    parts::Parts,
    probing::Probing,
    signal::Command,
};
use crate::{
    Breakers, Env, ReplayEngine,
    replay::ReplayError,
    tasks::{CloseTimeout, StartError, Tasks, supervised},
};

/// How many signals may wait to be heard. More are ignored, and counted.
const MAX_SIGNALS: usize = 1_024;

/// Automatic recovery of one process. Cheap to clone. It does nothing before [`start`](Self::start).
#[derive(Clone, Debug)]
pub struct Recovery {
    inner: Arc<Inner>,
}

/// What recovery works with.
#[derive(Debug)]
pub struct RecoverySources {
    /// What replays. It has the handlers.
    pub engine: ReplayEngine,
    /// Where entries are found.
    pub reader: Arc<dyn EntryReader>,
    /// What the processes of the namespace share; without it each keeps the whole pace for itself.
    pub pace: Option<Arc<dyn PaceStore>>,
    /// The breakers whose changes are signals; where they are shared, also of breakers that only other processes have.
    pub breakers: Option<Breakers>,
    /// Who can be asked whether a dependency is back; of several for one dependency, each tells by itself.
    pub probes: Vec<(ServiceName, Arc<dyn Probe>)>,
    /// The surroundings.
    pub env: Env,
}

#[derive(Debug)]
struct Inner {
    parts: Arc<Parts>,
    breakers: Option<Breakers>,
    probes: Vec<(ServiceName, Arc<dyn Probe>)>,
    commands: mpsc::Sender<Command>,
    /// Taken by the conductor when it starts.
    heard: Mutex<Option<mpsc::Receiver<Command>>>,
    tasks: Tasks,
}

impl Recovery {
    /// Recovery on these terms.
    ///
    /// # Errors
    ///
    /// [`ReplayError::Invalid`] when a value of the policy is out of its range, or there are more than
    /// [`MAX_DEPENDENCIES`] probes.
    pub fn new(sources: RecoverySources, policy: RecoveryPolicy) -> Result<Self, ReplayError> {
        let RecoverySources { engine, reader, pace, breakers, probes, env } = sources;
        policy.check()?;
        if probes.len() > MAX_DEPENDENCIES {
            let most = format!("{} probes; {MAX_DEPENDENCIES} at most are allowed", probes.len());
            return Err(ReplayError::Invalid(most));
        }
        let parts = Parts {
            engine,
            reader,
            pace,
            env,
            policy,
            board: Arc::new(Board::default()),
            turns: Semaphore::new(MAX_SWEEPS),
            close_by: Arc::new(OnceLock::new()),
        };
        let (commands, heard) = mpsc::channel(MAX_SIGNALS);
        let heard = Mutex::new(Some(heard));
        let parts = Arc::new(parts);
        Ok(Self {
            inner: Arc::new(Inner {
                parts,
                breakers,
                probes,
                commands,
                heard,
                tasks: Tasks::default(),
            }),
        })
    }

    /// Starts to listen to signals, and to probe. Has the breakers [follow](Breakers::follow) those of other processes, so
    /// that recoveries are heard of that only others notice. Where the policy doesn't enable recovery, nothing is started.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub fn start(&self) -> Result<(), StartError> {
        let Inner { parts, breakers, probes, commands, heard, tasks } = &*self.inner;
        if !parts.policy.enabled {
            return Ok(());
        }
        // Before anything is taken that another try would need.
        Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        let closing = tasks.closing();
        let probing = probes.iter().map(|(dependency, probe)| {
            let probing = Probing {
                parts: Arc::clone(parts),
                dependency: dependency.clone(),
                probe: Arc::clone(probe),
                policy: parts.policy.probes_of(dependency),
                commands: commands.clone(),
                closing: closing.clone(),
                is_told: false,
                successes: 0,
            };
            supervised("probe", closing.clone(), probing, |probing| probing.run().boxed()).boxed()
        });
        let mut all: Vec<BoxFuture<'static, ()>> = probing.collect();
        if let Some(breakers) = breakers {
            let following = Following::new(
                breakers.clone(),
                Arc::clone(&parts.board),
                commands.clone(),
                closing.clone(),
            );
            // Only now: what the first look tells of is heard.
            breakers.follow();
            all.push(
                supervised("breakers", closing.clone(), following, |following| {
                    following.run().boxed()
                })
                .boxed(),
            );
        }
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner).take();
        let conductor =
            Conductor::new(Arc::clone(parts), heard.ok_or(StartError::Repeated)?, closing.clone());
        all.push(
            supervised("recovery", closing.clone(), conductor, |conductor| conductor.run().boxed())
                .boxed(),
        );
        tasks.start(all)
    }

    /// Hears that a dependency is back. Doesn't wait; what can't be heeded is ignored, which is logged and counted.
    pub fn notice(&self, dependency: &ServiceName, signal: Signal) {
        let Inner { parts, tasks, .. } = &*self.inner;
        if !parts.policy.enabled {
            return ignored(dependency, signal, "disarmed");
        }
        if !tasks.are_running() {
            return ignored(dependency, signal, "not_running");
        }
        let back = Command::Back(dependency.clone(), signal);
        if self.inner.commands.try_send(back).is_err() {
            ignored(dependency, signal, "no_room");
        }
    }

    /// Hears that a dependency failed, such as that its breaker opened: its sweep stops, and handlers at work have the
    /// engine's grace. Doesn't wait.
    pub fn went_down(&self, dependency: &ServiceName) {
        if !self.inner.tasks.are_running() {
            return;
        }
        if self.inner.commands.try_send(Command::Down(dependency.clone())).is_err() {
            tracing::warn!(dependency = %dependency, "recovery.failure_not_heard");
        }
    }

    /// How it stands with one dependency, as far as it is kept in mind.
    pub fn status(&self, dependency: &ServiceName) -> Option<RecoveryStatus> {
        self.inner.parts.board.get(dependency)
    }

    /// How it stands with all dependencies that are kept in mind, in order of name.
    pub fn statuses(&self) -> Vec<RecoveryStatus> {
        self.inner.parts.board.all()
    }

    /// Whether entries of this dependency and domain would be replayed, and all that is missing if not.
    pub fn domain_arming(&self, dependency: &ServiceName, domain: &Domain) -> Arming {
        self.inner.parts.domain_arming(dependency, domain)
    }

    /// Whether what waits for this dependency would be replayed, domain by domain, and all that is missing if not.
    ///
    /// # Errors
    ///
    /// When the store can't be read.
    pub async fn arming(&self, dependency: &ServiceName) -> Result<DependencyArming, ReadError> {
        self.inner.parts.arming(dependency).await
    }

    /// The same for every dependency that entries wait for or that the policy names, those with the most entries
    /// first; [`MAX_DEPENDENCIES`] at most.
    ///
    /// # Errors
    ///
    /// When the store can't be read.
    pub async fn overview(&self) -> Result<Vec<DependencyArming>, ReadError> {
        self.inner.parts.overview().await
    }

    /// Ends everything: nothing new is claimed, claims that were not begun are given back, and handlers at work may go
    /// on for the engine's grace, or three quarters of `timeout` where that is less. May be called again.
    ///
    /// # Errors
    ///
    /// When that takes longer than `timeout`. What remained was dropped, and its claims run out.
    pub async fn close(&self, timeout: Duration) -> Result<(), CloseTimeout> {
        // More than the longest grace makes no difference, and may be more than a clock can hold.
        let close_by = Instant::now() + timeout.min(Duration::from_hours(24));
        let _ = self.inner.parts.close_by.set(close_by);
        self.inner.tasks.close(timeout).await
    }
}
