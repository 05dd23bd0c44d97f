//! The task that exchanges the states of breakers with other processes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use baldur_core::{
    BackendError, BackendKind, Chain,
    name::ServiceName,
    port::{BreakerStoreError, CircuitBreakerStore, SharedBreaker},
};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Breakers, MAX_FOLLOWED, ManagedBreaker,
    merge::{Heard, News},
};
use crate::{env::unit, metrics::BREAKER_STORE_FAILURES, range::within};

/// How many breakers are loaded or listed at once.
const BATCH: usize = 500;

/// How often one breaker is saved in a round before it waits for the next.
const TRIES: usize = 4;

/// How states are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncPolicy {
    /// How often others are asked: 10 milliseconds to 10 minutes. What changes here is told at once.
    pub interval: Duration,
    /// How long the store may take for one answer: 10 milliseconds to 1 minute.
    pub store_timeout: Duration,
    /// Whether breakers that only others have are [followed](Breakers::follow) from the beginning.
    pub follow: bool,
}

impl Default for SyncPolicy {
    /// Every second, with half a second for the store, and nobody followed.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            store_timeout: Duration::from_millis(500),
            follow: false,
        }
    }
}

impl SyncPolicy {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// Says which value is out of its range, and what is allowed.
    pub fn check(&self) -> Result<(), String> {
        const SHORTEST: Duration = Duration::from_millis(10);
        within("interval", self.interval, SHORTEST..=Duration::from_mins(10))?;
        within("store timeout", self.store_timeout, SHORTEST..=Duration::from_mins(1))
    }
}

/// Why breakers are not shared.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// A value of the policy is out of its range.
    #[error("{0}")]
    Invalid(String),
    /// They are shared already; a breaker has one store.
    #[error("the breakers of this process are shared already")]
    Already,
}

impl Breakers {
    /// Exchanges states with the other processes that use `store`, until `cancel` is cancelled. What holds when they
    /// differ stands in the [module's documentation](crate::breakers).
    ///
    /// All of it happens in one task, which is started again should it panic; the handle ends when it does. A store that
    /// is away delays no call and changes no decision: what it missed is told when it is back. Must be called inside a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// When the policy is out of its range, or the breakers are shared already, also after `cancel`.
    pub fn share(
        &self,
        store: Arc<dyn CircuitBreakerStore>,
        policy: SyncPolicy,
        cancel: CancellationToken,
    ) -> Result<JoinHandle<()>, ShareError> {
        policy.check().map_err(ShareError::Invalid)?;
        if self.inner.is_shared.swap(true, Ordering::AcqRel) {
            return Err(ShareError::Already);
        }
        if policy.follow {
            self.follow();
        }
        Ok(tokio::spawn(supervised(self.clone(), store, policy, cancel)))
    }
}

async fn supervised(
    breakers: Breakers,
    store: Arc<dyn CircuitBreakerStore>,
    policy: SyncPolicy,
    cancel: CancellationToken,
) {
    loop {
        let sync = Sync {
            breakers: breakers.clone(),
            store: Arc::clone(&store),
            policy,
            seen: BTreeMap::new(),
            has_more: false,
        };
        let running = AbortOnDropHandle::new(tokio::spawn(sync.run(cancel.clone())));
        match running.await {
            Ok(()) => return,
            Err(error) => {
                metrics::counter!(BREAKER_STORE_FAILURES.name).increment(1);
                tracing::error!(error = %error, "breaker.sync_failed");
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(policy.interval) => {}
        }
    }
}

/// One run of the task.
struct Sync {
    breakers: Breakers,
    store: Arc<dyn CircuitBreakerStore>,
    policy: SyncPolicy,
    /// The version of each breaker that was heard or saved last.
    seen: BTreeMap<ServiceName, u64>,
    /// Whether there were more breakers to follow than are looked at.
    has_more: bool,
}

impl Sync {
    async fn run(mut self, cancel: CancellationToken) {
        let changed = Arc::clone(&self.breakers.inner.voice.changed);
        let mut is_away = false;
        loop {
            let round = tokio::select! {
                () = cancel.cancelled() => return,
                round = self.round() => round,
            };
            if let Err(error) = &round {
                metrics::counter!(BREAKER_STORE_FAILURES.name).increment(1);
                if !is_away {
                    tracing::warn!(error = %Chain(error), "breaker.store_away");
                }
            } else if is_away {
                tracing::info!("breaker.store_back");
            }
            is_away = round.is_err();
            tokio::select! {
                () = cancel.cancelled() => return,
                // A store that is away is not asked again for each change.
                () = changed.notified(), if !is_away => {}
                () = sleep(self.policy.interval) => {}
            }
        }
    }

    /// Hears all that others saved, and saves all that they don't know.
    async fn round(&mut self) -> Result<(), BreakerStoreError> {
        let breakers = self.breakers.all();
        for breaker in &breakers {
            breaker.look(self.mono());
        }
        for batch in breakers.chunks(BATCH) {
            let names = batch.iter().map(|breaker| breaker.name().clone()).collect();
            let at = self.mono();
            let loaded = self.in_time("load breakers", self.store.load(names)).await?;
            for (breaker, shared) in batch.iter().zip(loaded) {
                self.exchange(breaker, shared, at).await?;
            }
        }
        if self.breakers.follows() { self.follow(&breakers).await } else { Ok(()) }
    }

    /// Looks at the breakers that only others have. `own` were exchanged in this round.
    async fn follow(&mut self, own: &[ManagedBreaker]) -> Result<(), BreakerStoreError> {
        let own: BTreeMap<_, _> = own.iter().map(|breaker| (breaker.name(), breaker)).collect();
        let mut listed = BTreeSet::new();
        let mut has_more = true;
        // So many pages and no more, whatever the store answers.
        for _ in 0..MAX_FOLLOWED / BATCH {
            let after = listed.last().cloned();
            let page = self.in_time("list breakers", self.store.list(after, BATCH)).await?;
            has_more = page.len() >= BATCH;
            for shared in page {
                match own.get(&shared.name) {
                    Some(breaker) => self.breakers.hand_over(breaker, &shared),
                    None => self.breakers.look_at(&shared),
                }
                listed.insert(shared.name);
            }
            if !has_more {
                break;
            }
        }
        self.breakers.keep_followed(&listed);
        if has_more && !self.has_more {
            tracing::warn!(followed = listed.len(), "breaker.follow_limit_reached");
        }
        self.has_more = has_more;
        Ok(())
    }

    async fn exchange(
        &mut self,
        breaker: &ManagedBreaker,
        shared: Option<SharedBreaker>,
        at: Duration,
    ) -> Result<(), BreakerStoreError> {
        let mut unknown = shared.is_none();
        self.heard(breaker, shared.as_ref(), at);
        for _ in 0..TRIES {
            let expected = self.seen.get(breaker.name()).copied().unwrap_or(0);
            let Some(News { save, pending }) =
                breaker.news(expected, unknown, &self.breakers.inner.env)
            else {
                return Ok(());
            };
            let at = self.mono();
            match self.in_time("save a breaker", self.store.save(save)).await {
                Ok(saved) => {
                    self.seen.insert(saved.name, saved.version);
                    breaker.told_others(&pending);
                    return Ok(());
                }
                Err(BreakerStoreError::Conflict { current }) => {
                    unknown = false;
                    self.heard(breaker, Some(&current), at);
                }
                Err(BreakerStoreError::NotFound(_)) => {
                    unknown = true;
                    self.heard(breaker, None, at);
                }
                Err(BreakerStoreError::Invalid(problem)) => {
                    // It would be refused again and again, and others must not wait for it.
                    tracing::error!(dependency = %breaker.name(), problem, "breaker.save_refused");
                    breaker.told_others(&pending);
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        // Others save it all the time; the next round goes on.
        Ok(())
    }

    /// Takes over what is new since the last look.
    fn heard(&mut self, breaker: &ManagedBreaker, shared: Option<&SharedBreaker>, at: Duration) {
        let Some(shared) = shared else {
            self.seen.remove(breaker.name());
            return;
        };
        if self.seen.get(breaker.name()) == Some(&shared.version) {
            return breaker.hear_order(shared, at, self.mono());
        }
        self.seen.insert(breaker.name().clone(), shared.version);
        let env = &self.breakers.inner.env;
        let age = env.clock.now().since(shared.changed_at);
        let heard = Heard { at, age, unit: unit(env.ids.entropy()) };
        breaker.hear(shared, heard, self.mono());
    }

    fn mono(&self) -> Duration {
        self.breakers.inner.env.clock.mono()
    }

    async fn in_time<T>(
        &self,
        operation: &'static str,
        answer: impl Future<Output = Result<T, BreakerStoreError>>,
    ) -> Result<T, BreakerStoreError> {
        timeout(self.policy.store_timeout, answer).await.unwrap_or_else(|_| {
            let late = BackendError::new("breakers", operation, BackendKind::Timeout);
            Err(late.retryable().into())
        })
    }
}
